"""Findings as SARIF 2.1.0 and as GitHub's workflow commands."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.lint import lint_files
from pgrehearse.hazards.sarif import as_github, as_sarif
from pgrehearse.hazards.suppress import Accepted, Judged, Weights, without_accepted
from pgrehearse.migrations.migration import Migration, SourceKind

SCHEMA = json.loads((Path(__file__).parent / "sarif-2.1.0-subset.schema.json").read_text(encoding="utf-8"))
TEXT = """\
ALTER TABLE users DROP COLUMN nick;
-- pgrehearse: allow truncate because it is a cache
TRUNCATE visits;
CREATE INDEX ON orders (placed);
-- pgrehearse: allow drop-schema because it is empty
DO $$ BEGIN EXECUTE format('DROP TABLE %I', 'x' || now()); END $$;
"""


def judged(text: str = TEXT, path: str = "my files/0007_größe,1.sql") -> Judged:
    migration = Migration(version="x", name="x", path=path, kind=SourceKind.AD_HOC, content=text.encode())
    weights = Weights(ignore=frozenset({"create-index"}))
    return without_accepted(lint_files([migration]), [migration], Accepted(weights=weights))


def sarif(of: Judged) -> Any:
    document = json.loads(json.dumps(as_sarif(of)))
    Draft202012Validator(SCHEMA).validate(document)
    return document["runs"][0]


def test_the_log_validates_and_has_what_was_found() -> None:
    run = sarif(judged())
    results = {result["ruleId"]: result for result in run["results"]}
    drop = results["drop-column"]
    assert (drop["level"], drop["locations"][0]["physicalLocation"]["region"]["startLine"]) == ("error", 1)
    assert "drops the column nick of users" in drop["message"]["text"]
    assert "CREATE TABLE users_nick_kept" in drop["message"]["text"]
    uri = drop["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "my%20files/0007_gr%C3%B6%C3%9Fe%2C1.sql"
    assert "suppressions" not in drop


def test_every_rule_that_a_result_names_is_described_once() -> None:
    run = sarif(judged())
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_what_is_accepted_is_there_as_suppressed() -> None:
    results = {result["ruleId"]: result for result in sarif(judged())["results"]}
    assert results["truncate"]["suppressions"] == [{"kind": "inSource", "justification": "it is a cache"}]
    assert [each["kind"] for each in results["create-index"]["suppressions"]] == ["external"]


def test_what_lint_cannot_see_is_a_notification() -> None:
    [invocation] = sarif(judged())["invocations"]
    told = {each["locations"][0]["physicalLocation"]["region"]["startLine"]: each["level"] for each in
            invocation["toolExecutionNotifications"]}  # fmt: skip
    assert told == {5: "warning", 6: "note"}


def test_an_empty_lint_is_a_log_without_results() -> None:
    run = sarif(judged("SELECT 1;"))
    assert run["results"] == []
    assert run["tool"]["driver"]["rules"] == []


def test_the_schema_of_the_tests_can_say_no() -> None:
    document = as_sarif(judged())
    document["runs"][0]["results"][0]["level"] = "info"
    assert not Draft202012Validator(SCHEMA).is_valid(json.loads(json.dumps(document)))


def test_github_gets_one_command_a_line_with_its_letters_escaped() -> None:
    lines = list(as_github(judged()))
    [drop] = [line for line in lines if "drop-column" in line]
    assert drop.startswith("::error file=my files/0007_größe%2C1.sql,line=1,col=1,title=drop-column::drops the column")
    assert "%0A-- Keep a copy:%0ACREATE TABLE" in drop
    assert all("\n" not in line for line in lines)
    assert any(line.startswith("::warning ") and "drop-schema" in line for line in lines)
    assert any(line.startswith("::notice ") and "title=not visible to lint" in line for line in lines)
    assert {finding.level for finding in judged().result.findings} <= set(Level)
