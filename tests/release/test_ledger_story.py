"""The oracle of the state machine can say no: each of its rules is broken once, in a history that keeps all of them."""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.ledger_story import Entry, read_story, require_approved_and_recoverable

RECEIPTS = {
    "r1": {
        "digest": "r1",
        "verdict": "loss",
        "findings": [
            {"level": "error", "evidence": "confirmed", "hazard": "delete-rows", "relation": "public.t"},
        ],
    }
}
Break = Callable[[list[Entry]], None]


def history(backup: Path) -> list[Entry]:
    """Rehearsed by rita, approved by ann, promoted, taken back, approved and promoted once more."""
    proof = {"way": "dump", "facts": {"backup": "b", "directory": str(backup)}}

    def step(promotion: str, step: str, state: str, **more: Any) -> Entry:
        return ("promotion-step", promotion, {"step": step, "state": state, **more})

    def promotion(name: str) -> list[Entry]:
        return [
            ("approval", "r1", {"by": {"login": "ann"}, "accepted": [{"finding": "delete-rows:public.t"}]}),
            ("promotion-begun", name, {"receipt": "r1", "plan": [{"version": "0001"}]}),
            step(name, "gate", "done"),
            ("backup-proved", "b", {}),
            step(name, "recoverability", "done", proofs=[proof]),
            step(name, "apply", "begun"),
            step(name, "apply", "committed"),
            ("promotion-ended", name, {"outcome": "promoted"}),
        ]

    back: list[Entry] = [
        ("rollback-begun", "p1", {"type": "restorable"}),
        ("rollback-ended", "p1", {"outcome": "taken-back"}),
    ]
    return [*promotion("p1"), *back, *promotion("p2")]


def without(kind: str, number: int, **body: Any) -> Break:
    """The n-th entry of that kind, and with that in it, is not there."""

    def strike(entries: list[Entry]) -> None:
        found = [at for at, each in enumerate(entries) if each[0] == kind and body.items() <= each[2].items()]
        del entries[found[number]]

    return strike


def with_more(at: int, *more: Entry) -> Break:
    return lambda entries: entries.__setitem__(slice(at, at), more)


def by_the_rehearser(entries: list[Entry]) -> None:
    entries[0][2]["by"]["login"] = "rita"


def accepting_nothing(entries: list[Entry]) -> None:
    entries[0][2]["accepted"] = []


BREAKS: dict[str, tuple[Break, str]] = {
    "nobody approved": (without("approval", 0), "without an approval"),
    "only the rehearser approved": (by_the_rehearser, "without an approval"),
    "withdrawn": (with_more(1, ("approval-withdrawn", "r1", {"by": {"login": "ann"}})), "without an approval"),
    "approved before it was taken back": (without("approval", 1), "without an approval"),
    "a finding that nobody accepted": (accepting_nothing, "nobody accepted delete-rows"),
    "no gate": (without("promotion-step", 0, step="gate"), "without a gate"),
    "no way back": (without("promotion-step", 0, step="recoverability"), "without a way back"),
    "never proved": (without("backup-proved", 0), "never proved"),
    "older than another's commit": (
        with_more(5, ("promotion-step", "p0", {"step": "apply", "state": "committed"})), "older than another"
    ),
    "older than a rollback": (with_more(5, ("rollback-ended", "p0", {"outcome": "taken-back"})), "older than a roll"),
}  # fmt: skip


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    (tmp_path / "data").write_text("rows")
    files = {"data": {"sha256": hashlib.sha256(b"rows").hexdigest()}}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    return tmp_path


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_not_as_it_must_be_is_found(what: str, backup: Path) -> None:
    entries = history(backup)
    require_approved_and_recoverable(entries, RECEIPTS, "rita")
    broken, told = BREAKS[what]
    entries = copy.deepcopy(entries)
    broken(entries)
    with pytest.raises(AssertionError, match=told):
        require_approved_and_recoverable(entries, RECEIPTS, "rita")


def test_a_backup_that_is_not_whole_is_found(backup: Path) -> None:
    (backup / "data").write_text("row")
    with pytest.raises(AssertionError, match="data"):
        require_approved_and_recoverable(history(backup), RECEIPTS, "rita")


def test_a_history_is_followed_to_what_must_be_applied(backup: Path) -> None:
    entries = history(backup)
    where = {at: read_story(entries[:at]) for at in range(len(entries) + 1)}
    assert (where[6].at_least(), where[6].at_most()) == (set(), {"0001"})
    assert (where[8].at_least(), where[8].at_most()) == ({"0001"}, {"0001"})
    assert (where[9].at_least(), where[9].at_most()) == (set(), {"0001"})
    assert (where[10].at_least(), where[10].at_most()) == (set(), set())
    assert [told.id for told in where[len(entries)].standing] == ["p2"]
    for kind, told in (("promotion-begun", "begins twice"), ("promotion-ended", "ends twice")):
        twice = [each for entry in entries for each in ([entry, entry] if entry[0] == kind else [entry])]
        with pytest.raises(AssertionError, match=told):
            read_story(twice)
