"""Read what a database holds: every table once, in one snapshot, on several sessions.

The hashes are `data.fingerprint`'s, one scan per table; only enums are read otherwise: as their labels, since their
oids are others after a restore.  A table is read column by column, so that a difference names its columns.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.data.columns import NATIVE, Expression, Hashing, Reading
from pgrehearse.data.fingerprint import Layout, Side, read_fingerprint
from pgrehearse.data.pairing import FollowedColumn
from pgrehearse.data.session import prepare_session
from pgrehearse.data.tables import Column, Table
from pgrehearse.errors import BackupFailed, SourceUnreadable
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.progress import Progress
from pgrehearse.release.backup.contents import (
    ColumnContent,
    Contents,
    LargeObjectContent,
    SequenceContent,
    TableContent,
)

QUERIES = named_queries(__file__)
LOCK_WAIT_MS = "60000"
AT_ONCE = 200  # sequences read by one statement
NOT_HELD = {
    "f": "a foreign table, its rows stand on another server",
    "not": "an extension's own table, whose rows are not part of a dump",
    "in part": "a dump has only the rows that its extension registered, and they are not compared",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How a database is read: how to open a session, and the exported snapshot to read in, if any."""

    open: Callable[[], Connection]
    snapshot: str | None = None

    @contextmanager
    def transaction(self, session: Connection) -> Iterator[None]:
        """A transaction of its own for each table: one for all would hold a lock on every table and index."""
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        try:
            if self.snapshot is not None:
                session.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self.snapshot)))
            yield
        finally:
            with suppress(psycopg.Error):
                session.execute("ROLLBACK")

    def session(self) -> Connection:
        session = prepare_session(self.open())
        session.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (LOCK_WAIT_MS,))
        return session


def read_contents(
    reader: Reader, *, progress: Progress, jobs: int = 2, like: Mapping[str, TableContent] | None = None
) -> Contents:
    """Scan every table once on ``jobs`` sessions, the largest first; ACCESS SHARE on one table each at a time.

    With ``like``, tables of the same name are read by the same key as there, so that equal rows give equal numbers.
    Raises `SourceUnreadable` where anything is hidden from this role, `BackupFailed` where a table cannot be read.
    """
    with reader.session() as session, reader.transaction(session):
        tables, not_held = _read_tables(session, like or {})
        large_objects = _read_large_objects(session)
    with reader.session() as session:
        sequences = read_sequences(session)
    return Contents(
        tables=_scan(reader, tables, jobs=jobs, progress=progress),
        sequences=sequences,
        large_objects=large_objects,
        not_held=not_held,
    )


