"""How a table's rows were proved the same, or found changed: which question was asked, and what answered it."""

import enum
from dataclasses import dataclass
from typing import Any


class Proof(enum.Enum):
    """How thoroughly data is compared.

    ``touched``: only tables that cannot be proved untouched without reading their values.  ``full``: every value of
    every table.  ``counts``: rows are counted, and values are not measured.
    """

    TOUCHED = "touched"
    FULL = "full"
    COUNTS = "counts"


class How(enum.Enum):
    """What one table's verdict stands on.

    ``untouched``: evidence that nobody wrote into it.  ``fingerprint``: one number for all its values, the same on both
    sides.  ``compared``: its rows, one by one.  ``counted``: only how many rows there are.
    """

    UNTOUCHED = "untouched"
    FINGERPRINT = "fingerprint"
    COMPARED = "compared"
    COUNTED = "counted"


class Evidence(enum.Enum):
    """What shows that nobody wrote into a table.

    ``catalog``: its columns and their types are described as they were.  ``relfilenode``: it stands in the same file.
    ``counters``: the server counted no row inserted, updated or deleted since.  ``xmin``: no row was written by a
    transaction since.  ``count``: as many rows of then are there as there were.
    """

    CATALOG = "catalog"
    RELFILENODE = "relfilenode"
    COUNTERS = "counters"
    XMIN = "xmin"
    COUNT = "count"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableProof:
    """What one table's verdict stands on; ``evidence`` only where it is untouched."""

    how: How
    evidence: tuple[Evidence, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"how": self.how.value, "evidence": [each.value for each in self.evidence]}
