"""The record that a hazard is, and how its texts are filled in."""

import string
from collections.abc import Mapping
from dataclasses import dataclass

from pgrehearse.hazards.finding import HazardClass, Level

DATA_LOSS = HazardClass.DATA_LOSS
GUARANTEE_LOST = HazardClass.GUARANTEE_LOST
BREAKS_RUNNING_APP = HazardClass.BREAKS_RUNNING_APP
BLOCKS_READS = HazardClass.BLOCKS_READS
BLOCKS_WRITES = HazardClass.BLOCKS_WRITES
REWRITES_TABLE = HazardClass.REWRITES_TABLE
SCANS_UNDER_LOCK = HazardClass.SCANS_UNDER_LOCK
FAILS = HazardClass.FAILS
HARD_TO_UNDO = HazardClass.HARD_TO_UNDO
STYLE = HazardClass.STYLE


class _AsGiven(dict[str, str]):
    """A name that nobody gave is shown as a gap to fill in, so that a mistake of ours hides no finding."""

    def __missing__(self, name: str) -> str:
        return f"<{name.replace('_', ' ')}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """One record per hazard: the only place where its text is written."""

    id: str
    classes: tuple[HazardClass, ...]
    level: Level  # where it is certain; what only a catalog can decide is told one level lower at most as a warning
    effect: str
    remedy: str
    source: str  # where PostgreSQL says so: the manual's page, or its source file and function
    since: int | None = None  # the first server major that it can happen on; None: all that are supported
    until: int | None = None  # the last

    @property
    def names(self) -> frozenset[str]:
        """The ``{names}`` that its texts ask for."""
        fields = string.Formatter().parse(self.effect + self.remedy)
        return frozenset(name for _, name, _, _ in fields if name)

    def message(self, names: Mapping[str, str]) -> str:
        """What happens, with the user's own names."""
        return self.effect.format_map(_AsGiven(names))

    def safe_way(self, names: Mapping[str, str]) -> str:
        """The corrected migration, with the user's own names; later steps stand in it as comments."""
        return self.remedy.format_map(_AsGiven(names))
