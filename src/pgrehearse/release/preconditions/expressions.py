"""A statement's own expressions, to be asked of production's rows: only where they mean the same there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pglast import ast, parse_sql
from pglast.parser import ParseError
from pglast.stream import RawStream
from psycopg import sql

from pgrehearse.release.preconditions.shape import Shape, TableNow

# Fields of a parse tree that say where or how something was written.
NO_MEANING = frozenset({"location", "funcformat", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end"})

# PostgreSQL's own that give another answer every time, or take a lock: what they say now, they do not say then.
VOLATILE = frozenset({"random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp", "timeofday",
                      "setseed", "set_config", "pg_advisory_lock", "pg_advisory_xact_lock", "pg_try_advisory_lock",
                      "pg_terminate_backend", "pg_cancel_backend", "lo_unlink", "lo_export", "dblink", "dblink_exec"
                      })  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An expression that production can be asked."""

    composed: sql.Composable
    columns: tuple[str, ...]  # of the table, as they are named now
    is_plain: bool = False  # one column and nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAsked:
    """Why an expression cannot be asked of production's rows."""

    because: str


def column(name: str) -> Asked:
    """A column by its name now."""
    return Asked(composed=sql.Identifier(name), columns=(name,), is_plain=True)


def read_expression(node: Any, table: TableNow, shape: Shape) -> Asked | NotAsked:
    """The expression over the columns of ``table``; pure."""
    if isinstance(node, ast.ColumnRef):
        name = _column_of(node, table)
        return column(name) if name is not None else NotAsked(because=f"{printed(node)} is no column of {table.name}")
    columns: list[str] = []
    for part in walk(node):
        problem = None
        match part:
            case ast.ColumnRef():
                name = _column_of(part, table)
                if name is None:
                    problem = f"it names {printed(part)}, which is more than a column"
                else:
                    columns.append(name)
                    problem = _own_type_problem(table, name)
            case ast.FuncCall():
                problem = routine_problem(shape, part)
            case ast.TypeCast():
                problem = _cast_problem(shape, part)
            case ast.SubLink():
                problem = "it holds a query"
        if problem is not None:
            return NotAsked(because=problem)
    composed = as_sql(node)
    if composed is None:
        return NotAsked(because="its expression cannot be written again without changing it")
    return Asked(composed=composed, columns=tuple(dict.fromkeys(columns)))


def routine_problem(shape: Shape, call: ast.FuncCall) -> str | None:
    """Why calling this function on production would not be what the plan does, None where it would."""
    name = call.funcname[-1].sval
    if name in VOLATILE:
        return f"it calls {name}(), which says something else every time"
    for routine in shape.routines.get(name, ()):
        if routine.made_at is not None:
            return f"it calls {name}(), which the plan makes or replaces"
        if routine.is_volatile:
            return f"it calls {name}(), which may write"
    return None


def printed(node: Any) -> str:
    """SQL for a parse tree, as the parser's library writes it."""
    text: str = RawStream()(node)
    return text


def as_sql(node: Any) -> sql.Composable | None:
    """The expression in parentheses; None where the printed text does not parse to the same tree."""
    text = printed(node)
    try:
        again = parse_sql("SELECT (" + text + ")")[0].stmt.targetList[0].val
    except ParseError:
        return None
    if _shape_of(again) != _shape_of(node):
        return None
    return sql.SQL("(" + text.replace("{", "{{").replace("}", "}}") + ")").format()


def operator(symbol: str) -> sql.Composable:
    """An operator's name: made of characters that need no quotes."""
    return sql.SQL(symbol)


def type_sql(written: str) -> sql.Composable:
    """A type's name as the parser's library or the catalogs write it, quoted where need be."""
    return sql.SQL(written)


def walk(node: Any) -> Iterator[Any]:
    """Every node of a parse tree, itself included."""
    if isinstance(node, ast.Node):
        yield node
        for attribute in node:
            yield from walk(getattr(node, attribute))
    elif isinstance(node, tuple):
        for item in node:
            yield from walk(item)


def _column_of(node: ast.ColumnRef, table: TableNow) -> str | None:
    names = [part.sval if isinstance(part, ast.String) else None for part in node.fields]
    if len(names) == 2 and names[0] == table.name:
        names = names[1:]
    name = names[0] if len(names) == 1 else None
    return name if name in table.columns else None


def _own_type_problem(table: TableNow, name: str) -> str | None:
    own = table.columns[name].type.own
    if own is not None and (own.production is None or own.altered):
        return f"the plan makes or changes the type of {name}"
    return None


def _cast_problem(shape: Shape, cast_node: ast.TypeCast) -> str | None:
    target = shape.column_type(cast_node.typeName)
    if target.own is None:
        return None
    names = tuple(part.sval for part in cast_node.typeName.names)
    production = target.own.production
    if production is None or target.own.altered or production[-len(names) :] != names[-2:]:
        return f"it casts to {names[-1]}, which the plan makes or changes"
    return None


def _shape_of(node: Any) -> Any:
    """The tree without places in the text."""
    if isinstance(node, ast.Node):
        fields = tuple((name, _shape_of(getattr(node, name))) for name in node if name not in NO_MEANING)
        return type(node).__name__, fields
    if isinstance(node, tuple):
        return tuple(_shape_of(item) for item in node)
    return node
