"""The published schema of a query and the facts it is made of say the same."""

import json
from importlib.resources import files
from typing import Any

from pgrehearse.queries.comparison import Executed, QueryComparison, QueryVerdict
from pgrehearse.queries.plan import Plan
from pgrehearse.queries.planning import Refusal
from pgrehearse.queries.statement_text import read_statement
from pgrehearse.queries.workload import WorkloadQuery

RUN: dict[str, Any] = json.loads((files("pgrehearse.answers") / "run.schema.json").read_text(encoding="utf-8"))
QUERY = RUN["properties"]["queries"]["items"]


def test_verdicts_are_the_closed_set_that_is_published() -> None:
    assert QUERY["properties"]["verdict"]["enum"] == [verdict.value for verdict in QueryVerdict]


def test_every_part_has_exactly_the_published_keys() -> None:
    plan = Plan(cost=1.0, rows=1.0, shape=("Result",), indexes=(), scanned_rows={})
    query = WorkloadQuery(statement=read_statement("SELECT 1"))
    ran = Executed(before_ms=1.0, after_ms=None, rows_before=1, rows_after=None, runs=5, sampled=False)
    refusal = Refusal(sqlstate="42703", message="column does not exist")
    document = QueryComparison(
        query=query, verdict=QueryVerdict.BROKEN, before=plan, after=plan, executed=ran, refusal=refusal
    ).as_json()
    for part, schema in (
        (document, QUERY),
        (document["before"], RUN["$defs"]["queryPlan"]),
        (document["executed"], QUERY["properties"]["executed"]["anyOf"][0]),
        (document["error"], QUERY["properties"]["error"]["anyOf"][0]),
    ):
        assert schema["additionalProperties"] is False
        assert sorted(part) == sorted(schema["required"]) == sorted(schema["properties"])
