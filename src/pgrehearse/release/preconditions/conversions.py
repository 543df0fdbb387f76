"""Values that a type change cannot take, or not whole.

Without USING the server casts as for an assignment, which cuts nothing: a string that is too long is refused, where
the explicit cast that a query can write would cut it.  Such lengths are asked for by themselves.
"""

from collections.abc import Sequence
from typing import Any

from pglast import ast
from psycopg import sql

from pgrehearse.hazards.sql_names import quoted
from pgrehearse.release.preconditions.asking import Asking
from pgrehearse.release.preconditions.column_type import ColumnType, keeps_every_value
from pgrehearse.release.preconditions.expressions import Asked, NotAsked, column, read_expression, type_sql
from pgrehearse.release.preconditions.precondition import Layer, LossTest, PreconditionKind, RowTest
from pgrehearse.release.preconditions.shape import ColumnNow, TableNow


def change_types(asking: Asking, table: TableNow, commands: Sequence[Any]) -> None:
    """ALTER COLUMN … TYPE, all those of one statement: each USING sees the values from before all of them."""
    changed: list[tuple[str, ColumnType, Asked | NotAsked]] = []
    for command in commands:
        held = table.columns.get(command.name)
        if held is None:
            asking.leave(PreconditionKind.CONVERSION, table.shown, f"every {command.name} converts", "it is not known")
            continue
        new = asking.shape.column_type(command.def_.typeName)
        changed.append((command.name, new, _require_one(asking, table, command, held, new)))
    values = tuple((name, value.composed) for name, _, value in changed if isinstance(value, Asked))
    for member in asking.shape.family(table):
        if values:
            member.layers.append(Layer(alias=table.name, values=values))
        for name, new, value in changed:
            held = member.columns.get(name)
            if held is None:
                continue
            held.type, held.is_converted = new, True
            if isinstance(value, NotAsked):
                member.write_columns([name], f"{asking.place} changes its type, and {value.because}")


def value_as(value: sql.Composable, new: ColumnType) -> sql.Composable:
    """The value cast to a type of production's."""
    return sql.SQL("CAST({} AS {})").format(value, type_sql(new.written))


def cannot_convert(value: sql.Composable, new: ColumnType) -> sql.Composable:
    """True where an assignment to the type is refused; an error where the cast itself fails, which counts as true."""
    # Never true, and evaluated for every row: the planner knows nothing of what the cast gives.
    fails = sql.SQL("pg_catalog.num_nulls({}) < 0").format(value_as(value, new))
    too_long = _too_long(value, new)
    return fails if too_long is None else sql.SQL("({} OR {})").format(too_long, fails)


def _require_one(asking: Asking, table: TableNow, command: Any, old: ColumnNow, new: ColumnType) -> Asked | NotAsked:
    """Asks what must be asked; gives the new value over the old row."""
    name, using = command.name, command.def_.raw_default
    if new.own is not None and not new.is_expressible:
        return _require_label(asking, table, name, using, old, new)
    if not new.written or (new.is_array and new.modifiers):
        asking.ask(
            PreconditionKind.CONVERSION, table, f"every {quoted(name)} converts", _never, columns=[name],
            expressions=[NotAsked(because="a query cannot cast to the new type as the statement does")],
        )  # fmt: skip
        return NotAsked(because="its new type cannot be written in a query")
    value = column(name) if using is None else read_expression(using, table, asking.shape)
    result = (
        value if isinstance(value, NotAsked) else Asked(composed=value_as(value.composed, new), columns=value.columns)
    )
    if keeps_every_value(old.type, new) and _is_only_a_cast(asking, using, name, new):
        return result

    def convertible() -> RowTest:
        assert isinstance(value, Asked)
        return RowTest(rows=table.rows(), violates=cannot_convert(value.composed, new))

    def whole() -> LossTest:
        assert isinstance(result, Asked)
        return LossTest(
            rows=table.rows(), column=name, old_type=old.type.written, value=result.composed, new_type=new.written
        )

    asking.ask(
        PreconditionKind.CONVERSION, table, f"every {quoted(name)} converts to {new.written}", convertible,
        columns=[name], expressions=[value],
    )  # fmt: skip
    comparable: Asked | NotAsked = result
    if isinstance(result, Asked) and (old.is_converted or not old.type.is_expressible):
        comparable = NotAsked(because="the plan changes its type twice")
    asking.ask(
        PreconditionKind.LOSSY, table, f"every {quoted(name)} is kept whole as {new.written}", whole,
        columns=[name], expressions=[comparable],
    )  # fmt: skip
    return result


