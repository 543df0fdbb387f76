"""What a migrations folder holds, and what is wrong with it on disk alone."""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from pgrehearse.errors import MalformedSource
from pgrehearse.migrations.migration import Migration, SourceKind

if TYPE_CHECKING:  # reading files needs no driver
    from pgrehearse.migrations.migration_ledger import MigrationLedger


class ProblemKind(Enum):
    """Everything that may be wrong between a folder, a ledger and a schema."""

    # on disk alone
    ENTRY_WITHOUT_FILE = "entry-without-file"  # drizzle 0.31 then runs nothing at all
    NOT_IN_JOURNAL = "not-in-journal"  # drizzle 0.31 never runs such a file
    WHEN_NOT_INCREASING = "when-not-increasing"  # drizzle 0.31 skips it where a later one is applied
    NO_NUMBER = "no-number"  # a .sql file in a numbered folder that has no place in the order
    FOLDER_WITHOUT_MIGRATION = "folder-without-migration"  # drizzle 1.0 ignores a folder without migration.sql
    BYTE_ORDER_MARK = "byte-order-mark"  # we accept it as psql does; drizzle sends it and fails
    # folder against ledger
    EDITED = "edited"
    SKIPPED = "skipped"
    ROW_WITHOUT_FILE = "row-without-file"
    ROW_WITHOUT_NAME = "row-without-name"  # drizzle 1.0 runs such a migration again
    RECORDED_TWICE = "recorded-twice"  # two runners at once
    OUT_OF_ORDER = "out-of-order"
    LEDGER_ELSEWHERE = "ledger-elsewhere"
    UNFINISHED = "unfinished"  # a run of ours ended half-way
    UNFINISHED_WITHOUT_FILE = "unfinished-without-file"  # half-way in a file that the folder no longer has
    # folder against schema
    PRESENT = "present"
    HALF_PRESENT = "half-present"


class Severity(Enum):
    """Whether a problem makes the answer no."""

    ERROR = "error"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, what it means, and what to do."""

    kind: ProblemKind
    severity: Severity
    subject: str  # a migration's version, a file's path, or a ledger row as a person would name it
    message: str
    remedy: str

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "severity": self.severity.value,
            "subject": self.subject,
            "message": self.message,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One migrations folder (or one named file) as it is on disk at one moment."""

    kind: SourceKind
    display: str  # the path as the user would type it
    migrations: tuple[Migration, ...]  # in the order in which the source's own tool runs them
    ledger: "MigrationLedger"
    problems: tuple[Problem, ...] = ()

    def require_whole(self) -> None:
        """Raise `MalformedSource` when a migration that the folder lists cannot be read: its plan would have a hole."""
        holes = [problem for problem in self.problems if problem.kind is ProblemKind.ENTRY_WITHOUT_FILE]
        if holes:
            raise MalformedSource("\n".join(hole.message for hole in holes), remedy=holes[0].remedy)
