"""The questions as SQL: which rows are not as they were promised to be.

Every query gives ``(identity, told)`` for each row: a digest of its primary key, to find it on the other side, and
the key itself as text where it may be told; both NULL where the table has none.

The planner believes the catalog: it leaves out what a CHECK, a NOT NULL or a partition's bound seems to exclude.
`integrity_session` switches that off; NULLs are asked for by ``num_nulls()``, which no release folds away.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pgrehearse.data.integrity.catalog import Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTest:
    """One row at a time: true where it violates.  Tests of one relation are counted in one scan."""

    relation: Relation
    violates: sql.Composed


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTest:
    """Rows that share a key, counted and listed by two queries: grouping needs no order, listing does."""

    count: sql.Composed
    rows: sql.Composed


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsTest:
    """Any other question."""

    rows: sql.Composed
    relation: Relation | None = None
    slow_without_index: bool = False  # compares each row with each, unless an index helps


Test = RowTest | KeyTest | RowsTest


def count_of(test: Test) -> sql.Composed:
    match test:
        case KeyTest():
            return test.count
        case RowTest():
            return sql.SQL("SELECT pg_catalog.count(*) FROM {} WHERE {}").format(test.relation.rows, test.violates)
        case RowsTest():
            return sql.SQL("SELECT pg_catalog.count(*) FROM ({}) AS violators").format(test.rows)


def rows_of(test: Test, most: int) -> sql.Composed:
    """At most so many violators, in no order."""
    if isinstance(test, RowTest):
        rows = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            identity(test.relation, test.relation.relname), test.relation.rows, test.violates
        )
    else:
        rows = test.rows
    return sql.SQL("SELECT identity, told FROM ({}) AS violators LIMIT {}").format(rows, sql.Literal(most))


def identity(relation: Relation, alias: str) -> sql.Composed:
    if not relation.key:
        return sql.Composed([sql.SQL("NULL::pg_catalog.text AS identity, NULL::pg_catalog.text[] AS told")])
    columns = [sql.Identifier(alias, name) for name in relation.key]
    digest = sql.SQL("pg_catalog.md5(ROW({})::pg_catalog.text) AS identity").format(sql.SQL(", ").join(columns))
    if not relation.key_may_be_told:
        return sql.SQL("{}, NULL::pg_catalog.text[] AS told").format(digest)
    texts = sql.SQL(", ").join(sql.SQL("{}::pg_catalog.text").format(column) for column in columns)
    return sql.SQL("{}, ARRAY[{}] AS told").format(digest, texts)


def column_of(relation: Relation, name: str) -> sql.Identifier:
    return sql.Identifier(relation.relname, name)


def is_null(relation: Relation, names: Sequence[str]) -> sql.Composed:
    columns = sql.SQL(", ").join(column_of(relation, name) for name in names)
    return sql.SQL("pg_catalog.num_nulls({}) > 0").format(columns)


def is_false(expression: str) -> sql.Composed:
    """As a CHECK takes it: NULL is no violation.  The text is the server's own, which names columns plainly."""
    return sql.SQL("(({}) IS FALSE)").format(sql.SQL(expression))


def is_stale(relation: Relation, column: str, expression: str) -> sql.Composed:
    """A stored value that its expression would not give now.

    As a row's text: json and point have no equality, and a cast to text may be somebody's function.
    """
    return sql.SQL(
        '((ROW({})::pg_catalog.text) COLLATE pg_catalog."C" IS DISTINCT FROM'
        ' (ROW({})::pg_catalog.text) COLLATE pg_catalog."C")'
    ).format(sql.SQL(expression), column_of(relation, column))


def breaks_domain(
    relation: Relation, column: str, base: str, expression: str, *, in_array: bool
) -> sql.Composed:  # fmt: skip
    """The server prints the value as VALUE, which outside a domain is a column of that name."""
    values = _elements(relation, column, base) if in_array else sql.SQL("SELECT ({})::{} AS value").format(
        column_of(relation, column), sql.SQL(base)
    )  # fmt: skip
    return sql.SQL("(EXISTS (SELECT FROM ({}) AS domain_value WHERE ({}) IS FALSE))").format(
        values, sql.SQL(expression)
    )


def has_null_element(relation: Relation, column: str, base: str) -> sql.Composed:
    return sql.SQL("(EXISTS (SELECT FROM ({}) AS domain_value WHERE pg_catalog.num_nulls(value) > 0))").format(
        _elements(relation, column, base)
    )


def _elements(relation: Relation, column: str, base: str) -> sql.Composed:
    return sql.SQL("SELECT (element)::{} AS value FROM pg_catalog.unnest({}) AS elements (element)").format(
        sql.SQL(base), column_of(relation, column)
    )


def has_no_label(relation: Relation, column: str, enum: str) -> sql.Composed:
    """Compared by oid: printing a value whose label is gone fails."""
    return sql.SQL("({} <> ALL (pg_catalog.enum_range(NULL::{})))").format(
        column_of(relation, column),
        sql.SQL(enum),
    )


