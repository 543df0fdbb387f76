"""What a gate said yes to, and people, time or another runner have changed before the statements came."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.applying import plan_of
from tests.support.dumps import dump_text
from tests.support.promoting import rehearse_folder, request_for, run_promotion
from tests.support.shop_project import Shop, make_shop

from pgrehearse import releasing as releasing_module
from pgrehearse.errors import ConnectionLost, GateClosed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.segments import Part, PendingFile, Segment, SegmentKind
from pgrehearse.migrations.statements import split_file
from pgrehearse.postgres.connect import Connection, connect, fetch_clock
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.promoting import PromoteOptions, Promoting
from pgrehearse.rehearsal.receipt import find_receipt
from pgrehearse.release import apply_watched as apply_module
from pgrehearse.release import promote as promote_module
from pgrehearse.release import safeguards
from pgrehearse.release.gate import Gate, Reason, ReasonKind
from pgrehearse.release.history import tell_promotions
from pgrehearse.release.recoverability import Proof
from pgrehearse.release.standing import Standing
from pgrehearse.release.still_open import StillOpen
from pgrehearse.releasing import Releasing
from pgrehearse.rollback.image import find_images

pytestmark = pytest.mark.pg("== 18")
IMAGES = """
SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('pgrehearse_quarantine') AND relkind = 'r'
"""


@pytest.fixture
def shop(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    """Rehearsed and approved."""
    shop = make_shop(tmp_path, connection, database, uat)
    configuration = tmp_path / "pgrehearse.toml"
    configuration.write_text(configuration.read_text() + 'policy = "before-images"\n')  # a backup is not the point
    (tmp_path / "db/0002_email.sql").write_text("UPDATE users SET age = age + 1;\n")
    monkeypatch.setenv("PRD_URL", database.as_url())
    monkeypatch.setenv("UAT_URL", shop.uat.as_url())
    project(shop).rehearse(RehearsalOptions(target="uat"))
    approve(shop)
    return shop


def project(shop: Shop) -> Project:
    return Project.open(None, start=shop.folder)


def approve(shop: Shop) -> None:
    Releasing(project=project(shop)).approve(None, accept=["update-all:public.users=agreed"], remark="")


def withdraw(shop: Shop) -> None:
    Releasing(project=project(shop)).withdraw(None, remark="a mistake")


def too_late(shop: Shop) -> str:
    """What a withdrawal is told."""
    with project(shop).releases() as releases:
        (sentence,) = tell_promotions(releases, find_receipt(releases).digest)
    return sentence


def promote(shop: Shop) -> Any:
    return Promoting(project=project(shop)).promote(PromoteOptions(), progress=Silent(), tell=lambda _: None)


def kinds(refused: pytest.ExceptionInfo[GateClosed]) -> list[str]:
    return re.findall(r"^  ([a-z]+): ", str(refused.value), re.MULTILINE)


def applied(shop: Shop) -> list[str]:
    with connect(shop.production, verb="test") as session:
        return [row[0] for row in session.execute("SELECT version FROM pgrehearse.migrations ORDER BY 1")]


def images(shop: Shop) -> list[str]:
    with connect(shop.production, verb="test") as session:
        return [row[0] for row in session.execute(IMAGES)]


def behind_the_copies(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> None:
    """Do it once, when everything is proved and copied."""
    keep, waiting = safeguards.keep_images, [work]

    def kept(*given: Any, **more: Any) -> Any:
        images = keep(*given, **more)
        if waiting:
            waiting.pop()()
        return images

    monkeypatch.setattr(promote_module, "keep_images", kept)


def content(shop: Shop) -> str:
    return dump_text(shop.production, "--exclude-schema=pgrehearse*")


def test_what_ends_behind_the_gate_stops_where_nothing_of_a_file_is_begun(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(shop)

    def age() -> None:
        monkeypatch.setattr(releasing_module, "fetch_clock", lambda session: fetch_clock(session) + timedelta(days=2))

    for end, reasons in ((age, ["age"]), (lambda: withdraw(shop), ["verdict", "approval"])):
        with monkeypatch.context() as patched:
            behind_the_copies(patched, end)
            with pytest.raises(GateClosed) as refused:
                promote(shop)
        monkeypatch.setattr(releasing_module, "fetch_clock", fetch_clock)
        assert kinds(refused) == reasons
        assert (applied(shop), images(shop), content(shop)) == ([], [], before)
    approve(shop)
    ended = apply_module._Commits.transaction_ended

    def between(self: Any, *, committed: bool) -> None:
        ended(self, committed=committed)
        if committed and applied(shop) == ["0001_nick"]:
            withdraw(shop)

    with monkeypatch.context() as patched:
        patched.setattr(apply_module._Commits, "transaction_ended", between)
        with pytest.raises(GateClosed, match="what is applied stays, and nothing more is begun") as refused:
            promote(shop)
    assert kinds(refused) == ["verdict", "approval"]
    assert "pgrehearse resume" in refused.value.remedy
    assert applied(shop) == ["0001_nick"]
    assert "has not ended: what is applied stays" in too_late(shop)
    approve(shop)
    assert promote(shop).applied == ("0002_email",)
    with project(shop).releases() as releases:
        ends = [entry.body["outcome"] for entry in releases.entries(kind="promotion-ended")]
    assert ends == ["refused", "refused", "promoted"]
    assert re.fullmatch("it was promoted already: `pgrehearse rollback .*` takes that back", too_late(shop))


def test_a_plan_that_another_ledgers_promotion_applied_meanwhile_is_not_called_promoted(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    receipt, source = rehearse_folder(tmp_path, database, uat, "DELETE FROM t WHERE id = 1;")
    request = request_for(database, receipt, source)
    with ReleaseLedger.open(tmp_path / "one.db") as one, ReleaseLedger.open(tmp_path / "two.db") as two:

        def meanwhile() -> tuple[Proof, ...]:
            assert run_promotion(request, two).applied == ("0001_step",)
            return ()

        with pytest.raises(GateClosed, match="somebody else has applied a part of the plan"):
            run_promotion(request, one, secure=meanwhile)
        (end,) = one.entries(kind="promotion-ended")
        assert end.body["outcome"] == "refused"
        begun = [entry.subject for ledger in (one, two) for entry in ledger.entries(kind="promotion-begun")]
    with connect(database, verb="test") as session:
        assert session.execute("SELECT id FROM t").fetchall() == [(2,)]
        assert [find_images(session, id=each) != () for each in begun] == [False, True]


def withdrawn() -> Gate:
    return Gate.of([Reason(kind=ReasonKind.APPROVAL, message="approved by 0 of 1 people", remedy="pgrehearse approve")])


def test_a_file_that_begins_outside_a_transaction_is_not_half_way_where_it_was_stopped(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute("CREATE TABLE t (id int)")
    texts = ("CREATE TABLE u (id int);", "CREATE INDEX CONCURRENTLY t_id ON t (id);")
    receipt, source = rehearse_folder(tmp_path, database, uat, *texts)
    request = request_for(database, receipt, source)
    answers = [Gate(), withdrawn()]
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        told: list[str] = []
        with pytest.raises(GateClosed, match="what is applied stays, and nothing more is begun"):
            run_promotion(request, releases, approved=lambda: answers.pop(0), told=told)
        assert told[-1] == "applied and kept: 0001_step"  # and nothing is half-way, which would be finished unasked
        with pytest.raises(GateClosed):
            run_promotion(request, releases, rest=withdrawn)
        assert connection.execute("SELECT to_regclass('t_id')").fetchone() == (None,)
        assert run_promotion(request, releases).applied == ("0002_step",)


def test_a_transaction_that_ends_one_file_and_begins_another_is_asked_about() -> None:
    first, second = plan_of("CREATE INDEX CONCURRENTLY i ON t (id); SELECT 1;", "DELETE FROM t;").migrations
    files = [
        PendingFile(migration=each, statements=split_file(each.content, path=each.path, kind=each.kind))
        for each in (first, second)
    ]
    joined = Segment(
        kind=SegmentKind.TRANSACTION,
        parts=(
            Part(file=files[0], statements=files[0].statements[1:], statements_done=2),
            Part(file=files[1], statements=files[1].statements, statements_done=1),
        ),
    )
    run: Any = SimpleNamespace(around=SimpleNamespace(approved=withdrawn))
    for half, refuses in (((), True), ((second.version,), False)):
        still_open = StillOpen(run, Standing(applied=(), half=half), may_be_ours=False)
        with pytest.raises(GateClosed) if refuses else nullcontext():
            still_open.transaction_begun(run, joined)


def test_a_commit_of_an_earlier_run_that_comes_late_is_gone_on_with(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    receipt, source = rehearse_folder(tmp_path, database, uat, "DELETE FROM t WHERE id = 1;")
    request = request_for(database, receipt, source)

    def lost(*_given: Any, **_more: Any) -> None:
        raise ConnectionLost("the answer did not come")

    def look(verb: str = "late") -> Connection:
        return connect(database, verb=verb)

    def late() -> None:
        apply(
            look, Plan.of(request.migrations), ledger=request.ledger,
            mode=request.mode, limits=request.limits,
        )  # fmt: skip

    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with monkeypatch.context() as patched:
            patched.setattr(apply_module, "apply", lost)
            with pytest.raises(ConnectionLost):
                run_promotion(request, releases)
        behind_the_copies(monkeypatch, late)
        assert run_promotion(request, releases).already_applied == ("0001_step",)
        assert [entry.body["outcome"] for entry in releases.entries(kind="promotion-ended")] == ["promoted"]
        (begun,) = releases.entries(kind="promotion-begun")
    assert find_images(connection, id=begun.subject) != ()
