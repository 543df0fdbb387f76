"""Where migrations come from: a drizzle folder of either layout, a folder of numbered SQL files, or one named file."""

from pgrehearse.migrations.sources.source import Problem, ProblemKind, Severity, Source

__all__ = ["Problem", "ProblemKind", "Severity", "Source"]
