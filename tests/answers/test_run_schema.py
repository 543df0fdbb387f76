"""The run answer's keys are the ones that were promised; adding or renaming one is a new format."""

import json
from importlib.resources import files
from typing import Any

from pgrehearse.data.value_changes import PHRASES, ChangeKind
from pgrehearse.data.verdicts import TableVerdict, Traced

RUN: dict[str, Any] = json.loads((files("pgrehearse.answers") / "run.schema.json").read_text(encoding="utf-8"))


def keys(node: dict[str, Any]) -> list[str]:
    assert node["additionalProperties"] is False
    assert sorted(node["required"]) == sorted(node["properties"])
    return sorted(node["properties"])


RUN_KEYS = [
    "format",
    "digest",
    "verdict",
    "grade",
    "source",
    "clone",
    "role",
    "transaction",
    "plan",
    "statements",
    "tables",
    "proof",
    "schema",
    "declarations",
    "checks",
    "queries",
    "contention",
    "rollback",
    "findings",
    "not_measured",
    "timings",
]
STATEMENT_KEYS = ["file", "line", "sql", "duration_ms", "locks", "rewrites", "scans_under_lock", "error"]
TABLE_KEYS = [
    "name", "name_after", "verdict", "rows_before", "rows_after", "rows_lost", "rows_merged", "rows_moved", "columns",
    "traces", "orphans", "proof",
]  # fmt: skip
COLUMN_KEYS = [
    "name", "name_after", "verdict", "values_before", "values_changed", "values_lost", "values_moved", "changes"
]  # fmt: skip
TRACE_KEYS = [
    "what", "columns", "into", "into_columns", "joined_by", "by", "sought", "found", "proved", "reason"
]  # fmt: skip

DECLARATION_KEYS = [
    "file", "line", "text", "verb", "relation", "column", "condition", "bound", "outcome", "count", "rows_before",
    "rows_declared", "beyond", "detail",
]  # fmt: skip


def test_the_run_answer_has_exactly_these_keys() -> None:
    assert keys(RUN) == sorted(RUN_KEYS)


def test_its_parts_have_exactly_these_keys() -> None:
    properties, parts = RUN["properties"], RUN["$defs"]
    statement = properties["statements"]["items"]
    assert keys(properties["plan"]["items"]) == ["name", "sha256", "version"]
    assert keys(statement) == sorted(STATEMENT_KEYS)
    assert keys(statement["properties"]["error"]["anyOf"][0]) == ["hint", "message", "sqlstate"]
    assert keys(parts["table"]) == sorted(TABLE_KEYS)
    assert keys(parts["column"]) == sorted(COLUMN_KEYS)
    assert keys(parts["valueChange"]) == ["example", "kind", "values"]
    assert keys(parts["valueChange"]["properties"]["example"]["anyOf"][0]) == ["after", "before", "key"]
    assert keys(parts["trace"]) == sorted(TRACE_KEYS)
    assert keys(parts["orphans"]) == ["child", "columns", "parent", "rows"]
    assert keys(properties["proof"]) == ["counters_not_believed", "mode"]
    assert keys(parts["tableProof"]["anyOf"][0]) == ["evidence", "how"]
    assert keys(parts["declaration"]) == sorted(DECLARATION_KEYS)
    assert keys(properties["schema"]) == ["after", "before", "changes"]
    assert keys(properties["checks"]["items"]) == ["detail", "name", "verdict"]
    assert keys(properties["not_measured"]["items"]) == ["decisive", "reason", "what"]


def test_verdicts_are_the_closed_sets_that_were_promised() -> None:
    assert RUN["properties"]["verdict"]["enum"] == ["clean", "loss", "hazard", "failed", "unmeasured"]
    assert RUN["$defs"]["table"]["properties"]["verdict"]["enum"] == [
        "unchanged", "renamed", "rows-added", "rows-lost", "rows-moved", "values-changed", "dropped", "recreated",
        "new",
        "unmeasured",  # some column could not be compared, and nothing worse was seen
        "moved",  # only in earlier receipts: what was gone from it had been found again elsewhere
    ]  # fmt: skip
    assert RUN["$defs"]["valueChange"]["properties"]["kind"]["enum"] == [kind.value for kind in ChangeKind]
    assert {kind.value for kind in ChangeKind} == PHRASES.keys()
    assert RUN["$defs"]["trace"]["properties"]["what"]["enum"] == [traced.value for traced in Traced]
    given = {verdict.value for verdict in TableVerdict}
    assert {*RUN["$defs"]["table"]["properties"]["verdict"]["enum"]} == given | {"moved"}
