"""A constraint of a table, as the catalog or a file has it."""

from dataclasses import dataclass
from enum import Enum

from pgrehearse.hazards.sql_names import RelationName


class ConstraintKind(Enum):
    """`pg_constraint.contype`."""

    CHECK = "c"
    FOREIGN = "f"
    PRIMARY = "p"
    UNIQUE = "u"
    EXCLUSION = "x"
    NOT_NULL = "n"


@dataclass(slots=True, kw_only=True)
class Constraint:
    name: str
    kind: ConstraintKind
    columns: tuple[str, ...] = ()  # CHECK: those that its expression names
    validated: bool = True
    enforced: bool = True
    proves_not_null: frozenset[str] = frozenset()  # CHECK: the columns of which it says IS NOT NULL
    referenced: RelationName | None = None  # FOREIGN
    referenced_columns: tuple[str, ...] = ()  # empty: the primary key
    on_delete: str = "a"  # pg_constraint.confdeltype: a, r, c (cascade), n (set null), d (set default)
    on_update: str = "a"
    deferrable: bool = False
    initially_deferred: bool = False
    index: str | None = None  # PRIMARY, UNIQUE, EXCLUSION: its index's name
    definition: str | None = None  # pg_get_constraintdef, or as the file wrote it
    inherited: bool = False  # a partition's part of its parent's constraint
    made_in: int | None = None
