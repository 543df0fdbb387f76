"""The foreign keys of, and among, the tables that rows are put back into: who comes first, and what must wait."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A foreign key of, or to, a table that rows are put back into.  Oids; names as (namespace, relation)."""

    name: str
    child: int
    child_name: tuple[str, ...]
    child_columns: tuple[str, ...]
    parents: tuple[int, ...]  # which of the tables it points at; a partitioned parent's leaves
    parent_name: tuple[str, ...]
    parent_columns: tuple[str, ...]
    deferrable: bool


def parents_first(oids: Sequence[int], keys: Sequence[ForeignKey]) -> list[int]:
    """In a circle any may be first."""
    waiting, ordered = list(oids), list[int]()
    while waiting:
        free = [oid for oid in waiting if not _waits_for(oid, waiting, keys)]
        ordered += free or waiting[:1]
        waiting = [oid for oid in waiting if oid not in ordered]
    return ordered


def _waits_for(oid: int, others: Sequence[int], keys: Sequence[ForeignKey]) -> set[int]:
    return {parent for key in keys if key.child == oid for parent in key.parents if parent in others} - {oid}


def find_circular(keys: Sequence[ForeignKey], oids: set[int]) -> tuple[ForeignKey, ...]:
    """Foreign keys of tables that wait for each other; one that points into its own table needs nothing."""
    reached = {oid: _waits_for(oid, list(oids), keys) for oid in oids}
    for _ in oids:
        reached = {oid: found.union(*(reached[each] for each in found)) for oid, found in reached.items()}
    return tuple(
        key for key in keys
        if key.child in oids and any(
            parent != key.child and parent in reached[key.child] and key.child in reached[parent]
            for parent in key.parents
        )
    )  # fmt: skip


@contextmanager
def checked_at_the_end(session: Connection, keys: Sequence[ForeignKey]) -> Iterator[None]:
    """These foreign keys wait until everything is there; then they are as they were."""

    def alter(key: ForeignKey, words: LiteralString) -> None:
        session.execute(
            sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} {}").format(
                sql.Identifier(*key.child_name), sql.Identifier(key.name), sql.SQL(words)
            )
        )

    for key in keys:
        if not key.deferrable:
            alter(key, "DEFERRABLE INITIALLY DEFERRED")
    names = sql.SQL(", ").join(sql.Identifier(key.child_name[0], key.name) for key in keys)
    session.execute(sql.SQL("SET CONSTRAINTS {} DEFERRED").format(names))
    yield
    session.execute(sql.SQL("SET CONSTRAINTS {} IMMEDIATE").format(names))
    for key in keys:
        if not key.deferrable:
            alter(key, "NOT DEFERRABLE")


def read_foreign_keys(session: Connection, oids: list[int]) -> tuple[ForeignKey, ...]:
    return tuple(
        ForeignKey(
            name=name, child=child, child_name=tuple(child_name), child_columns=tuple(child_columns),
            parents=tuple(parents), parent_name=tuple(parent_name), parent_columns=tuple(parent_columns),
            deferrable=deferrable,
        )
        for (
            name, child, child_name, child_columns, parents, parent_name, parent_columns, deferrable
        ) in session.execute(QUERIES["foreign_keys"], {"oids": oids})
    )  # fmt: skip