def orphans(
    child: Relation,
    parent: Relation,
    pairs: Sequence[tuple[str, str, str]],
    *,
    match_full: bool,
    period: bool,
) -> RowsTest:
    """``pairs`` are (column, referenced column, operator from referenced to referencing).

    MATCH SIMPLE: a NULL anywhere refers to nothing; MATCH FULL: NULLs must be all or none.  With PERIOD (18) the
    last pair is of ranges, and what all rows of the parent cover together counts.
    """
    ours = sql.SQL(", ").join(sql.Identifier("c", our) for our, _, _ in pairs)
    present = sql.SQL("pg_catalog.num_nulls({}) = 0").format(ours)
    equal = [
        sql.SQL("{} {} {}").format(sql.Identifier("p", their), sql.SQL(operator), sql.Identifier("c", our))
        for our, their, operator in (pairs[:-1] if period else pairs)
    ]
    names = {"child": child.rows, "parent": parent.rows, "present": present, "identity": identity(child, "c")}
    if period:
        our, their, _ = pairs[-1]
        during, covered = sql.Identifier("c", our), sql.Identifier("p", their)
        equal.append(sql.SQL("{} OPERATOR(pg_catalog.&&) {}").format(covered, during))
        key = [sql.Identifier("c", name) for name in child.key]
        # Grouped by where the row lies: rows may be alike.
        return RowsTest(
            rows=sql.SQL(
                "SELECT {identity} FROM {child} AS c LEFT JOIN {parent} AS p ON {equal} WHERE {present}"
                " GROUP BY {grouped} HAVING (pg_catalog.range_agg({covered}) OPERATOR(pg_catalog.@>) {during})"
                " IS NOT TRUE"
            ).format(
                **names,
                equal=sql.SQL(" AND ").join(equal),
                grouped=sql.SQL(", ").join([sql.SQL("c.tableoid"), sql.SQL("c.ctid"), during, *key]),
                covered=covered,
                during=during,
            )
        )
    orphaned = sql.SQL("({present} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {equal}))").format(
        present=present, parent=parent.rows, equal=sql.SQL(" AND ").join(equal)
    )
    half: sql.Composable = sql.SQL("")
    if match_full and len(pairs) > 1:
        half = sql.SQL(" OR pg_catalog.num_nulls({}) NOT IN (0, {})").format(ours, sql.Literal(len(pairs)))
    return RowsTest(
        rows=sql.SQL("SELECT {identity} FROM {child} AS c WHERE {orphaned}{half}").format(
            identity=names["identity"], child=child.rows, orphaned=orphaned, half=half
        )
    )


def duplicates(
    relation: Relation,
    keys: Sequence[tuple[str, str | None]],
    *,
    predicate: str | None,
    nulls_equal: bool,
) -> KeyTest:
    """``keys`` are (column or expression as the server prints it, collation or None)."""
    values = [
        sql.SQL("({}) COLLATE {}").format(sql.SQL(key), sql.SQL(collation))
        if collation is not None
        else sql.SQL("({})").format(sql.SQL(key))
        for key, collation in keys
    ]
    names = [sql.Identifier(f"pgrehearse key {place}") for place in range(1, len(values) + 1)]
    conditions = [sql.SQL("({})").format(sql.SQL(predicate))] if predicate is not None else []
    if not nulls_equal:
        conditions.append(sql.SQL("pg_catalog.num_nulls({}) = 0").format(sql.SQL(", ").join(values)))
    keyed = sql.SQL("SELECT {}, {} FROM {}{}").format(
        sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(value, name) for value, name in zip(values, names, strict=True)
        ),
        identity(relation, relation.relname),
        relation.rows,
        sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else sql.SQL(""),
    )  # fmt: skip
    grouped = sql.SQL(", ").join(names)
    return KeyTest(
        count=sql.SQL(
            "SELECT COALESCE(pg_catalog.sum(n), 0)::pg_catalog.int8 FROM (SELECT pg_catalog.count(*) AS n"
            " FROM ({}) AS keyed GROUP BY {} HAVING pg_catalog.count(*) > 1) AS shared"
        ).format(keyed, grouped),
        rows=sql.SQL(
            "SELECT identity, told FROM (SELECT identity, told, pg_catalog.count(*) OVER (PARTITION BY {}) AS n"
            " FROM ({}) AS keyed) AS counted WHERE n > 1"
        ).format(grouped, keyed),
    )


def conflicts(
    relation: Relation, elements: Sequence[tuple[str, str | None, str]], *, predicate: str | None
) -> RowsTest:
    """Rows that have a partner of which every element's operator says true; elements are (key, collation, operator)."""
    names = [sql.Identifier(f"pgrehearse key {place}") for place in range(1, len(elements) + 1)]
    values = [
        sql.SQL("({}){} AS {}").format(
            sql.SQL(key),
            sql.SQL(" COLLATE {}").format(sql.SQL(collation)) if collation is not None else sql.SQL(""),
            name,
        )
        for (key, collation, _), name in zip(elements, names, strict=True)
    ]
    keyed = sql.SQL("(SELECT {}, {}, {}.ctid AS place, {}.tableoid AS lies_in FROM {}{})").format(
        sql.SQL(", ").join(values),
        identity(relation, relation.relname),
        sql.Identifier(relation.relname),
        sql.Identifier(relation.relname),
        relation.rows,
        sql.SQL(" WHERE ({})").format(sql.SQL(predicate)) if predicate is not None else sql.SQL(""),
    )
    meet = [
        sql.SQL("one.{} {} two.{}").format(name, sql.SQL(operator), name)
        for (_, _, operator), name in zip(elements, names, strict=True)
    ]
    return RowsTest(
        relation=relation,
        slow_without_index=not any(operator.endswith(".=)") for _, _, operator in elements),
        rows=sql.SQL(
            "SELECT one.identity, one.told FROM {keyed} AS one WHERE EXISTS (SELECT FROM {keyed} AS two"
            " WHERE (one.place, one.lies_in) <> (two.place, two.lies_in) AND {meet})"
        ).format(keyed=keyed, meet=sql.SQL(" AND ").join(meet)),
    )
