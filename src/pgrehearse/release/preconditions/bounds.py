"""Rows that do not lie within the bound of a partition, and rows of the default partition that would belong to it.

Source: the manual's CREATE TABLE, PARTITION OF; `check_default_partition_contents`
in src/backend/partitioning/partbounds.c.
"""

from collections.abc import Sequence
from typing import Any

from pglast import ast, parse_sql
from pglast.parser import ParseError
from psycopg import sql

from pgrehearse.release.preconditions.asking import Asking
from pgrehearse.release.preconditions.expressions import Asked, NotAsked, as_sql, column, read_expression, type_sql
from pgrehearse.release.preconditions.precondition import PreconditionKind, RowTest
from pgrehearse.release.preconditions.shape import TableNow


def require_bound(asking: Asking, parent: TableNow, child: TableNow, bound: Any) -> None:
    """ATTACH PARTITION: every row of the new partition lies within its bound."""
    inside = _inside(asking, parent, child, bound)

    def test() -> RowTest:
        assert isinstance(inside, Asked)
        return RowTest(rows=child.rows(), violates=sql.SQL("({}) IS NOT TRUE").format(inside.composed))

    what = f"every row lies within the bound under which it becomes a partition of {parent.shown or parent.name}"
    asking.ask(PreconditionKind.BOUND, child, what, test, expressions=[inside])


def require_default_without(asking: Asking, parent: TableNow, child_name: str, bound: Any) -> None:
    """ATTACH PARTITION and CREATE TABLE … PARTITION OF: no row of the default partition lies in the new one's bound."""
    default = next((each for each in parent.children if each.is_default_partition), None)
    if default is None or bound.is_default:
        return
    inside = _inside(asking, parent, default, bound)

    def test() -> RowTest:
        assert isinstance(inside, Asked)
        return RowTest(rows=default.rows(), violates=sql.SQL("({}) IS TRUE").format(inside.composed))

    what = f"no row of the default partition lies in the bound of the new partition {child_name}"
    asking.ask(PreconditionKind.BOUND, default, what, test, expressions=[inside])


def _inside(asking: Asking, parent: TableNow, table: TableNow, bound: Any) -> Asked | NotAsked:
    """The bound as a condition over the columns of ``table``."""
    if bound.is_default:
        return NotAsked(because="the default partition takes what no other takes")
    if parent.has_renamed_columns:
        return NotAsked(because=f"the plan renames columns of {parent.name}")
    keys = [_key(asking, table, element) for element in _key_elements(parent)]
    composed = [key.composed for key in keys if isinstance(key, Asked)]
    if not keys or len(composed) != len(keys):
        return next((key for key in keys if isinstance(key, NotAsked)), NotAsked(because="its key is not known"))
    types = [_type_of(key, table) for key in keys if isinstance(key, Asked)]
    match bound.strategy:
        case "l":
            condition = _in_list(composed[0], types[0], bound.listdatums)
        case "r":
            condition = _in_range(composed, types, bound)
        case _ if parent.production is not None:
            literal = sql.SQL(".").join(sql.Identifier(part) for part in parent.production).as_string()
            condition = sql.SQL("pg_catalog.satisfies_hash_partition({}::pg_catalog.regclass, {}, {}, {})").format(
                sql.Literal(literal), sql.Literal(bound.modulus), sql.Literal(bound.remainder),
                sql.SQL(", ").join(composed),
            )  # fmt: skip
        case _:
            condition = None
    if condition is None:
        return NotAsked(because="its bound cannot be written as a condition")
    names = [name for key in keys if isinstance(key, Asked) for name in key.columns]
    return Asked(composed=condition, columns=tuple(names))


def _key_elements(parent: TableNow) -> Sequence[Any]:
    try:
        tree = parse_sql("CREATE TABLE t () PARTITION BY " + (parent.partition_key or ""))
    except ParseError:
        return ()
    return tree[0].stmt.partspec.partParams or ()


def _key(asking: Asking, table: TableNow, element: Any) -> Asked | NotAsked:
    if element.collation or element.opclass:
        return NotAsked(because="its key has a collation or operator class of its own")
    if element.name is not None:
        return column(element.name) if element.name in table.columns else NotAsked(because="its key is not known")
    return read_expression(element.expr, table, asking.shape)


def _type_of(key: Asked, table: TableNow) -> str | None:
    found = table.columns[key.columns[0]].type if key.is_plain else None
    return found.written if found is not None and found.is_expressible else None


def _datum(node: Any, type_name: str | None) -> sql.Composable | None:
    composed = as_sql(node)
    if composed is None or type_name is None:
        return composed
    return sql.SQL("CAST({} AS {})").format(composed, type_sql(type_name))


def _in_list(key: sql.Composable, type_name: str | None, datums: Any) -> sql.Composable | None:
    is_null = [node for node in datums if isinstance(node, ast.A_Const) and node.isnull]
    values = [_datum(node, type_name) for node in datums if node not in is_null]
    parts: list[sql.Composable] = [sql.SQL("{} IS NULL").format(key)] if is_null else []
    if None in values:
        return None
    if values:
        listed = sql.SQL(", ").join(value for value in values if value is not None)
        parts.append(sql.SQL("{} IN ({})").format(key, listed))
    return sql.SQL(" OR ").join(parts)


def _in_range(keys: Sequence[sql.Composable], types: Sequence[str | None], bound: Any) -> sql.Composable | None:
    lower = _edge(keys, types, bound.lowerdatums, (">", ">="), free="minvalue")
    upper = _edge(keys, types, bound.upperdatums, ("<=", "<"), free="maxvalue")
    if lower is None or upper is None:
        return None
    present = [sql.SQL("{} IS NOT NULL").format(key) for key in keys]
    return sql.SQL(" AND ").join([*present, lower, upper])


def _edge(
    keys: Sequence[sql.Composable], types: Sequence[str | None], datums: Any, signs: tuple[str, str], *, free: str
) -> sql.Composable | None:
    """One end of a range.  What comes after the first MINVALUE or MAXVALUE does not count (CREATE TABLE).

    ``signs``: the comparison where that is MAXVALUE, and where it is MINVALUE or there is none, for either end.
    """
    values: list[sql.Composable] = []
    infinite = None
    for node, type_name in zip(datums, types, strict=True):
        if isinstance(node, ast.ColumnRef) and node.fields[0].sval in ("minvalue", "maxvalue"):
            infinite = node.fields[0].sval
            break
        value = _datum(node, type_name)
        if value is None:
            return None
        values.append(value)
    if not values:
        return sql.SQL("true") if infinite == free else sql.SQL("false")
    sign = sql.SQL(signs[0] if infinite == "maxvalue" else signs[1])
    left = sql.SQL(", ").join(keys[: len(values)])
    return sql.SQL("({}) {} ({})").format(left, sign, sql.SQL(", ").join(values))
