"""The rows that a declared condition speaks of: which of them are gone from the clone, and which hold other values.

Pristine copy and clone are two databases.  The rows that satisfy a condition are streamed by their keys, server to
server through this process, into a temporary table beside the clone's table, and joined there; so the cost is that
of the declared rows, not of the table.  The temporary table is rolled back.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.errors import DataNotCompared
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rehearsal.moments import Moment, at_moment

QUERIES = named_queries(__file__)
SET = "SELECT pg_catalog.set_config(%s, %s, false)"
# Event triggers of the team's own should not meet our temporary table.
WITHOUT_TRIGGERS = """
SELECT pg_catalog.set_config('session_replication_role', 'replica', false)
WHERE pg_catalog.current_setting('is_superuser') = 'on'
"""
# Without a key: equal rows stand several times, and one is changed where fewer are left.  Those of NULL that came to
# rows which are alike in all else are what such values became.
COPIES_CHANGED = """
WITH d AS MATERIALIZED (
    SELECT k0, r, v0 IS NULL AS was_null, pg_catalog.max(copies) AS copies
    FROM (SELECT n, k0, r, v0, pg_catalog.count(*) AS copies {declared} GROUP BY n, k0, r, v0) AS e GROUP BY 1, 2, 3
), t AS MATERIALIZED (
    SELECT {row} AS k0, {rest} AS r, {value} IS NOT DISTINCT FROM NULL AS is_null, pg_catalog.count(*) AS copies
    FROM {table} GROUP BY 1, 2, 3
), lost AS (
    SELECT d.r, pg_catalog.sum(GREATEST(d.copies - COALESCE(t.copies, 0), 0)) AS lost
    FROM d LEFT JOIN t ON t.k0 = d.k0 WHERE NOT d.was_null GROUP BY d.r
), nulls AS (
    SELECT r, pg_catalog.sum(copies) AS came
    FROM (SELECT r, copies FROM t WHERE is_null UNION ALL SELECT r, -copies FROM d WHERE was_null) AS s GROUP BY r
)
SELECT COALESCE(pg_catalog.sum(lost - LEAST(lost, GREATEST(COALESCE(came, 0), 0))), 0)::pg_catalog.int8,
       COALESCE(pg_catalog.sum(LEAST(lost, GREATEST(COALESCE(came, 0), 0))), 0)::pg_catalog.int8
