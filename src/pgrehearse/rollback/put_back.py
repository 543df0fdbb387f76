"""After the inverse ran: bring back what the migration destroyed, and leave alone what the application wrote since."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from pgrehearse.errors import PutBackFailed
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rollback.foreign_keys import (
    ForeignKey,
    checked_at_the_end,
    find_circular,
    parents_first,
    read_foreign_keys,
)
from pgrehearse.rollback.image import Image, ImageState, SequenceAt, read_again
from pgrehearse.rollback.image_columns import LiveTable, find_oid, find_table
from pgrehearse.rollback.image_session import pinned
from pgrehearse.rollback.names import identifier
from pgrehearse.rollback.table_put_back import TableBack, TablePutBack

QUERIES = named_queries(__file__)

ENABLE = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}  # pg_trigger.tgenabled, pg_rewrite.ev_enabled


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """What came back, table by table, and what did not."""

    tables: tuple[TableBack, ...]
    sequences_moved: tuple[str, ...]  # forward, to where they had been; none is ever moved back

    @property
    def complete(self) -> bool:
        """Whether everything that the migration destroyed is there again."""
        return not any(table.rows_left or table.added_left for table in self.tables)

    def as_json(self) -> dict[str, Any]:
        return {
            "tables": [asdict(table) for table in self.tables],
            "sequences_moved": list(self.sequences_moved),
        }


def put_back(session: Connection, images: Sequence[Image]) -> PutBack:
    """Put rows, values and sequences back, in the rollback's transaction, after the inverse DDL has run.

    A row that the migration deleted comes back unless its key is taken, a parent that it refers to is gone, or another
    constraint of today forbids it.  A value that it overwrote comes back where what the migration left still stands; a
    value that the application wrote since stays.  A row that the migration added goes unless the application changed
    it or refers to it.  A row that the application deleted since stays deleted; of one that may have moved to another
    partition the old row is kept aside.  What could not come back stands in the quarantine namespace
    (`TableBack.left_table`), each row with its reason.

    The tables' own triggers and rules do not fire, and generated columns compute themselves; foreign keys and all
    other constraints hold.  Rights: the tables' owner.  Locks: SHARE ROW EXCLUSIVE, where there are triggers to
    silence, ACCESS EXCLUSIVE where there are rules or forced row-level security; the inverse has mostly taken more.
    Cost: what was destroyed, once by key; a failing statement is halved until the rows that fail stand alone.

    Raises `PutBackFailed` (exit 1) where an image is not settled or the inverse left no such table.
    """
    if session.info.transaction_status != TransactionStatus.INTRANS:
        raise PutBackFailed("images are put back inside the rollback's own transaction")
    current = read_again(session, images)
    missing = {image.relation for image in images} - {image.relation for image in current}
    if missing:
        raise PutBackFailed(f"the image of {', '.join(sorted(missing))} is not there any more")
    unsettled = [image.relation for image in current if image.state is not ImageState.SETTLED]
    if unsettled:
        raise PutBackFailed(
            f"the image of {', '.join(unsettled)} was never settled: its migration did not commit, or ran without it"
        )
    with pinned(session):
        tables = [(image, _require_table(session, image)) for image in current if not image.plan.is_sequence]
        session.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with _undisturbed(session, [table for _, table in tables]), _settable(session, tables):
            backs = _put_rows_back(session, tables)
        moved = [
            at.name for image in current for at in image.sequences if _move_forward(session, at)
        ]  # fmt: skip
    return PutBack(tables=backs, sequences_moved=tuple(dict.fromkeys(moved)))


def _require_table(session: Connection, image: Image) -> LiveTable:
    oid = find_oid(session, image.relation)
    table = find_table(session, oid) if oid is not None else None
    if table is None:
        raise PutBackFailed(f"the inverse left no table {image.relation} to put rows back into")
    return table


def _put_rows_back(session: Connection, tables: Sequence[tuple[Image, LiveTable]]) -> tuple[TableBack, ...]:
    keys = read_foreign_keys(session, [table.oid for _, table in tables])
    circular = find_circular(keys, {table.oid for _, table in tables})
    if circular:
        try:
            with session.transaction(), checked_at_the_end(session, circular):
                return _work_in_rounds(session, tables, keys, deferred=circular)
        except psycopg.errors.DatabaseError as error:
            # A parent is gone for good, or a partition's own key cannot be altered: then row by row, as far as it goes.
            if error.sqlstate is None or error.sqlstate[:2] not in ("23", "42"):
                raise
    return _work_in_rounds(session, tables, keys, deferred=())


def _work_in_rounds(
    session: Connection,
    tables: Sequence[tuple[Image, LiveTable]],
    keys: Sequence[ForeignKey],
    *,
    deferred: Sequence[ForeignKey],
) -> tuple[TableBack, ...]:
    works = [
        TablePutBack(
            session,
            image,
            table,
            parents=tuple(key for key in keys if key.child == table.oid),
            children=tuple(key for key in keys if table.oid in key.parents),
            deferred=deferred,
        )
        for image, table in tables
    ]
    for work in works:
        work.follow(works)
    by_oid = {work.table.oid: work for work in works}
    ordered = [by_oid[oid] for oid in parents_first(list(by_oid), keys)]
    while True:  # each round can only make sense of what the one before brought: a parent, a unique value set free
        progress = sum([work.remove_added() for work in reversed(ordered)])
        for work in ordered:
            progress += work.put_values_back()
            progress += work.put_rows_back()
        if not progress or not any(work.unfinished for work in ordered):
            break
    return tuple(work.finish() for work in works)


@contextmanager
def _undisturbed(session: Connection, tables: Sequence[LiveTable]) -> Iterator[None]:
    """The tables' triggers and rules are silent meanwhile and policies do not bind the owner; then all is as before.

    Not by session_replication_role: only a superuser may set it, and it silences foreign keys too.
    """
    back: list[Callable[[], object]] = []

    def alter(table: LiveTable, action: sql.Composable) -> None:
        session.execute(sql.SQL("ALTER TABLE ONLY {} {}").format(table.identifier, action))

    for table in tables:
        for kind, name, enabled in session.execute(QUERIES["triggers_and_rules"], {"oid": table.oid}).fetchall():
            named = sql.SQL("{} {}").format(sql.SQL(kind), sql.Identifier(name))
            alter(table, sql.SQL("DISABLE {}").format(named))
            back.append(
                lambda table=table, named=named, enabled=enabled: alter(  # type: ignore[misc]
                    table, sql.SQL("{} {}").format(sql.SQL(ENABLE[enabled]), named)
                )
            )
        if table.row_security_forced:
            alter(table, sql.SQL("NO FORCE ROW LEVEL SECURITY"))
            back.append(lambda table=table: alter(table, sql.SQL("FORCE ROW LEVEL SECURITY")))  # type: ignore[misc]
    yield
    for undo in back:
        undo()


@contextmanager
def _settable(session: Connection, tables: Sequence[tuple[Image, LiveTable]]) -> Iterator[None]:
    """GENERATED ALWAYS AS IDENTITY forbids UPDATE, also to the value before; a key is never written over."""
    altered: dict[tuple[str, str, str], None] = {}
    for image, table in tables:
        others = {column.name for column in image.columns} - {column.name for column in image.key}
        for name, namespace, relation in session.execute(QUERIES["identities"], {"oid": table.oid}):
            if name in others:
                altered[namespace, relation, name] = None

    def set_generated(words: LiteralString) -> None:
        for namespace, relation, name in altered:
            session.execute(
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET GENERATED {}").format(
                    sql.Identifier(namespace, relation), sql.Identifier(name), sql.SQL(words)
                )
            )

    set_generated("BY DEFAULT")
    yield
    set_generated("ALWAYS")


def _move_forward(session: Connection, at: SequenceAt) -> bool:
    """Beyond where it stood, and beyond the highest value in the column that owns it."""
    row = session.execute(QUERIES["sequence"], {"name": at.name}).fetchone()
    if row is None:
        return False
    increment, namespace, relation, column = row
    now = session.execute(
        sql.SQL("SELECT last_value, is_called FROM {}").format(identifier(at.name))
    ).fetchone()  # fmt: skip
    assert now is not None  # a sequence has one row
    wanted = [(now[0], now[1]), (at.last_value, at.is_called)]
    if column is not None:
        furthest = session.execute(
            sql.SQL("SELECT {}({}) FROM {}").format(
                sql.SQL("pg_catalog.max" if increment > 0 else "pg_catalog.min"),
                sql.Identifier(column),
                sql.Identifier(namespace, relation),
            )
        ).fetchone()
        if furthest is not None and isinstance(furthest[0], int):
            wanted.append((furthest[0], True))
    best = max(wanted, key=lambda state: (state[0] if increment > 0 else -state[0], state[1]))
    if best == (now[0], now[1]):
        return False
    session.execute("SELECT pg_catalog.setval(%s::pg_catalog.regclass, %s, %s)", (at.name, *best))
    return True
