"""What a reader of the text cannot judge, and why."""

from typing import Any

from pglast import ast
from pglast.parser import parse_sql_json
from pglast.visitors import Visitor

from pgrehearse.hazards.sql_names import quoted

# PostgreSQL's own, with no effect that a hazard is about; everything else may do anything.
_HARMLESS = frozenset(
    """abs any_value array_agg array_length array_position array_remove array_to_string avg btrim cardinality ceil
    char_length chr clock_timestamp concat concat_ws convert_from convert_to count currval date_part date_trunc
    decode dense_rank digest encode every extract first_value floor format gen_random_uuid generate_series greatest
    initcap json_agg json_build_array json_build_object json_object_agg jsonb_agg jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
    jsonb_object_agg jsonb_object_keys jsonb_set jsonb_strip_nulls jsonb_typeof lag last_value lastval lead least
    left length lower lpad ltrim make_date make_interval make_timestamp max md5 min mod nextval now ntile nullif
    num_nonnulls num_nulls octet_length overlay percentile_cont position power quote_ident quote_literal random rank
    regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table repeat replace reverse
    right round row_number row_to_json rpad rtrim set_config setval sha256 sign split_part sqrt statement_timestamp
    string_agg string_to_array strpos substr substring sum text timezone to_char to_date to_json to_jsonb to_number
    to_timestamp transaction_timestamp translate trim trunc unnest upper uuid_generate_v4 uuidv4 uuidv7
    version""".split()  # noqa: SIM905 - a hundred quoted names would be harder to read
)


def find_hidden(node: Any, text: str) -> str | None:
    """Why the statement's effect cannot be read from its text; None where it can."""
    match node:
        case ast.DoStmt():
            return "a DO block: what it does shows only when it runs"
        case ast.ExecuteStmt():
            return f"EXECUTE {quoted(node.name)}: a prepared statement shows only when it runs"
        case ast.CallStmt():
            return f"CALL {_function(node.funccall)}(): what the procedure does shows only when it runs"
        case (
            ast.SelectStmt()
            | ast.InsertStmt()
            | ast.UpdateStmt()
            | ast.DeleteStmt()
            | ast.MergeStmt()
            | ast.CreateTableAsStmt()
        ):
            functions = _called(node, text)
            if functions:
                return f"calls {', '.join(functions)}: what a function does shows only when it runs"
    return None


def _called(node: Any, text: str) -> list[str]:
    if '"FuncCall":' not in parse_sql_json(text):  # walking an INSERT of a million values takes seconds
        return []
    found: dict[str, None] = {}  # in order, once each

    class Calls(Visitor):  # type: ignore[misc]  # pglast has no type hints
        def visit_FuncCall(self, ancestors: Any, call: ast.FuncCall) -> None:  # noqa: N802 - the visitor's protocol
            *namespace, name = (part.sval for part in call.funcname)
            if namespace == ["pg_catalog"] or name.startswith("pg_") or (not namespace and name in _HARMLESS):
                return
            found[f"{_function(call)}()"] = None

    Calls()(node)
    return list(found)


def _function(call: ast.FuncCall) -> str:
    return ".".join(quoted(part.sval) for part in call.funcname)
