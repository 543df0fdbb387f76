"""A mistake of lint's own: told where it happened, and the other statements and files are judged all the same."""

import contextlib
import io
import json
import pkgutil
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pgrehearse.cli.main import run_command
from pgrehearse.hazards import changes, predict
from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.lint import LintResult, lint_files
from pgrehearse.hazards.model import Model
from pgrehearse.hazards.sarif import as_github, as_sarif
from pgrehearse.hazards.suppress import Accepted, without_accepted
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.rehearsal.prediction import predict_plan

SCHEMA = json.loads((files("pgrehearse.answers") / "lint.schema.json").read_text(encoding="utf-8"))
TRUNCATE = "TRUNCATE visits;\n"
DROP = "ALTER TABLE users DROP COLUMN nick;\n"
BROKEN = f"CREATE TABLE a (i int);\n{TRUNCATE}{DROP}"


def migrations(*texts: str) -> list[Migration]:
    return [
        Migration(version=name, name=name, path=name, kind=SourceKind.AD_HOC, content=text.encode())
        for number, text in enumerate(texts, 1)
        for name in (f"{number}.sql",)
    ]


def found(result: LintResult) -> set[tuple[str | None, str]]:
    return {(each.file, each.hazard) for each in result.findings if each.level is Level.ERROR}


@pytest.fixture
def truncate_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(*_: Any) -> Any:
        raise KeyError("s3cret")

    monkeypatch.setitem(predict._RULES, "TruncateStmt", rule)


@pytest.mark.usefixtures("truncate_raises")
def test_the_rest_is_judged_and_the_fault_is_told() -> None:
    result = lint_files(migrations(BROKEN, DROP))
    assert found(result) == {("1.sql", "drop-column"), ("2.sql", "drop-column")}
    [fault] = result.faults
    assert (fault.file, fault.line) == ("1.sql", 2)
    assert "fault in lint (KeyError at test_faults_of_lint.py:" in fault.reason
    assert "s3cret" not in fault.reason
    assert [each.sql for each in result.statements] == [*(line.rstrip(";") for line in BROKEN.splitlines()), DROP[:-2]]


@pytest.mark.parametrize("where", ["changes", "file", "parse"])
def test_wherever_it_happens(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise AttributeError(where)

    if where == "changes":
        monkeypatch.setitem(changes._RULES, "TruncateStmt", fail)
    else:
        name = f"pgrehearse.hazards.lint.{'predict' if where == 'file' else 'parse'}_file"
        calls = iter([fail, pkgutil.resolve_name(name)])  # the first file's, and the second's

        def first_fails(*given: Any, **named: Any) -> Any:
            return next(calls)(*given, **named)

        monkeypatch.setattr(name, first_fails)
    result = lint_files(migrations(BROKEN, DROP))
    assert ("2.sql", "drop-column") in found(result)
    assert [each.file for each in result.faults] == ["1.sql"]


@pytest.mark.usefixtures("truncate_raises")
def test_what_the_statement_would_have_changed_is_not_taken_for_missing() -> None:
    """By a catalog, a table that the unjudged statement may have made."""
    result = lint_files(migrations(f"{TRUNCATE}DROP TABLE made;"), model=Model(complete=True))
    assert result.faults
    assert "missing-object" not in {each.hazard for each in result.findings}


@pytest.mark.usefixtures("truncate_raises")
@pytest.mark.parametrize(("text", "code"), [(TRUNCATE, 3), (BROKEN, 1)])
def test_the_command_never_calls_it_clean(text: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "1.sql").write_text(text)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert run_command(["lint", "1.sql", "--json"]) == code
    answer = json.loads(out.getvalue())
    Draft202012Validator(SCHEMA).validate(answer)
    assert [each["fault"] for each in answer["not_visible"]] == [True]
    assert err.getvalue() == ""


@pytest.mark.usefixtures("truncate_raises")
def test_workflows_and_code_scanning_are_told() -> None:
    [migration] = migrations(TRUNCATE)
    judged = without_accepted(lint_files([migration]), [migration], Accepted())
    [invocation] = as_sarif(judged)["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert [each["level"] for each in invocation["toolExecutionNotifications"]] == ["error"]
    assert [line.partition(" ")[0] for line in as_github(judged)] == ["::error"]


@pytest.mark.usefixtures("truncate_raises")
def test_a_rehearsal_goes_on_and_says_so() -> None:
    plan = tuple(migrations(BROKEN))
    request = SimpleNamespace(plan=SimpleNamespace(migrations=plan), mode=TransactionMode.FILE, accepted=Accepted())
    seen: Any = SimpleNamespace(request=request, model=None, failure=None, unmeasured=[])
    assert "drop-column" in {each.hazard for each in predict_plan(seen, plan)}
    [told] = seen.unmeasured
    assert (told.what, told.decisive) == ("what lint says of 1.sql:2", False)
