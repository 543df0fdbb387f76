"""Values for a statement's placeholders, sampled from the data of the columns that they are compared with.

They live in memory, for one execution; nobody is shown any.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pglast.stream import maybe_double_quote_name
from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.queries.statement_text import Tree, find_nodes

QUERIES = named_queries(__file__)
SAMPLED_ROWS = 200
SAMPLED_PAGES = 50
USUAL_LIMIT = 20  # where nobody counted rows per call
LOW, EQUAL, HIGH = 0.25, 0.5, 0.75  # where in the sorted sample a value is taken
_PLACES = {"=": EQUAL, "<>": EQUAL, "<": LOW, "<=": LOW, ">": HIGH, ">=": HIGH}
# A range that is bounded on both sides has its lower bound below its upper one.
_RANGE_PLACES = {">": LOW, ">=": LOW, "<": HIGH, "<=": HIGH}

SAMPLE = """
SELECT {columns} FROM (SELECT {names} FROM {relation} {tablesample} WHERE {known} LIMIT {rows}) AS sample
ORDER BY {order}
"""


class ParametersUnknown(Exception):
    """Why a statement's placeholders cannot be given values; a sentence."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a statement names it, with the relations among which it is to be found."""

    qualifier: str | None
    name: str
    scope: tuple["Source", ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A relation of a FROM clause."""

    alias: str
    written: str  # as SQL writes it


@dataclass(frozen=True, slots=True)
class Compared:
    """A placeholder and what it is held against."""

    number: int
    column: Column
    operator: str
    is_array: bool = False


def sample_parameters(session: Connection, tree: Tree, parameters: int, *, rows_per_call: float | None) -> list[str]:
    """One value per placeholder, as text, whose type the server infers.

    ``session`` has the search_path of the statement's sender.  A LIMIT is as large as a call returned rows, an OFFSET
    is 0.  One small query per relation.  Raises `ParametersUnknown`.
    """
    values: dict[int, str] = {}
    for select in find_nodes({"SelectStmt": tree}, "SelectStmt"):
        if (number := _parameter(select.get("limitCount"))) is not None:
            values[number] = str(max(1, math.ceil(USUAL_LIMIT if rows_per_call is None else rows_per_call)))
        if (number := _parameter(select.get("limitOffset"))) is not None:
            values[number] = "0"
    compared = {each.number: each for each in _find_compared(tree, ())}
    by_table: dict[str, tuple[_Table, list[Compared]]] = {}
    for number in range(1, parameters + 1):
        if number in values:
            continue
        if (each := compared.get(number)) is None:
            raise ParametersUnknown(f"nothing tells what ${number} may be")
        table = _require_table(session, each.column)
        by_table.setdefault(table.alias, (table, []))[1].append(each)
    for table, several in by_table.values():
        values |= _sample(session, table, several)
    return [values[number] for number in range(1, parameters + 1)]


# --- what the placeholders are compared with ------------------------------------------------------------------------


def _find_compared(node: Any, scope: tuple[Source, ...]) -> Iterator[Compared]:
    if isinstance(node, list):
        for each in node:
            yield from _find_compared(each, scope)
    if not isinstance(node, dict):
        return
    if "fromClause" in node:
        scope = (*_sources(node["fromClause"]), *scope)
    for key, value in node.items():
        if key == "A_Expr" and isinstance(value, dict):
            yield from _of_expression(value, scope)
        yield from _find_compared(value, scope)


def _of_expression(node: Tree, scope: tuple[Source, ...]) -> Iterator[Compared]:
    kind, left, right = node.get("kind"), node.get("lexpr", {}), node.get("rexpr", {})
    (operator,) = [each["String"]["sval"] for each in node.get("name", [])[-1:] if "String" in each] or [""]
    column = _column(left, scope)
    if column is None and kind == "AEXPR_OP" and (column := _column(right, scope)) is not None:
        left, right = right, left
        operator = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(operator, operator)
    if column is None:
        return
    if kind == "AEXPR_OP" and operator in _PLACES and (number := _parameter(right)) is not None:
        yield Compared(number, column, operator)
    elif kind in ("AEXPR_LIKE", "AEXPR_ILIKE") and (number := _parameter(right)) is not None:
        yield Compared(number, column, "=")
    elif kind == "AEXPR_OP_ANY" and operator == "=" and (number := _parameter(right)) is not None:
        yield Compared(number, column, "=", is_array=True)
    elif kind == "AEXPR_IN":
        for each in right.get("List", {}).get("items", []):
            if (number := _parameter(each)) is not None:
                yield Compared(number, column, "=")
    elif kind == "AEXPR_BETWEEN":
        for each, bound in zip(right.get("List", {}).get("items", []), (">=", "<="), strict=False):
            if (number := _parameter(each)) is not None:
                yield Compared(number, column, bound)


def _sources(node: Any) -> Iterator[Source]:
    """The relations of a FROM clause; subqueries have a scope of their own."""
    if isinstance(node, list):
        for each in node:
            yield from _sources(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "RangeVar":
                parts = [value[part] for part in ("schemaname", "relname") if part in value]
                alias = value.get("alias", {}).get("aliasname", value["relname"])
                yield Source(alias, ".".join(maybe_double_quote_name(part) for part in parts))
            elif key == "JoinExpr":
                yield from _sources([value.get("larg"), value.get("rarg")])


def _column(node: Any, scope: tuple[Source, ...]) -> Column | None:
    fields = node.get("ColumnRef", {}).get("fields", []) if isinstance(node, dict) else []
    names = [each["String"]["sval"] for each in fields if "String" in each]
    if not names or len(names) != len(fields) or len(names) > 2:
        return None
    return Column(names[0] if len(names) == 2 else None, names[-1], scope)


def _parameter(node: Any) -> int | None:
    """The placeholder's number, bare or under a cast."""
    if not isinstance(node, dict):
        return None
    if "TypeCast" in node:
        return _parameter(node["TypeCast"].get("arg"))
    found: Mapping[str, int] | None = node.get("ParamRef")
    return None if found is None else found.get("number")


# --- values ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A relation to take values from."""

    name: sql.Identifier
    alias: str
    may_be_sampled: bool
    pages: int
    columns: frozenset[str]


def _require_table(session: Connection, column: Column) -> _Table:
    for source in column.scope:
        if column.qualifier not in (None, source.alias):
            continue
        row = session.execute(QUERIES["relation"], (source.written,)).fetchone()
        if row is not None and column.name in row[4]:
            return _Table(
                name=sql.Identifier(row[0], row[1]),
                alias=source.alias,
                may_be_sampled=row[2],
                pages=row[3],
                columns=frozenset(row[4]),
            )
    raise ParametersUnknown(f"{column.name} is no column of a table that it names")


def _sample(session: Connection, table: _Table, several: Sequence[Compared]) -> dict[int, str]:
    """Values of one row for what is compared by equality; bounds from the sorted sample of their column."""
    equal = [each for each in several if each.operator in ("=", "<>")]
    bounds = [each for each in several if each.operator not in ("=", "<>")]
    found: dict[int, str] = {}
    if equal:
        rows = _rows(session, table, [each.column.name for each in equal])
        used: Counter[str] = Counter()  # several values of one column, as in an IN list, are several rows'
        for position, each in enumerate(equal):
            row = rows[(int(len(rows) * EQUAL) + used[each.column.name]) % len(rows)]
            used[each.column.name] += 1
            found[each.number] = _as_array(row[position]) if each.is_array else row[position]
    for each in bounds:
        rows = _rows(session, table, [each.column.name])
        sides = {other.operator[0] for other in bounds if other.column.name == each.column.name}
        place = (_RANGE_PLACES if len(sides) > 1 else _PLACES)[each.operator]
        found[each.number] = rows[int(len(rows) * place)][0]
    return found


def _rows(session: Connection, table: _Table, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Up to `SAMPLED_ROWS` rows from pages all over the table, as text, sorted."""
    unique = list(dict.fromkeys(names))
    percent = 100.0 if table.pages <= SAMPLED_PAGES else 100.0 * SAMPLED_PAGES / table.pages
    sampled = sql.SQL("TABLESAMPLE SYSTEM ({}) REPEATABLE (0)").format(sql.Literal(percent))
    for tablesample in (sampled, sql.SQL("")) if table.may_be_sampled else (sql.SQL(""),):
        query = sql.SQL(SAMPLE).format(
            columns=sql.SQL(", ").join(sql.SQL("{}::pg_catalog.text").format(sql.Identifier(name)) for name in names),
            names=sql.SQL(", ").join(map(sql.Identifier, unique)),
            relation=table.name,
            tablesample=tablesample,
            known=sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in unique),
            rows=sql.Literal(SAMPLED_ROWS),
            order=sql.SQL(", ").join(sql.Identifier("sample", name) for name in unique),
        )
        rows: list[tuple[str, ...]] = session.execute(query).fetchall()
        if rows:
            return rows
    raise ParametersUnknown(f"{table.alias} has no row to take values from")


def _as_array(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{{"{escaped}"}}'
