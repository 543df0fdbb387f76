"""A migration, and the plan: the ordered pending ones, named by one digest."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

PLAN_DIGEST_RECIPE = "pgrehearse-plan-1"


class SourceKind(Enum):
    """Where a migration comes from, which decides the ledger that records it and how files share a transaction."""

    DRIZZLE_JOURNAL = "drizzle-journal"  # drizzle-kit 0.31: NNNN_name.sql + meta/_journal.json
    DRIZZLE_FOLDER = "drizzle-folder"  # drizzle-kit 1.0: YYYYMMDDHHMMSS_name/migration.sql
    SQL_FOLDER = "sql-folder"  # NNNN_name.sql with our own migration ledger
    AD_HOC = "ad-hoc"  # one named file


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One migration file: its bytes as they are on disk, and what its ledger will call it."""

    version: (
        str  # orders it within its source and names it in messages: "0003_add_orders", a folder's name, a file's name
    )
    name: str  # the human part: "add_orders"
    path: str  # as the user would type it, for messages: "drizzle/0003_add_orders.sql"
    kind: SourceKind
    content: bytes = field(repr=False)
    created_at_ms: int | None = None  # drizzle: the journal's `when`, or the folder's time
    # Hex digest of the raw bytes (BOM, CRLF and breakpoints included), which is also drizzle's hash.
    sha256: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # Made once: each of a ledger's rows is held against it.
        object.__setattr__(self, "sha256", hashlib.sha256(self.content).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The migrations to run, in order."""

    migrations: tuple[Migration, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over recipe, versions, names and the digests of all files' bytes, in order."""
        entries = [[m.version, m.name, m.sha256] for m in self.migrations]
        text = json.dumps([PLAN_DIGEST_RECIPE, entries], ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def of(cls, migrations: Iterable[Migration]) -> "Plan":
        return cls(migrations=tuple(migrations))
