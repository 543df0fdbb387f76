"""What a plan needs of production's rows before it may run, as facts: what is asked, of which rows, and the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from psycopg import sql

from pgrehearse.counted import agree, counted
from pgrehearse.release.preconditions.identifiers import unquoted

KEYS_TOLD = 3  # in one sentence; the JSON has all that were asked for


class PreconditionKind(Enum):
    """What the rows must not hold."""

    DUPLICATES = "duplicates"  # a new unique constraint, unique index or primary key
    NULLS = "nulls"  # SET NOT NULL, a primary key's columns
    ROWS = "rows"  # ADD COLUMN … NOT NULL without a default fails on any row
    ORPHANS = "orphans"  # a foreign key
    CHECK = "check"  # a check of a table or a domain
    CONFLICTS = "conflicts"  # pairs of rows that an exclusion constraint forbids
    BOUND = "bound"  # rows of a table to be attached outside its bound, or rows of the default partition inside it
    CONVERSION = "conversion"  # values that a new type does not take
    LABELS = "labels"  # values that a new enum does not have
    LOSSY = "lossy"  # values that a new type takes, but not whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Values that a type change of the plan has put in place of others, as expressions over the rows before it."""

    alias: str  # the table's name when the statement ran
    values: tuple[tuple[str, sql.Composable], ...]  # by column


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of one relation of production, under the names that the plan's statement knows them by."""

    namespace: str
    relation: str
    alias: str
    descends: bool  # into partitions and children; False is SQL's ONLY
    columns: tuple[tuple[str, str], ...]  # (name on production, name in the statement)
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTest:
    """One row at a time: it violates where the condition is true, or cannot be evaluated for its values."""

    rows: Rows
    violates: sql.Composable


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTest:
    """Rows that share a key."""

    rows: Rows
    keys: tuple[sql.Composable, ...]
    where: sql.Composable | None
    nulls_equal: bool  # NULLS NOT DISTINCT


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTest:
    """Pairs of rows of which every element's operator says true."""

    rows: Rows
    elements: tuple[tuple[sql.Composable, sql.Composable], ...]  # (expression, operator)
    where: sql.Composable | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanTest:
    """Rows whose reference leads nowhere."""

    rows: Rows
    parent: Rows
    pairs: tuple[tuple[str, str], ...]  # (column, referenced column) as the statement names them
    match_full: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTest:
    """Rows whose value is another one after it went into the new type and back, as a rehearsal compares it."""

    rows: Rows
    column: str
    old_type: str
    value: sql.Composable  # the new value
    new_type: str


Test = RowTest | GroupTest | PairTest | OrphanTest | LossTest


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """One thing that production's rows must satisfy, or that only the rehearsal can tell, with the reason."""

    kind: PreconditionKind
    relation: str  # namespace.relation on production, as its catalogs quote it
    descendants: tuple[str, ...] = ()  # its partitions and children, where their rows count too
    columns: tuple[str, ...]  # of it, on production; () where an expression or all rows are meant
    what: str  # "no two rows have the same (email)"
    file: str
    line: int
    test: Test | None = field(repr=False)  # None where it is left to the rehearsal
    left_because: str | None = None
    leaves_out: str | None = None  # which rows production cannot be asked about: those that the plan adds before
    search_path: tuple[str, ...] | None = None  # where the file set one

    def __post_init__(self) -> None:
        if (self.test is None) != (self.left_because is not None):
            raise ValueError("a precondition is either tested or left to the rehearsal for a reason")

    @property
    def is_left_to_rehearsal(self) -> bool:
        return self.test is None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreconditionResult:
    """What production's rows say."""

    precondition: Precondition
    holds: bool | None  # None: not measured, or left to the rehearsal
    reason: str | None = None  # where `holds` is None, or where the violators could not be counted
    violators: int | None = None  # rows; None where they were not counted
    keys: tuple[Mapping[str, str], ...] = ()  # of some violators: primary key columns, or where the row lies
    duration_ms: float = 0.0
    left_to_rehearsal: bool = False
    timed_out: bool = False

    @property
    def refuses(self) -> bool:
        """Whether it stops a promotion: violated, or asked for and not measured."""
        return self.holds is False or (self.holds is None and not self.left_to_rehearsal)

    @property
    def sentence(self) -> str:
        """One line for a person; keys of rows and no other value of theirs."""
        asked = self.precondition
        place = f"{asked.file}:{asked.line}: {asked.relation}"
        if self.left_to_rehearsal:
            return f"{place}: {asked.what}: left to the rehearsal, {self.reason}"
        if self.holds is None:
            return f"{place}: not measured whether {asked.what}: {self.reason}"
        if self.holds:
            beyond = f"; rows that the plan adds were not asked: {asked.leaves_out}" if asked.leaves_out else ""
            return f"{place}: {asked.what}{beyond}"
        if self.violators is None:
            many = f"at least {counted(len(self.keys), 'row')} {agree(len(self.keys), 'violates', 'violate')} it"
        else:
            many = f"{counted(self.violators, 'row')} {agree(self.violators, 'violates', 'violate')} it"
        keys = "; ".join(_written(key) for key in self.keys[:KEYS_TOLD])
        more = " …" if len(self.keys) > KEYS_TOLD or (self.violators or 0) > len(self.keys) > 0 else ""
        return f"{place}: {asked.what}: {many}{f' ({keys}{more})' if keys else ''}"

    def as_json(self) -> dict[str, Any]:
        """Keys of rows stand in it, no other values."""
        asked = self.precondition
        return {
            "kind": asked.kind.value,
            "relation": asked.relation,
            "columns": list(asked.columns),
            "what": asked.what,
            "file": asked.file,
            "line": asked.line,
            "holds": self.holds,
            "left_to_rehearsal": self.left_to_rehearsal,
            "reason": self.reason,
            "leaves_out": asked.leaves_out,
            "violators": self.violators,
            "keys": [dict(key) for key in self.keys],
            "duration_ms": round(self.duration_ms, 1),
        }


def was_seen_in_rehearsal(result: PreconditionResult, tables: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a type change's loss is one that the receipt (its ``tables``) tells and that was therefore accepted.

    Such a loss is told at the gate and refuses nothing: how many rows, the promotion compares before its commit.
    """
    asked = result.precondition
    if asked.kind is not PreconditionKind.LOSSY:
        return False
    return any(
        unquoted(column["name"]) in asked.columns and (column["values_changed"] or column["values_lost"])
        for table in tables
        if table["name"] in (asked.relation, *asked.descendants)
        for column in table["columns"]
    )


def _written(key: Mapping[str, str]) -> str:
    return ", ".join(f"{column}={value}" for column, value in key.items())
