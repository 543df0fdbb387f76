"""Approvals: who may say yes to what, and what is left of it."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pgrehearse.errors import ApprovalRefused
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.rehearsal.person import Person
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release.approval import (
    Accepted,
    accepted_names,
    approve,
    judge_approvals,
    read_approvals,
    withdraw,
)
from pgrehearse.release.gate import Gate, ReasonKind, judge_grade, judge_verdict, names_to_accept

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANN = Person(login="ann", host="laptop", git="Ann <ann@example.org>")
BEN = Person(login="ben", host="laptop", git=None)


def finding(hazard: str, relation: str | None, **facts: Any) -> dict[str, Any]:
    return {"hazard": hazard, "relation": relation, "level": "error", "evidence": "observed", "classes": []} | facts


def receipt(verdict: str = "clean", **facts: Any) -> Receipt:
    return Receipt.seal(
        {
            "verdict": verdict,
            "grade": {"full": True, "why_not": []},
            "findings": [],
            "checks": [],
            "not_measured": [],
            "receipt": {"rehearsed_by": "ann", "level": "error"},
        }
        | facts
    )


LOSSY = receipt(
    "loss",
    findings=[
        finding("drop-column", "public.users", classes=["data-loss"]),
        finding("rename-table", "public.orders"),
        finding("sequence-behind", None, classes=["data-loss"], level="warning"),
        finding("slow", "public.t", level="warning"),
        finding("disproved-one", "public.t", evidence="disproved"),
    ],
    checks=[{"name": "money.sql", "verdict": "failed", "detail": ""}],
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ReleaseLedger]:
    with ReleaseLedger.open(tmp_path / "ledger.db") as opened:
        yield opened


def yes(ledger: ReleaseLedger, to: Receipt, by: Person, *names: str) -> None:
    accepted = [Accepted(finding=name, reason="agreed") for name in names]
    approve(ledger, to, by=by, remark="", accepted=accepted, now=NOW)


def test_each_person_counts_once_and_the_last_word_counts(ledger: ReleaseLedger) -> None:
    one = receipt()
    yes(ledger, one, ANN)
    yes(ledger, one, ANN)
    yes(ledger, one, Person(login="ann", host="laptop", git="Somebody Else <x@example.org>"))  # git config is cheap
    yes(ledger, one, Person(login="root", host="runner", git=None))
    yes(ledger, one, BEN)
    assert [each.by.login for each in read_approvals(ledger, one.digest)] == ["ann", "root", "ben"]
    withdraw(ledger, one, by=BEN, remark="no", now=NOW)
    assert [each.by.login for each in read_approvals(ledger, one.digest)] == ["ann", "root"]
    with pytest.raises(ApprovalRefused, match="has not approved"):
        withdraw(ledger, one, by=BEN, remark="no", now=NOW)
    yes(ledger, one, BEN)
    assert len(read_approvals(ledger, one.digest)) == 3


def test_one_git_identity_on_two_machines_is_one_person(ledger: ReleaseLedger) -> None:
    one = receipt()
    yes(ledger, one, ANN)
    yes(ledger, one, Person(login="ann.e", host="desktop", git=ANN.git))
    assert len(read_approvals(ledger, one.digest)) == 1


def test_an_approval_speaks_of_one_digest_only(ledger: ReleaseLedger) -> None:
    one, other = receipt(), receipt(findings=[finding("x", None, level="info")])
    yes(ledger, one, ANN)
    assert read_approvals(ledger, other.digest) == ()
    reasons = judge_approvals(other.document, read_approvals(ledger, other.digest), needed=1, by_another=False)
    assert [reason.kind for reason in reasons] == [ReasonKind.APPROVAL]


def test_the_one_who_rehearsed_does_not_count_where_another_is_asked_for(ledger: ReleaseLedger) -> None:
    one = receipt()
    yes(ledger, one, ANN)
    standing = read_approvals(ledger, one.digest)
    assert judge_approvals(one.document, standing, needed=1, by_another=False) == []
    (reason,) = judge_approvals(one.document, standing, needed=1, by_another=True)
    assert "0 of 1 people other than ann" in reason.message
    yes(ledger, one, BEN)
    assert judge_approvals(one.document, read_approvals(ledger, one.digest), needed=1, by_another=True) == []
    assert judge_approvals(one.document, (), needed=0, by_another=False) == []


@pytest.mark.parametrize("verdict", ["failed", "unmeasured"])
def test_nobody_can_accept_what_failed_or_was_not_measured(ledger: ReleaseLedger, verdict: str) -> None:
    one = receipt(verdict)
    with pytest.raises(ApprovalRefused, match=verdict):
        yes(ledger, one, ANN)
    assert [reason.kind for reason in judge_verdict(one.document, ["anything"])] == [ReasonKind.VERDICT]


def test_nobody_can_accept_what_was_not_measured_beside_a_finding(ledger: ReleaseLedger) -> None:
    entries = [
        {"what": "public.users.name", "reason": "its type does not cast back", "decisive": True},
        {"what": "durations as production would have them", "reason": "another machine", "decisive": False},
    ]
    accepted = names_to_accept(LOSSY.document)
    for checks, not_measured, told in (
        ([], entries, ("public.users.name: its type does not cast back",)),
        ([{"name": "money.sql", "verdict": "unmeasured", "detail": ""}], [], ("check money.sql",)),
    ):
        one = receipt("loss", findings=LOSSY.document["findings"], checks=checks, not_measured=not_measured)
        with pytest.raises(ApprovalRefused, match="not all was measured") as refused:
            yes(ledger, one, ANN, *names_to_accept(one.document))
        assert all(line in str(refused.value) for line in told)
        (reason,) = judge_verdict(one.document, accepted)
        assert reason.kind is ReasonKind.VERDICT
        assert reason.details == told
    quiet = receipt("loss", findings=LOSSY.document["findings"], not_measured=entries[1:])
    yes(ledger, quiet, ANN, *names_to_accept(quiet.document))


def test_every_finding_that_counted_must_be_accepted_by_name(ledger: ReleaseLedger) -> None:
    wanted = ("drop-column:public.users", "rename-table:public.orders", "sequence-behind", "check:money.sql")
    assert names_to_accept(LOSSY.document) == wanted
    with pytest.raises(ApprovalRefused, match=r"no finding 'slow:public\.t'"):
        yes(ledger, LOSSY, ANN, "slow:public.t")
    with pytest.raises(ApprovalRefused, match="without a reason"):
        approve(ledger, LOSSY, by=ANN, remark="", accepted=[Accepted(finding=wanted[0], reason=" ")], now=NOW)
    yes(ledger, LOSSY, ANN, *wanted[:3])
    (reason,) = judge_verdict(LOSSY.document, accepted_names(read_approvals(ledger, LOSSY.digest)))
    assert reason.details == wanted[3:]
    yes(ledger, LOSSY, BEN, wanted[3])
    assert judge_verdict(LOSSY.document, accepted_names(read_approvals(ledger, LOSSY.digest))) == []
    withdraw(ledger, LOSSY, by=ANN, remark="", now=NOW)  # what she accepted goes with her
    (reason,) = judge_verdict(LOSSY.document, accepted_names(read_approvals(ledger, LOSSY.digest)))
    assert reason.details == wanted[:3]


def test_a_loss_without_a_finding_to_accept_stays_refused() -> None:
    assert [reason.kind for reason in judge_verdict(receipt("loss").document, [])] == [ReasonKind.VERDICT]


def test_a_lowered_grade_is_told_with_its_reasons() -> None:
    lowered = receipt(grade={"full": False, "why_not": ["masked", "another major"]})
    (reason,) = judge_grade(lowered.document)
    assert reason.details == ("masked", "another major")


def test_the_rehearser_does_not_count_under_another_login_with_the_same_git_identity(ledger: ReleaseLedger) -> None:
    rehearser = {"login": "ann", "host": "laptop", "git": "Ann <ann@example.org>"}
    one = receipt(receipt={"rehearsed_by": "ann", "rehearser": rehearser, "level": "error"})

    def counted(*by: Person) -> int:
        for each in by:
            yes(ledger, one, each)
        standing = read_approvals(ledger, one.digest)
        reasons = judge_approvals(one.document, standing, needed=9, by_another=True)
        return int(reasons[0].message.split()[2])

    deploy = Person(login="deploy", host="runner", git="Ann E. <Ann@Example.org>")  # the address tells, not the name
    assert counted(Person(login="ann", host="another", git=None), deploy) == 0
    assert counted(Person(login="eve", host="runner", git="Eve <eve@example.org>"), BEN) == 2


def test_of_many_findings_to_accept_the_first_are_told_with_how_many_there_are() -> None:
    many = receipt("loss", findings=[finding("drop-column", f"public.t{number}") for number in range(30)])
    text = Gate.of(judge_verdict(many.document, [])).why_not
    assert "no approval that counts accepts 30 of its findings" in text
    assert "drop-column:public.t19\n" in text
    assert "drop-column:public.t20" not in text
    assert "and 10 more: `pgrehearse status --json` has them" in text
    assert text.count("--accept '") == 5
    assert "and so on for 25 more" in text


def test_an_odd_name_is_accepted_by_the_command_that_is_told() -> None:
    name = """drop-column:public."it's a=b\""""
    reason = judge_verdict(receipt("loss", findings=[finding("drop-column", name.partition(":")[2])]).document, [])[0]
    words = shlex.split(reason.remedy.partition("pgrehearse ")[2])
    assert words[2:] == ["--accept", f"{name}=REASON"]
    assert Accepted.parse(words[3].replace("REASON", "1 = 1")) == Accepted(finding=name, reason="1 = 1")
