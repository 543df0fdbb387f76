"""The questions as SQL.  Values stand in them as literals: a `%` of the user's own expression must stay one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from pgrehearse.release.preconditions.precondition import GroupTest, OrphanTest, PairTest, Rows, RowTest

TID = sql.Identifier("pgrehearse ctid")
TABLE_OID = sql.Identifier("pgrehearse tableoid")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKey:
    """What tells a row to a person: its primary key, else where it lies."""

    columns: tuple[str, ...]  # names on production; () where there is no primary key
    tells_relation: bool  # it may lie in a partition or child

    @property
    def names(self) -> tuple[str, ...]:
        own = self.columns or ("ctid",)
        return (("tableoid", *own)) if self.tells_relation else own

    def selected(self, alias: str) -> sql.Composable:
        """As text; of a row source that `from_rows` made with this key."""
        inner: list[sql.Composable] = [_hidden(position) for position in range(len(self.columns))] or [TID]
        if self.tells_relation:
            inner.insert(0, sql.SQL("{}::pg_catalog.regclass").format(sql.Identifier(alias, "pgrehearse tableoid")))
        return sql.SQL(", ").join(
            sql.SQL("({})::pg_catalog.text").format(
                part if not isinstance(part, sql.Identifier) else sql.SQL("{}.{}").format(sql.Identifier(alias), part)
            )
            for part in inner
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Rows of some blocks or one row of one table: from the first tuple identifier up to the second, exclusive."""

    first: str  # "(0,0)"
    beyond: str


def from_rows(rows: Rows, key: RowKey, *, alias: str | None = None, span: Span | None = None) -> sql.Composed:
    """The rows under the names that the statement gives them, with what tells each."""
    columns: list[sql.Composable] = [
        sql.SQL("{} AS {}").format(sql.Identifier("r", there), sql.Identifier(here)) for there, here in rows.columns
    ]
    columns += [
        sql.SQL("{} AS {}").format(sql.Identifier("r", name), _hidden(position))
        for position, name in enumerate(key.columns)
    ]
    columns += [sql.SQL("r.ctid AS {}").format(TID), sql.SQL("r.tableoid AS {}").format(TABLE_OID)]
    where: sql.Composable = sql.SQL("")
    if span is not None:
        where = sql.SQL(" WHERE r.ctid >= {}::pg_catalog.tid AND r.ctid < {}::pg_catalog.tid").format(
            sql.Literal(span.first), sql.Literal(span.beyond)
        )
    source: sql.Composable = sql.SQL("(SELECT {} FROM {}{} AS r{})").format(
        sql.SQL(", ").join(columns),
        sql.SQL("" if rows.descends else "ONLY "),
        sql.Identifier(rows.namespace, rows.relation),
        where,
    )
    hidden = [*(_hidden(position) for position in range(len(key.columns))), TID, TABLE_OID]
    for layer in rows.layers:
        replaced = dict(layer.values)
        kept = [sql.Identifier(here) for _, here in rows.columns if here not in replaced]
        new = [sql.SQL("{} AS {}").format(value, sql.Identifier(name)) for name, value in layer.values]
        source = sql.SQL("(SELECT {} FROM {} AS {})").format(
            sql.SQL(", ").join([*kept, *new, *hidden]), source, sql.Identifier(layer.alias)
        )
    return sql.SQL("{} AS {}").format(source, sql.Identifier(alias or rows.alias))


def violating_rows(test: RowTest, key: RowKey, *, span: Span | None = None) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {} WHERE {}").format(
        key.selected(test.rows.alias), from_rows(test.rows, key, span=span), test.violates
    )


def all_rows(test: RowTest, key: RowKey, *, span: Span) -> sql.Composed:
    """Every row of the span, whatever the condition says of it."""
    plain = replace(test.rows, layers=())
    return sql.SQL("SELECT {} FROM {}").format(key.selected(plain.alias), from_rows(plain, key, span=span))


def duplicate_rows(test: GroupTest, key: RowKey, most: int | None) -> sql.Composed:
    """Rows that share a key; of so many groups at most.  First grouped, which needs no order of the whole table."""
    names = [_key_name(position) for position in range(len(test.keys))]
    keyed = sql.SQL("SELECT {} FROM {}{}").format(
        sql.SQL(", ").join(sql.SQL("{} AS {}").format(each, name) for each, name in zip(test.keys, names, strict=True)),
        from_rows(test.rows, key),
        _where(test),
    )
    groups = sql.SQL("SELECT * FROM ({}) AS g GROUP BY {} HAVING pg_catalog.count(*) > 1{}").format(
        keyed,
        sql.SQL(", ").join(names),
        sql.SQL("") if most is None else sql.SQL(" LIMIT {}").format(sql.Literal(most)),
    )
    equal = sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(
            each,
            sql.SQL("IS NOT DISTINCT FROM" if test.nulls_equal else "="),
            sql.SQL("{}.{}").format(sql.Identifier("pgrehearse groups"), name),
        )
        for each, name in zip(test.keys, names, strict=True)
    )
    return sql.SQL(
        "WITH {groups} AS MATERIALIZED ({made}) SELECT {keys} FROM {groups} CROSS JOIN {rows} WHERE {equal}{and_where}"
    ).format(
        groups=sql.Identifier("pgrehearse groups"),
        made=groups,
        keys=key.selected(test.rows.alias),
        rows=from_rows(test.rows, key),
        equal=equal,
        and_where=sql.SQL(" AND ") + test.where if test.where is not None else sql.SQL(""),
    )


