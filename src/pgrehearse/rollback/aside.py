"""What was written to tables and columns that the plan added, and that go with the way back: copied aside first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from pgrehearse.hazards.sql_names import derived
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rollback.durability import kind_of_table, make_durable
from pgrehearse.rollback.image import NAMESPACE
from pgrehearse.rollback.image_take import keep_private, require_namespace
from pgrehearse.rollback.names import split_name

QUERIES = named_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A table, or one column of a table that was there, that the plan made; named as after it."""

    relation: str
    column: str | None

    def __str__(self) -> str:
        return self.relation if self.column is None else f"{self.relation}.{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAside:
    """Where its rows stand now."""

    what: str
    table: str  # in the quarantine namespace
    rows: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def find_added(changes: Sequence[Mapping[str, Any]]) -> tuple[Added, ...]:
    """From a receipt's ``schema.changes``; pure."""
    added = [change for change in changes if change["effect"] == "added"]
    tables = [Added(relation=change["name"], column=None) for change in added if change["kind"] == "table"]
    return (
        *tables,
        *(
            Added(relation=change["relation"], column=change["name"].removeprefix(f"{change['relation']}."))
            for change in added
            if change["kind"] == "table column"
        ),
    )


def keep_aside(session: Connection, added: Sequence[Added], *, id: str) -> tuple[KeptAside, ...]:  # noqa: A002
    """Copy every row of the added tables, and the values written to the added columns, into `pgrehearse_quarantine`.

    In the rollback's transaction, before its DDL, which drops them.  Locks: ACCESS EXCLUSIVE on these tables, as the
    DDL will take.  Values that every row had from the start are nobody's writing, and are not copied; nor are
    generated ones and identities.  Cost: a scan of each such table.
    """
    kept = []
    for number, each, table, select in _selects(session, added):
        session.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(table))
        found = session.execute(sql.SQL("SELECT EXISTS ({})").format(select)).fetchone()
        if found is None or not found[0]:
            continue
        require_namespace(session)
        copy = derived(id, "aside", str(number), split_name(each.relation)[-1])
        target = sql.Identifier(NAMESPACE, copy)
        rows = session.execute(sql.SQL("CREATE {} {} AS {}").format(kind_of_table(session), target, select)).rowcount
        make_durable(session, target)
        keep_private(session, target)
        said = f"written to {each}, which the way back {id} took away"
        session.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(target, sql.Literal(said)))
        kept.append(KeptAside(what=str(each), table=f"{NAMESPACE}.{copy}", rows=rows))
    return tuple(kept)


def count_aside(session: Connection, added: Sequence[Added]) -> Iterator[tuple[Added, int]]:
    """How many rows `keep_aside` would copy of each now, where there are any; reads them, locks nothing."""
    for _, each, _, select in _selects(session, added):
        row = session.execute(sql.SQL("SELECT pg_catalog.count(*) FROM ({}) s").format(select)).fetchone()
        if row is not None and row[0]:
            yield each, int(row[0])


def _selects(
    session: Connection, added: Sequence[Added]
) -> Iterator[tuple[int, Added, sql.Identifier, sql.Composable]]:
    """Each with its number, its table, and the rows that were written to it."""
    for number, each in enumerate(added, start=1):
        row = session.execute(QUERIES["tables"], (each.relation,)).fetchone()
        if row is None:
            continue  # a partitioned table, or gone again
        namespace, name, oid = row
        table = sql.Identifier(namespace, name)
        select = _whole(session, table, oid) if each.column is None else _written(session, table, oid, each.column)
        if select is not None:
            yield number, each, table, select


def _whole(session: Connection, table: sql.Identifier, oid: int) -> sql.Composable:
    return sql.SQL("SELECT {} FROM ONLY {} t").format(_columns(session, oid, None), table)


def _written(session: Connection, table: sql.Identifier, oid: int, column: str) -> sql.Composable | None:
    row = session.execute(QUERIES["column"], (oid, column)).fetchone()
    if row is None or row[1]:
        return None
    name, _, kind, missing, default, key = row
    value = sql.SQL("t.{}").format(sql.Identifier(name))
    select = sql.SQL("SELECT {} FROM ONLY {} t WHERE {} IS NOT NULL").format(
        _columns(session, oid, {*key, name} if key else None), table, value
    )
    if missing is not None:  # its text, cast back by the type's own input
        select += sql.SQL(" AND {}::pg_catalog.text IS DISTINCT FROM {}::{}::pg_catalog.text").format(
            value, sql.Literal(missing), sql.SQL(kind)
        )
    if default is not None:  # a constant, as the server prints it
        select += sql.SQL(" AND {}::pg_catalog.text IS DISTINCT FROM ({})::{}::pg_catalog.text").format(
            value, sql.SQL(default), sql.SQL(kind)
        )
    return select


def _columns(session: Connection, oid: int, wanted: set[str] | None) -> sql.Composable:
    columns = []
    for name, is_own in session.execute(QUERIES["own_types"], (oid,)).fetchall():
        if wanted is None or name in wanted:
            form = "t.{0}::pg_catalog.text AS {0}" if is_own else "t.{0}"
            columns.append(sql.SQL(form).format(sql.Identifier(name)))
    return sql.SQL(", ").join(columns)
