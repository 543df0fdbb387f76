"""What a dump does not carry and a restore computes anew: materialized views, and stored generated columns.

Production may hold something else by now: a view that was not refreshed since its tables were written, a column whose
function was replaced, whatever asks random() or now().  A copy holds what the query or the expression gives today.
Virtual generated columns (18) are computed by production, too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.counted import agree, counted
from pgrehearse.data.integrity.measure import condition
from pgrehearse.data.session import prepare_session
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
# A REFRESH under way keeps everybody out; whoever comes behind us would wait as long as we do.
PREPARE_SCAN = "SET LOCAL lock_timeout = '5s'"
# Sums of floats differ in their last digits from one run of a query to the next; a row's own values do not.
ROUNDED = "SET LOCAL extra_float_digits = 0"
HASH = sql.SQL(
    'pg_catalog.sum(pg_catalog.hashtextextended(ROW({values})::pg_catalog.text COLLATE pg_catalog."C", {seed}))'
    "::pg_catalog.text"
)
ROW_HASH = sql.SQL('pg_catalog.hashtextextended(ROW({values})::pg_catalog.text COLLATE pg_catalog."C", 0)')
SCAN = sql.SQL("SELECT pg_catalog.count(*), ARRAY[{sums}]::pg_catalog.text[] FROM ONLY {relation} AS r")
ONLY_NOW = "and a clone has only the latter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one relation holds of such values: how many rows, and a sum of hashes for each column."""

    relation: str  # namespace.relation, quoted only where SQL needs it
    relname: str
    columns: tuple[str, ...]  # stored generated ones; of a materialized view: none, it is one value
    rows: int | None  # None: it could not be read
    sums: tuple[str | None, ...]
    why_unread: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Derived:
    """A relation that holds such values; without generated columns it is a materialized view."""

    relation: str
    relname: str
    identifier: sql.Identifier
    columns: tuple[str, ...]
    rest: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCarried:
    """A relation of which the copy holds something else than its source, or nobody knows; ``reason`` says in what."""

    relation: str
    relname: str
    reason: str


def read_derived(connection: Connection) -> dict[str, Held]:
    """One scan of each populated materialized view, and of each table with stored generated columns.

    The lock (ACCESS SHARE) goes with each scan, and one that is not to be had in 5 s is told as unread.  Leaves the
    session and its transaction, if it is in one, as they were.
    """
    with connection.transaction(force_rollback=True):
        prepare_session(connection)
        connection.execute(PREPARE_SCAN)
        found = [
            _Derived(
                relation=name, relname=relname, identifier=sql.Identifier(namespace, relname), columns=tuple(generated),
                rest=others,
            )
            for name, namespace, relname, generated, others in connection.execute(QUERIES["derived"])
        ]  # fmt: skip
        return {each.relation: _read(connection, each) for each in found}


def find_not_carried(source: Mapping[str, Held], copy: Mapping[str, Held]) -> tuple[NotCarried, ...]:
    """Where the copy holds something else than its source, or one of them could not be read.  Pure."""
    return tuple(
        NotCarried(relation=held.relation, relname=held.relname, reason=reason)
        for held in source.values()
        if (reason := _why_not_carried(held, copy.get(held.relation))) is not None
    )


def _read(connection: Connection, derived: _Derived) -> Held:
    rest = _columns(derived.rest)
    if derived.columns:
        # Seeded by what a dump does carry of the row, so that a value that stands in another row tells.
        seed = ROW_HASH.format(values=rest)
        sums = [HASH.format(values=_columns([name]), seed=seed) for name in derived.columns]
    else:
        sums = [HASH.format(values=rest, seed=sql.Literal(0))]
    scan = SCAN.format(sums=sql.SQL(", ").join(sums), relation=derived.identifier)
    rows, found, why = None, [], None
    try:
        with connection.transaction(force_rollback=True):  # which gives the lock back
            if not derived.columns:
                connection.execute(ROUNDED)
            row = connection.execute(scan).fetchone()
            assert row is not None
            rows, found = row
    except psycopg.Error as error:
        if connection.closed:
            raise
        why = condition(error)
    return Held(
        relation=derived.relation, relname=derived.relname, columns=derived.columns, rows=rows, sums=tuple(found),
        why_unread=why,
    )  # fmt: skip


def _columns(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier("r", name) for name in names)


def _why_not_carried(held: Held, copied: Held | None) -> str | None:
    if copied is None:
        return "it is filled in production and not in a clone"
    for where, each in (("in production", held), ("in the clone", copied)):
        if each.rows is None:
            return f"a clone computes it anew, and what it holds {where} could not be read ({each.why_unread})"
    if (held.rows, held.sums) == (copied.rows, copied.sums):
        return None
    assert held.rows is not None
    assert copied.rows is not None
    there, here = counted(held.rows, "row"), counted(copied.rows, "row")
    if not held.columns:
        now = f"other {here}" if held.rows == copied.rows else here
        return f"what it holds in production ({there}) is not what its query gives now ({now}), {ONLY_NOW}"
    if held.rows != copied.rows:
        return f"it holds {there} in production and {here} in a clone"
    names = [name for name, was, now in zip(held.columns, held.sums, copied.sums, strict=True) if was != now]
    columns = f"generated column{agree(len(names), '', 's')} {', '.join(names)}"
    verb = agree(len(names), "holds", "hold")
    now = agree(len(names), "its expression gives", "their expressions give")
    return f"what {columns} {verb} in production is not what {now} now, {ONLY_NOW}"