def read_sequences(session: Connection) -> tuple[SequenceContent, ...]:
    """Where every sequence stands now; no snapshot holds a sequence still."""
    found = session.execute(QUERIES["sequences"]).fetchall()
    hidden = [name for _, _, name, _, _, readable in found if not readable]
    if hidden:
        raise SourceUnreadable(f"this role may not read {_some(hidden)}, so the backup would not be whole")
    states: list[SequenceContent] = []
    for start in range(0, len(found), AT_ONCE):
        part = found[start : start + AT_ONCE]
        queries = [
            sql.SQL("SELECT {}::int4, last_value, is_called FROM {}").format(
                sql.Literal(place), sql.Identifier(namespace, relation)
            )
            for place, (namespace, relation, *_) in enumerate(part)
        ]
        for place, last, called in session.execute(sql.SQL(" UNION ALL ").join(queries)):
            _, _, name, increment, cycles, _ = part[place]
            states.append(
                SequenceContent(name=name, last_value=last, is_called=called, increment=increment, cycles=cycles)
            )
    return tuple(sorted(states, key=lambda state: state.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    table: Table
    layout: Layout
    size_bytes: int


def _read_tables(session: Connection, like: Mapping[str, TableContent]) -> tuple[list[_Shape], tuple[str, ...]]:
    types = {declared: (base, function) for declared, base, function in session.execute(QUERIES["types"])}
    columns: dict[int, list[Column]] = {}
    for oid, number, name, sql_name, type_oid, typmod, not_null in session.execute(QUERIES["columns"]):
        columns.setdefault(oid, []).append(
            Column(number=number, name=name, sql_name=sql_name, type_oid=type_oid, typmod=typmod, not_null=not_null)
        )
    keys: dict[int, tuple[int, ...]] = {oid: tuple(key) for oid, key in session.execute(QUERIES["keys"])}
    shapes, hidden, not_held = [], [], []
    for oid, namespace, relation, name, kind, readable, secured, size, held in session.execute(QUERIES["tables"]):
        if kind == "f" or held != "whole":
            not_held.append(f"{name}: {NOT_HELD[kind if kind == 'f' else held]}")
            continue
        if not readable or secured:
            hidden.append(name)
            continue
        table = Table(
            oid=oid, namespace=namespace, relation=relation, name=name, partitioned=False, readable=True,
            row_security=False, is_empty=size == 0, parent_oid=None, columns=tuple(columns.get(oid, ())),
            keys=(keys[oid],) if oid in keys else (),
        )  # fmt: skip
        layout = _layout(table, types, like.get(name))
        shapes.append(_Shape(table=table, layout=layout, size_bytes=size or 0))
    if hidden:
        raise SourceUnreadable(
            f"this role may not read {_some(hidden)} (or row-level security hides rows), "
            "so the backup would not be whole",
            remedy="Back up as a superuser, the tables' owner or a role with BYPASSRLS and pg_read_all_data.",
        )
    return sorted(shapes, key=lambda shape: -shape.size_bytes), tuple(not_held)


def _layout(table: Table, types: Mapping[int, tuple[int, bool]], like: TableContent | None) -> Layout:
    followed = tuple(
        FollowedColumn(
            name=column.name, sql_name=column.sql_name, sql_name_after=None, before={table.oid: column}, after={},
            reading=_reading(*types[column.type_oid]), renamed=False, retyped=False, recreated=False,
        )
        for column in table.columns
    )  # fmt: skip
    names = [column.name for column in table.columns]
    own = [column.name for number in (table.keys or ((),))[0] if (column := table.find_column(number))]
    if like is not None and all(name in names for name in like.key):
        own = list(like.key)
    return Layout(columns=followed, compared=followed, key=tuple(names.index(name) for name in own))


def _reading(base: int, has_text_function: bool) -> Reading:
    """Natively where the hash tells as much apart as the text does; else by the output function's text."""
    hashing, type_name = NATIVE.get(base, (Hashing.TEXT, "pg_catalog.text"))
    as_type = sql.SQL("({v})::{t}")
    if base not in NATIVE and has_text_function:  # casting char(n) to text strips blanks, inet gains a netmask
        as_type = sql.SQL("CASE WHEN ({v}) IS DISTINCT FROM NULL THEN pg_catalog.concat({v}) END")

    def read(value: Expression) -> Expression:
        return as_type.format(v=value, t=sql.SQL(type_name))

    return Reading(hashing=hashing, before=read, after=read, casts=False)


def _scan(reader: Reader, shapes: list[_Shape], *, jobs: int, progress: Progress) -> tuple[TableContent, ...]:
    local = threading.local()
    opened: list[Connection] = []
    told = threading.Lock()
    done = 0

    def scan(shape: _Shape) -> TableContent:
        nonlocal done
        if not hasattr(local, "session"):
            local.session = reader.session()
            opened.append(local.session)
        content = _scan_table(reader, local.session, shape)
        with told:
            done += 1
            progress.advance(shape.table.name, done, len(shapes))
        return content

    with ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="backup") as executor:
        futures = [executor.submit(scan, shape) for shape in shapes]
        try:
            contents = [future.result() for future in futures]
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            for session in tuple(opened):
                with suppress(psycopg.Error):
                    session.cancel()
            raise
        finally:
            executor.shutdown(wait=True)
            for session in opened:
                session.close()
    return tuple(sorted(contents, key=lambda content: content.name))


def _scan_table(reader: Reader, session: Connection, shape: _Shape) -> TableContent:
    table, layout = shape.table, shape.layout
    try:
        with reader.transaction(session):
            found = read_fingerprint(session, layout, table, Side.BEFORE)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:  # only the condition's name: PostgreSQL's messages quote values
        told = f"{type(error).__name__}, SQLSTATE {error.sqlstate or 'unknown'}"
        raise BackupFailed(f"the rows of {table.name} cannot be read: {told}") from None
    sums = found.sums or (None,) * len(found.values)
    return TableContent(
        namespace=table.namespace,
        relation=table.relation,
        name=table.name,
        rows=found.rows,
        key=tuple(layout.compared[place].name for place in layout.key),
        keys=found.keys,
        columns={
            column.name: ColumnContent(values=values, sum=total)
            for column, values, total in zip(layout.compared, found.values, sums, strict=True)
        },
    )


def _read_large_objects(session: Connection) -> LargeObjectContent:
    count = session.execute(QUERIES["large_object_count"]).fetchone()
    assert count is not None
    if not count[0]:
        return LargeObjectContent(count=0, content="0")
    # A descriptor that was closed is given out again, and a memoized size would be that of the object before.
    session.execute("SET LOCAL enable_memoize = off")
    try:
        row = session.execute(QUERIES["large_objects"]).fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise SourceUnreadable(
            f"this role may not read every large object: {error.diag.message_primary}",
            remedy="Back up as a superuser or as the large objects' owner.",
        ) from error
    assert row is not None
    return LargeObjectContent(count=count[0], content=row[0])


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
