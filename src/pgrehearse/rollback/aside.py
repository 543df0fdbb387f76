"""What was written since and goes with the way back, to tables and columns that the plan added, and values that it
writes anew: copied aside first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.hazards.sql_names import derived
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rollback.durability import kind_of_table, make_durable
from pgrehearse.rollback.image import NAMESPACE, Image
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
class Rewritten:
    """A column of a table that was there, whose values the way back writes anew; named as after the plan."""

    relation: str
    column: str
    was_type: str | None  # that it gets back; None: it stays
    was_generated: str | None  # the expression that it is computed by again; None: none

    def __str__(self) -> str:
        return f"{self.relation}.{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAside:
    """Where its rows stand now."""

    what: str
    table: str  # in the quarantine namespace, as SQL writes it
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


def find_rewritten(changes: Sequence[Mapping[str, Any]]) -> tuple[Rewritten, ...]:
    """Columns that get another type back, or are generated again; from a receipt's ``schema.changes``, pure."""
    tables = {
        each["name"]: each["after"] for each in changes if (each["kind"], each["effect"]) == ("table", "renamed")
    }  # fmt: skip
    columns: dict[tuple[str, str], dict[str, Any]] = {}
    for each in changes:
        if each["kind"] == "table column" and each["effect"] in ("changed", "renamed"):
            name = each["name"].removeprefix(f"{each['relation']}.")
            columns.setdefault((each["relation"], name), {})[each["attribute"]] = each
    found = []
    for (relation, name), changed in columns.items():
        was_type = changed["type"]["before"] if "type" in changed else None
        generated = changed.get("generated")
        was_generated = None
        if generated is not None and generated["before"] is not None and generated["after"] is None:
            was_generated = changed["generation expression"]["before"]
        if was_type is None and was_generated is None:
            continue
        column = changed["name"]["after"].removeprefix(f"{relation}.") if "name" in changed else name
        found.append(
            Rewritten(
                relation=tables.get(relation, relation), column=column, was_type=was_type, was_generated=was_generated
            )
        )
    return tuple(found)


def find_going(changes: Sequence[Mapping[str, Any]]) -> tuple[Added | Rewritten, ...]:
    """All that is copied aside: `find_added` and `find_rewritten`."""
    return (*find_added(changes), *find_rewritten(changes))


def keep_aside(
    session: Connection,
    going: Sequence[Added | Rewritten],
    images: Sequence[Image],
    *,
    id: str,  # noqa: A002
) -> tuple[KeptAside, ...]:
    """Copy every row of the added tables, and values written to what goes, into `pgrehearse_quarantine`.

    In the rollback's transaction, before its DDL, which drops them or writes them anew.  Locks: ACCESS EXCLUSIVE on
    these tables, as the DDL will take.  Of added columns, values that every row had from the start are nobody's
    writing, and are not copied; nor are generated ones and identities.  Of a column that gets another type back, or is
    generated again, only values are copied that would be others then, and that the migration itself has not written
    (``images``, settled by it, tell).  Cost: at most two scans for each table and column, and one more before the lock
    for a column that is written anew.
    """
    kept = []
    for number, each, table, select in _selects(session, going, images):
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
        done = "took away" if isinstance(each, Added) else "wrote anew"
        said = f"written to {each}, which the way back {id} {done}"
        session.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(target, sql.Literal(said)))
        kept.append(KeptAside(what=str(each), table=target.as_string(session), rows=rows))
    return tuple(kept)


def count_aside(
    session: Connection, going: Sequence[Added | Rewritten], images: Sequence[Image]
) -> Iterator[tuple[Added | Rewritten, int]]:
    """How many rows `keep_aside` would copy of each now, where there are any; reads them, locks nothing."""
    for _, each, _, select in _selects(session, going, images):
        row = session.execute(sql.SQL("SELECT pg_catalog.count(*) FROM ({}) s").format(select)).fetchone()
        if row is not None and row[0]:
            yield each, int(row[0])


def _selects(
    session: Connection, going: Sequence[Added | Rewritten], images: Sequence[Image]
) -> Iterator[tuple[int, Added | Rewritten, sql.Identifier, sql.Composable]]:
    """Each with its number, its table, and the rows that were written to it."""
    for number, each in enumerate(going, start=1):
        row = session.execute(QUERIES["tables"], (each.relation,)).fetchone()
        if row is None:
            continue  # a partitioned table, or gone again
        namespace, name, oid = row
        table = sql.Identifier(namespace, name)
        if isinstance(each, Rewritten):
            select = _written_anew(session, table, oid, each, images)
        elif each.column is None:
            select = _whole(session, table, oid)
        else:
            select = _written(session, table, oid, each.column)
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


def _written_anew(
    session: Connection, table: sql.Identifier, oid: int, each: Rewritten, images: Sequence[Image]
) -> sql.Composable | None:
    row = session.execute(QUERIES["column"], (oid, each.column)).fetchone()
    if row is None or row[1]:
        return None
    name, _, kind, _, _, key = row
    value = sql.SQL("t.{}").format(sql.Identifier(name))
    comes: sql.Composable = value
    if each.was_generated is not None:
        comes = sql.SQL("({})").format(sql.SQL(each.was_generated))
    if each.was_type is not None:
        comes = sql.SQL("CAST({} AS {})").format(comes, sql.SQL(each.was_type))
    select = sql.SQL("SELECT {} FROM ONLY {} t WHERE {} IS DISTINCT FROM NULL {}").format(
        _columns(session, oid, {*key, name} if key else None), table, value, _not_by_migration(each.relation, images)
    )
    # As text, for equal values may not be the same; only a number is, of whatever scale.
    read = "pg_catalog.trim_scale(({}))" if kind.startswith("numeric") else "({})::pg_catalog.text"
    now, then = (sql.SQL(read).format(part) for part in (value, sql.SQL("CAST({} AS {})").format(comes, sql.SQL(kind))))
    others = select + sql.SQL(" AND {} IS DISTINCT FROM {}").format(now, then)
    asked = _is_asked(session, others)
    return None if asked is None else others if asked else select


def _not_by_migration(relation: str, images: Sequence[Image]) -> sql.Composable:
    """What the migration itself has written is none of the application's: a row bears the number of its writer."""
    for image in images:
        settled = image.settled
        if settled is not None and settled.relation_after == relation and image.refreshed_in is not None:
            own = image.refreshed_in % 2**32
            return sql.SQL("AND t.xmin::pg_catalog.text <> {}").format(sql.Literal(str(own)))
    return sql.SQL("")


def _is_asked(session: Connection, select: sql.Composable) -> bool | None:
    """Whether the server can be asked so.  False: a type is gone with the plan, or a column has another name.

    None: a value does not fit at all, on which the way back fails, and changes nothing.
    """
    try:
        with session.transaction():
            session.execute(sql.SQL("SELECT pg_catalog.count(*) FROM ({}) s").format(select))
    except psycopg.errors.DatabaseError as error:
        if error.sqlstate is not None and error.sqlstate[:2] in ("22", "23"):
            return None
        if error.sqlstate is None or error.sqlstate[:2] != "42":
            raise
        return False
    return True


def _columns(session: Connection, oid: int, wanted: set[str] | None) -> sql.Composable:
    columns = []
    for name, is_own in session.execute(QUERIES["own_types"], (oid,)).fetchall():
        if wanted is None or name in wanted:
            form = "t.{0}::pg_catalog.text AS {0}" if is_own else "t.{0}"
            columns.append(sql.SQL(form).format(sql.Identifier(name)))
    return sql.SQL(", ").join(columns)