def _require_label(
    asking: Asking, table: TableNow, name: str, using: Any, old: ColumnNow, new: ColumnType
) -> Asked | NotAsked:
    """The plan makes the new enum, or alters it: production cannot cast to it, but knows its labels by their text."""
    assert new.own is not None
    inner = using
    while isinstance(inner, ast.TypeCast) and asking.shape.column_type(inner.typeName).own is new.own:
        inner = inner.arg
    value = column(name) if inner is None else read_expression(inner, table, asking.shape)
    labels = new.own.labels
    what = f"every {quoted(name)} is a label of {new.name}"
    if labels is None or new.is_array or isinstance(value, NotAsked):
        because = value.because if isinstance(value, NotAsked) else f"the plan makes or changes type {new.name}"
        asking.ask(
            PreconditionKind.LABELS, table, what, _never, columns=[name], expressions=[NotAsked(because=because)]
        )
        return NotAsked(because=because)
    text = sql.SQL("({})::pg_catalog.text").format(value.composed)
    result = Asked(composed=text, columns=value.columns)
    known = old.type.own.labels if old.type.own is not None else None
    if known is not None and set(known) <= set(labels) and _is_only_text_of(asking, inner, name):
        return result
    listed = sql.SQL(", ").join(sql.Literal(label) for label in labels)
    asking.ask(
        PreconditionKind.LABELS,
        table,
        what,
        lambda: RowTest(
            rows=table.rows(),
            violates=sql.SQL("{} NOT IN ({})").format(text, listed)
            if labels
            else sql.SQL("{} IS NOT NULL").format(text),
        ),
        columns=[name],
        expressions=[value],
    )
    return result


def _is_only_a_cast(asking: Asking, using: Any, name: str, new: ColumnType) -> bool:
    while isinstance(using, ast.TypeCast) and asking.shape.column_type(using.typeName) == new:
        using = using.arg
    return using is None or _is_column(using, name)


def _is_only_text_of(asking: Asking, node: Any, name: str) -> bool:
    while isinstance(node, ast.TypeCast) and asking.shape.column_type(node.typeName).name in ("text", "varchar"):
        node = node.arg
    return node is None or _is_column(node, name)


def _is_column(node: Any, name: str) -> bool:
    return isinstance(node, ast.ColumnRef) and getattr(node.fields[-1], "sval", None) == name


def _too_long(value: sql.Composable, new: ColumnType) -> sql.Composable | None:
    """Trailing blanks are cut without a word (the manual, 8.3), bits never."""
    if new.is_array or not new.modifiers or new.modifiers[0] < 0:
        return None
    length = sql.Literal(new.modifiers[0])
    match new.name:
        case "varchar" | "bpchar":
            return sql.SQL("pg_catalog.length(pg_catalog.rtrim(({})::pg_catalog.text, ' ')) > {}").format(value, length)
        case "bit":
            return sql.SQL("pg_catalog.length(({})::pg_catalog.varbit) <> {}").format(value, length)
        case "varbit":
            return sql.SQL("pg_catalog.length(({})::pg_catalog.varbit) > {}").format(value, length)
    return None


def _never() -> RowTest:
    raise AssertionError("what cannot be asked has no test")
