"""Where migrations come from: a drizzle folder of either layout, a folder of numbered SQL files, or one named file."""

from pgrehearse.migrations.sources.find import ad_hoc_source, open_source
from pgrehearse.migrations.sources.source import Problem, ProblemKind, Severity, Source

__all__ = ["Problem", "ProblemKind", "Severity", "Source", "ad_hoc_source", "open_source"]
