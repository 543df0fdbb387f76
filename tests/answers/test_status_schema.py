"""`status --json` is frozen: what a reader parses today it parses tomorrow."""

import copy
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.sources import ProblemKind, Severity
from pgrehearse.release.gate import ReasonKind

SCHEMA: dict[str, Any] = json.loads((files("pgrehearse.answers") / "status.schema.json").read_text(encoding="utf-8"))

DIGEST = "0" * 64
ANSWER: dict[str, Any] = {
    "format": 1,
    "environment": "prd",
    "database": "db.example/shop",
    "source": {"kind": "drizzle-journal", "path": "drizzle"},
    "ledger": {"table": "drizzle.__drizzle_migrations", "exists": True},
    "well": False,
    "counts": {
        "applied": 1, "pending": 0, "edited": 0, "skipped": 1, "present": 0, "half-present": 0, "unfinished": 0,
    },
    "migrations": [
        {"version": "0000_a", "name": "a", "path": "drizzle/0000_a.sql", "sha256": DIGEST, "state": "applied",
         "applied_at": None},
        {"version": "0001_b", "name": "b", "path": "drizzle/0001_b.sql", "sha256": DIGEST, "state": "skipped",
         "applied_at": None},
    ],
    "plan": {"digest": DIGEST, "versions": ["0001_b"]},
    "ad_hoc": [{"file": "fix.sql", "sha256": DIGEST, "applied_at": "2026-01-31T12:00:00.000000Z"}],
    "problems": [
        {"kind": "skipped", "severity": "error", "subject": "0001_b", "message": "below the watermark",
         "remedy": "Apply it."},
    ],
    "under_way": {
        "at_work": {"holder": "ann on far, pid 7", "since": "2026-01-31T12:00:00Z", "until": "2026-01-31T12:01:00Z",
                    "doing": "promotes"},
        "promotion": {"id": "20260131-120000-abcdef", "receipt": DIGEST, "began_at": "2026-01-31T12:00:00Z",
                      "by": "ann on far", "step": "apply", "applied": ["0000_a"], "half_way": [], "left": ["0001_b"]},
        "told": ["a fence stands"], "remedy": "Wait.",
    },
    "gate": {
        "receipt": DIGEST, "verdict": "loss", "recoverability": ["dump"], "open": False,
        "told": ["a drift"],
        "approvals": [
            {"receipt": DIGEST, "by": {"login": "ann", "host": "here", "git": None}, "at": "2026-01-31T12:00:00Z",
             "remark": "", "accepted": [{"finding": "drop-column:public.t", "reason": "agreed"}]}
        ],
        "reasons": [{"kind": "age", "message": "too old", "remedy": "Again.", "details": []}],
    },
}  # fmt: skip

Change = Callable[[dict[str, Any]], object]
BREAKING: dict[str, Change] = {
    "an unknown key": lambda answer: answer.update(extra=1),
    "an unknown key of a migration": lambda answer: answer["migrations"][0].update(extra=1),
    "an unknown key of the source": lambda answer: answer["source"].update(extra=1),
    "an unknown key of the ledger": lambda answer: answer["ledger"].update(extra=1),
    "an unknown key of the counts": lambda answer: answer["counts"].update(extra=1),
    "an unknown key of the plan": lambda answer: answer["plan"].update(extra=1),
    "an unknown key of what is under way": lambda answer: answer["under_way"].update(extra=1),
    "an unknown key of who is at work": lambda answer: answer["under_way"]["at_work"].update(extra=1),
    "an unknown key of an unfinished promotion": lambda answer: answer["under_way"]["promotion"].update(extra=1),
    "an unknown step": lambda answer: answer["under_way"]["promotion"].update(step="nap"),
    "an unknown key of a problem": lambda answer: answer["problems"][0].update(extra=1),
    "an unknown key of an ad-hoc file": lambda answer: answer["ad_hoc"][0].update(extra=1),
    "an unknown key of the gate": lambda answer: answer["gate"].update(extra=1),
    "an unknown key of an approval": lambda answer: answer["gate"]["approvals"][0].update(extra=1),
    "an unknown kind of reason": lambda answer: answer["gate"]["reasons"][0].update(kind="mood"),
    "a missing gate": lambda answer: answer.pop("gate"),
    "an unknown state": lambda answer: answer["migrations"][0].update(state="fine"),
    "an unknown problem": lambda answer: answer["problems"][0].update(kind="odd"),
    "a missing count": lambda answer: answer["counts"].pop("edited"),
    "a missing plan": lambda answer: answer.pop("plan"),
    "another format": lambda answer: answer.update(format=2),
    "a digest of another length": lambda answer: answer["plan"].update(digest="ab"),
    "an empty plan that is not null": lambda answer: answer["plan"].update(versions=[]),
}


def errors(answer: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(answer)]


def test_the_schema_itself_is_valid_and_admits_the_frozen_answer() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert errors(ANSWER) == []
    assert errors(ANSWER | {"environment": None, "plan": None}) == []


@pytest.mark.parametrize("name", BREAKING)
def test_it_admits_nothing_else(name: str) -> None:
    answer = copy.deepcopy(ANSWER)
    BREAKING[name](answer)
    assert len(errors(answer)) == 1


def test_its_closed_sets_are_those_of_the_code() -> None:
    problem = SCHEMA["properties"]["problems"]["items"]["properties"]
    assert problem["kind"]["enum"] == [kind.value for kind in ProblemKind]
    assert problem["severity"]["enum"] == [severity.value for severity in Severity]
    assert SCHEMA["properties"]["source"]["properties"]["kind"]["enum"] == [kind.value for kind in SourceKind]


def test_the_schema_knows_every_kind_of_reason() -> None:
    assert set(SCHEMA["$defs"]["reason"]["properties"]["kind"]["enum"]) == {kind.value for kind in ReasonKind}
