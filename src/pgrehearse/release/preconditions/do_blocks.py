"""The statements of a DO block, where its text shows them: drizzle-kit wraps constraints in one to run them again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pglast import ast, parse_plpgsql
from pglast.parser import ParseError

# What a block may catch and still have failed for no reason of the rows.
_ALREADY_THERE = frozenset({"duplicate_object", "duplicate_table", "duplicate_column", "duplicate_schema",
                            "duplicate_function", "undefined_table", "undefined_object", "undefined_column",
                            "invalid_table_definition", "duplicate_alias"})  # fmt: skip
_OWN_VARIABLES = frozenset({"found", "sqlstate", "sqlerrm"})
_EXECUTES = ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors", "PLpgSQL_stmt_call")
_HARMLESS = frozenset({"PLpgSQL_stmt_return", "PLpgSQL_stmt_raise", "PLpgSQL_stmt_null", "PLpgSQL_stmt_assert"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """One statement of the block."""

    text: str
    only_perhaps: str | None  # why it may not run, or may fail without anybody hearing


def block_text(node: ast.DoStmt) -> str:
    """The body as it stands."""
    return " ".join(option.arg.sval for option in node.args if option.defname == "as")


def read_block(node: ast.DoStmt, statement: str) -> tuple[Inner, ...] | None:
    """Its statements in order; None where some are built while it runs, or the language is another."""
    language = next((option.arg.sval for option in node.args if option.defname == "language"), "plpgsql")
    if language.lower() != "plpgsql":
        return None
    try:
        function = parse_plpgsql(statement)[0]["PLpgSQL_function"]
    except (ParseError, KeyError, IndexError):
        return None
    has_variables = any(
        entry.get("refname", "") not in _OWN_VARIABLES for datum in function["datums"] for entry in datum.values()
    )
    try:
        return tuple(_statements(function["action"], "it uses variables of a DO block" if has_variables else None))
    except _BuiltWhileRunning:
        return None


class _BuiltWhileRunning(Exception):
    """EXECUTE: the text does not show what runs."""


def _statements(step: dict[str, Any], perhaps: str | None) -> Iterator[Inner]:
    for kind, body in step.items():
        if kind in _EXECUTES:
            raise _BuiltWhileRunning
        if kind == "PLpgSQL_stmt_block":
            caught = _caught(body)
            for inner in body.get("body", ()):
                yield from _statements(inner, perhaps or caught)
            for handler in body.get("exceptions", {}).get("PLpgSQL_exception_block", {}).get("exc_list", ()):
                for inner in handler["PLpgSQL_exception"].get("action", ()):
                    yield from _statements(inner, "it runs only where something failed")
        elif kind == "PLpgSQL_stmt_execsql":
            yield Inner(text=body["sqlstmt"]["PLpgSQL_expr"]["query"], only_perhaps=perhaps)
        elif kind == "PLpgSQL_stmt_perform":
            yield Inner(text=body["expr"]["PLpgSQL_expr"]["query"], only_perhaps=perhaps)
        elif kind not in _HARMLESS:
            # IF, CASE, loops, assignments: whatever stands inside runs perhaps, or more than once.
            for inner in _nested(body):
                yield from _statements(inner, perhaps or "it runs under a condition of a DO block")


def _nested(body: Any) -> Iterator[dict[str, Any]]:
    if isinstance(body, dict):
        for key, value in body.items():
            if key.startswith("PLpgSQL_stmt_"):
                yield {key: value}
            elif key == "PLpgSQL_expr":
                # Mode 0 is a whole statement; any other is an expression, or an assignment's right side after its :=.
                text = value["query"] if value.get("parseMode", 0) == 0 else "SELECT " + value["query"]
                yield {"PLpgSQL_stmt_execsql": {"sqlstmt": {key: {"query": text}}}}
            else:
                yield from _nested(value)
    elif isinstance(body, list):
        for item in body:
            yield from _nested(item)


def _caught(body: dict[str, Any]) -> str | None:
    """Why a failure of the block's statements would not be heard."""
    handlers = body.get("exceptions", {}).get("PLpgSQL_exception_block", {}).get("exc_list", ())
    names = {
        condition["PLpgSQL_condition"]["condname"]
        for handler in handlers
        for condition in handler["PLpgSQL_exception"].get("conditions", ())
    }
    heard = names <= _ALREADY_THERE
    return None if heard else f"its failure is caught: WHEN {', '.join(sorted(names))}"