FROM lost LEFT JOIN nulls ON nulls.r = lost.r
"""
TABLES = frozenset("rp")
KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence"}


class NotEvaluated(Exception):
    """A condition could not be asked; the text says why, without any value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A relation of one database."""

    oid: int
    parts: tuple[str, str]
    kind: str  # pg_class.relkind
    name: str
    root: str  # of its partition tree; its own name where it is in none
    leaves: tuple[str, ...]  # where its rows stand; its own name where it is not partitioned


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    number: int
    name: str
    sql_name: str
    type: str
    not_null: bool


def read_relations(session: Connection, names: Collection[str], oids: Collection[int] = ()) -> tuple[Relation, ...]:
    """Those that carry one of these names in whatever namespace, or have one of these oids."""
    found = session.execute(QUERIES["relations"], {"names": list(names), "oids": list(oids)})
    return tuple(
        Relation(oid=oid, parts=(namespace, relation), kind=kind, name=name, root=root, leaves=tuple(leaves))
        for oid, namespace, relation, kind, name, root, leaves in found
    )


def read_columns(session: Connection, relation: Relation) -> dict[int, Column]:
    """By number, which a rename keeps."""
    return {
        number: Column(number=number, name=name, sql_name=sql_name, type=type_name, not_null=not_null)
        for number, name, sql_name, type_name, not_null in session.execute(QUERIES["columns"], {"oid": relation.oid})
    }


class DeclaredRows:
    """The declared rows of one table, held in the clone's session while its transaction is open.

    ``pristine`` reads only, as the role that runs the plan; ``clone`` may make a temporary table; both have been
    through `prepare_session`, and are the caller's to close.  ``after`` None: the table is gone.  ``hurt`` names the
    columns of the pristine table whose values are to be compared.  Everything raises `NotEvaluated`.
    """

    def __init__(
        self, pristine: Connection, clone: Connection, before: Relation, after: Relation | None, hurt: Collection[str]
    ) -> None:
        self._pristine = pristine
        self._clone = clone
        self._before = before
        self._after = after
        with telling():
            theirs = read_columns(pristine, before)
            mine = read_columns(clone, after) if after is not None else theirs
            keys = [numbers for (numbers,) in pristine.execute(QUERIES["keys"], {"oid": before.oid})]
        by_name = {column.name: column for column in mine.values()}
        same_table = after is None or after.oid == before.oid
        pairs = {
            number: found
            for number, column in theirs.items()
            if (found := mine.get(number) if same_table else by_name.get(column.name)) is not None
        }
        kept = {number for number, found in pairs.items() if found.type == theirs[number].type}
        # A column whose values change tells no row apart from before to after.
        steady = {number for number in kept if theirs[number].not_null and theirs[number].name not in hurt}
        key = next((key for key in keys if steady.issuperset(key)), None)
        self._has_key = key is not None
        self._why_no_key = "its key is what changes" if keys else "it has no key"
        # Without a key rows are told apart by all that they hold.
        numbers = key if key is not None else sorted(kept)
        if not numbers:
            raise NotEvaluated("no column of it is left as it was, so its rows cannot be told apart")
        self._key_before = [sql.Identifier(theirs[number].name) for number in numbers]
        self._key_after = [sql.Identifier(pairs[number].name) for number in numbers]
        self._key_types = [theirs[number].type for number in numbers]
        self._values = [theirs[n] for n in sorted(theirs) if theirs[n].name in hurt and n in kept]
        self._values_after = {theirs[n].name: pairs[n].name for n in kept}
        # Of the rows that are told apart by all that they hold: what they hold besides the one column that changes.
        rest = [n for n in numbers if theirs[n].name not in hurt]
        self._by_rest = not self._has_key and len(self._values) == len(hurt) == 1
        self._rest_before = _row([sql.Identifier(theirs[n].name) for n in rest])
        self._rest_after = _row([sql.Identifier(pairs[n].name) for n in rest])
        self._make_table()

    def load(self, index: int, condition: str, moment: Moment) -> int:
        """Fetch the pristine rows that satisfy it, as the session of that moment reads it; returns how many."""
        parts: list[sql.Composable] = [sql.Literal(index)]
        parts += self._key_before if self._has_key else [_row(self._key_before)]
        parts += [_text(sql.Identifier(column.name)) for column in self._values]
        parts += [self._rest_before] if self._by_rest else []
        # The condition stands on lines of its own, lest a comment in it swallows the parenthesis.
        query = sql.SQL("COPY (SELECT {} FROM {} WHERE (\n{}\n)) TO STDOUT").format(
            sql.SQL(", ").join(parts),
            _from(self._before),
            sql.SQL(at_moment(condition, moment.now)),  # as literal as the file that it stands in
        )
        with telling():
            for session in (self._pristine, self._clone):  # both, so that what one prints the other reads
                for name, value in moment.settings.items():
                    session.execute(SET, (name, value))
            with (
                self._clone.transaction(),
                self._clone.cursor() as into_cursor,
                self._pristine.cursor() as from_cursor,
                from_cursor.copy(query) as rows,
                into_cursor.copy(sql.SQL("COPY pg_temp.pgrehearse_declared FROM STDIN")) as into,
            ):
                for block in rows:
                    into.write(block)
            self._clone.execute("ANALYZE pg_temp.pgrehearse_declared")
        return self._count(
            sql.SQL("SELECT pg_catalog.count(*) FROM pg_temp.pgrehearse_declared WHERE n = {}").format(index)
        )

    def lost(self, indexes: Collection[int]) -> int:
        """How many of the rows that satisfy one of these conditions are not in the clone any more."""
        if not self._has_key:
            return self._copies_lost(indexes)
        here: sql.Composable = sql.SQL("false")
        if self._after is not None:
            here = sql.SQL("EXISTS (SELECT FROM {} WHERE {})").format(_from(self._after, "t"), self._same_key())
        return self._count(
            sql.SQL("SELECT pg_catalog.count(*) FROM (SELECT DISTINCT {} {}) AS d WHERE NOT {}").format(
                self._held(), _declared_by(indexes), here
            )
        )

    def changed(self, column: str, indexes: Collection[int]) -> tuple[int, int]:
        """Of that column in those rows: how many values are others now, and how many are NULL now."""
        if self._by_rest and column == self._values[0].name:
            return self._copies_changed(column, indexes)
        was, now = self._value(column)
        query = sql.SQL(
            "SELECT pg_catalog.count(*) FILTER (WHERE s.now IS NOT NULL),"
            " pg_catalog.count(*) FILTER (WHERE s.now IS NULL) FROM ("
            "  SELECT d.was, {now} AS now FROM (SELECT DISTINCT {keys}, {was} AS was {declared}) AS d"
            "  JOIN {table} ON {same}) AS s"
            ' WHERE s.was IS NOT NULL AND s.was COLLATE pg_catalog."C" IS DISTINCT FROM s.now'
        ).format(
            now=now,
            keys=self._held(),
            was=was,
            declared=_declared_by(indexes),
            table=_from(self._require_after(), "t"),
            same=self._same_key(),
        )
        with telling():
            row = self._clone.execute(query).fetchone()
        assert row is not None
        return row[0], row[1]

    # --- details ---------------------------------------------------------------------------------------

    def _make_table(self) -> None:
        types = self._key_types if self._has_key else ["pg_catalog.text"]
        columns: list[sql.Composable] = [sql.SQL("n pg_catalog.int4")]
        columns += [
            sql.SQL("{} {}").format(sql.Identifier(f"k{at}"), sql.SQL(type_name))
            for at, type_name in enumerate(types)  # as format_type() writes them
        ]
        columns += [sql.SQL("{} pg_catalog.text").format(sql.Identifier(f"v{at}")) for at in range(len(self._values))]
        columns += [sql.SQL("r pg_catalog.text")] if self._by_rest else []
        with telling():
            self._clone.execute(WITHOUT_TRIGGERS)
            self._clone.execute("SET default_transaction_read_only = off")
            self._clone.execute("DROP TABLE IF EXISTS pg_temp.pgrehearse_declared")
            self._clone.execute(
                sql.SQL("CREATE TEMPORARY TABLE pgrehearse_declared ({})").format(sql.SQL(", ").join(columns))
            )

    def _copies_lost(self, indexes: Collection[int]) -> int:
        """Without a key equal rows stand several times, and some of them may be left."""
        there: sql.Composable = sql.SQL("SELECT NULL::pg_catalog.text AS k0, 0 AS copies WHERE false")
        if self._after is not None:
            there = sql.SQL("SELECT {} AS k0, pg_catalog.count(*) AS copies FROM {} GROUP BY 1").format(
                _row(self._key_after), _from(self._after, "t")
            )
        return self._count(
            sql.SQL(
                "SELECT COALESCE(pg_catalog.sum(GREATEST(d.copies - COALESCE(t.copies, 0), 0)), 0) FROM ("
                " SELECT e.k0, pg_catalog.max(e.copies) AS copies FROM"
                "  (SELECT n, k0, pg_catalog.count(*) AS copies {} GROUP BY n, k0) AS e GROUP BY e.k0) AS d"
                " LEFT JOIN ({}) AS t ON t.k0 = d.k0"
            ).format(_declared_by(indexes), there)
        )

    def _copies_changed(self, column: str, indexes: Collection[int]) -> tuple[int, int]:
        query = sql.SQL(COPIES_CHANGED).format(
            declared=_declared_by(indexes),
            row=_row(self._key_after),
            rest=self._rest_after,
            value=sql.Identifier(self._values_after[column]),
            table=_from(self._require_after()),
        )
        with telling():
            row = self._clone.execute(query).fetchone()
        assert row is not None
        return row[0], row[1]

    def _held(self) -> sql.Composable:
        count = len(self._key_after) if self._has_key else 1
        return sql.SQL(", ").join(sql.Identifier(f"k{at}") for at in range(count))

    def _same_key(self) -> sql.Composable:
        return sql.SQL(" AND ").join(
            sql.SQL("t.{} = d.{}").format(name, sql.Identifier(f"k{at}")) for at, name in enumerate(self._key_after)
        )

    def _value(self, column: str) -> tuple[sql.Composable, sql.Composable]:
        """Where the temporary table keeps its values, and their text in the clone."""
        if not self._has_key:
            raise NotEvaluated(
                f"{self._why_no_key}, and several of its columns changed, so its changed rows cannot be looked up:"
                " declare without a condition"
            )
        at = next((at for at, found in enumerate(self._values) if found.name == column), None)
        if at is None:
            raise NotEvaluated(f"column {column} has another type now: declare `changes` without a condition")
        return sql.Identifier(f"v{at}"), _text(sql.Identifier("t", self._values_after[column]))

    def _require_after(self) -> Relation:
        if self._after is None:
            raise NotEvaluated("the table is gone")
        return self._after

    def _count(self, query: sql.Composed) -> int:
        with telling():
            row = self._clone.execute(query).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def telling() -> Iterator[None]:
    """A server's refusal as `NotEvaluated`: its words where they are about the text alone, else only its condition."""
    try:
        yield
    except psycopg.OperationalError as error:
        if error.sqlstate is None:
            raise DataNotCompared("a session broke while declared rows were looked for") from error
        raise NotEvaluated(f"{type(error).__name__}, SQLSTATE {error.sqlstate}") from error
    except psycopg.Error as error:
        state = error.sqlstate or "unknown"
        # Class 42 is about names, types and rights; other messages quote values.
        said = error.diag.message_primary if state.startswith("42") else type(error).__name__
        raise NotEvaluated(f"{said} (SQLSTATE {state})") from error


def _declared_by(indexes: Collection[int]) -> sql.Composed:
    return sql.SQL("FROM pg_temp.pgrehearse_declared WHERE n IN ({})").format(
        sql.SQL(", ").join(map(sql.Literal, indexes))
    )


def _from(relation: Relation, alias: str | None = None) -> sql.Composed:
    """All rows of a partition tree, and of a plain table its own alone: what inherits from it is a table by itself."""
    name = sql.SQL("{}{}").format(sql.SQL("" if relation.kind == "p" else "ONLY "), sql.Identifier(*relation.parts))
    return name if alias is None else sql.SQL("{} AS {}").format(name, sql.Identifier(alias))


def _text(value: sql.Composable) -> sql.Composed:
    """As the type prints it, NULL where it is: a cast to text may be a function of its own."""
    return sql.SQL("CASE WHEN {v} IS DISTINCT FROM NULL THEN pg_catalog.concat({v}) END").format(v=value)


def _row(columns: Sequence[sql.Identifier]) -> sql.Composed:
    return sql.SQL("ROW({})::pg_catalog.text").format(sql.SQL(", ").join(columns))