def count_duplicates(test: GroupTest, key: RowKey) -> sql.Composed:
    return sql.SQL(
        "SELECT pg_catalog.sum(n)::pg_catalog.int8 FROM (SELECT pg_catalog.count(*) AS n FROM {}{} GROUP BY {}"
        " HAVING pg_catalog.count(*) > 1) AS g"
    ).format(
        from_rows(test.rows, key),
        _where(test),
        sql.SQL(", ").join(test.keys),
    )


def _where(test: GroupTest) -> sql.Composable:
    """A row with a NULL among its keys has no equal, unless NULLs are equal."""
    conditions = [test.where] if test.where is not None else []
    if not test.nulls_equal:
        conditions += [sql.SQL("{} IS NOT NULL").format(each) for each in test.keys]
    return sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("")


def orphaned_rows(test: OrphanTest, key: RowKey) -> sql.Composed:
    """MATCH SIMPLE: a NULL anywhere refers to nothing; MATCH FULL: NULLs must be all or none."""
    parent_key = RowKey(columns=(), tells_relation=False)
    child = "pgrehearse child"
    present = [sql.SQL("{} IS NOT NULL").format(sql.Identifier(child, ours)) for ours, _ in test.pairs]
    equal = [
        sql.SQL("{} = {}").format(sql.Identifier("pgrehearse parent", theirs), sql.Identifier(child, ours))
        for ours, theirs in test.pairs
    ]
    orphaned = sql.SQL("({} AND NOT EXISTS (SELECT FROM {} WHERE {}))").format(
        sql.SQL(" AND ").join(present),
        from_rows(test.parent, parent_key, alias="pgrehearse parent"),
        sql.SQL(" AND ").join(equal),
    )
    if test.match_full and len(test.pairs) > 1:
        columns = sql.SQL(", ").join(sql.Identifier(child, ours) for ours, _ in test.pairs)
        count = sql.Literal(len(test.pairs))
        half = sql.SQL("(pg_catalog.num_nulls({columns}) NOT IN (0, {count}))").format(columns=columns, count=count)
        orphaned = sql.SQL("({} OR {})").format(orphaned, half)
    return sql.SQL("SELECT {} FROM {} WHERE {}").format(
        key.selected(child), from_rows(test.rows, key, alias=child), orphaned
    )


def conflicting_rows(test: PairTest, key: RowKey) -> sql.Composed:
    """Rows that have a partner; an operator that says NULL makes none."""
    names = [_key_name(position) for position in range(len(test.elements))]
    values = [sql.SQL("{} AS {}").format(each, name) for (each, _), name in zip(test.elements, names, strict=True)]
    hidden = [*(_hidden(position) for position in range(len(key.columns))), TID, TABLE_OID]
    where = sql.SQL(" WHERE {}").format(test.where) if test.where is not None else sql.SQL("")
    keyed = sql.SQL("(SELECT {} FROM {}{})").format(
        sql.SQL(", ").join([*values, *hidden]), from_rows(test.rows, key), where
    )
    one, two = sql.Identifier("pgrehearse one"), sql.Identifier("pgrehearse two")
    meet = [
        sql.SQL("{}.{} {} {}.{}").format(one, name, operator, two, name)
        for (_, operator), name in zip(test.elements, names, strict=True)
    ]
    another = sql.SQL("({one}.{tid} <> {two}.{tid} OR {one}.{oid} <> {two}.{oid})").format(
        one=one, two=two, tid=TID, oid=TABLE_OID
    )
    return sql.SQL("SELECT {} FROM {} AS {} WHERE EXISTS (SELECT FROM {} AS {} WHERE {})").format(
        key.selected("pgrehearse one"), keyed, one, keyed, two, sql.SQL(" AND ").join([another, *meet])
    )


def limited(query: sql.Composable, most: int) -> sql.Composed:
    return sql.SQL("{} LIMIT {}").format(query, sql.Literal(most))


def counted(query: sql.Composable) -> sql.Composed:
    return sql.SQL("SELECT pg_catalog.count(*) FROM ({}) AS violators").format(query)


def _hidden(position: int) -> sql.Identifier:
    return sql.Identifier(f"pgrehearse key {position + 1}")


def _key_name(position: int) -> sql.Identifier:
    return sql.Identifier(f"pgrehearse value {position + 1}")


def tell(names: Sequence[str], row: Sequence[str | None], longest: int = 200) -> dict[str, str]:
    """One row's key, by the names of its columns; a very long value is cut."""
    return {
        name: "" if value is None else value if len(value) <= longest else value[: longest - 1] + "…"
        for name, value in zip(names, row, strict=True)
    }
