"""What a gate said yes to, and people, time or another runner have changed before the statements came."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.dumps import dump_text
from tests.support.promoting import rehearse_folder, request_for, run_promotion
from tests.support.shop_project import Shop, make_shop

from pgrehearse import releasing as releasing_module
from pgrehearse.errors import GateClosed
from pgrehearse.ledger import ReleaseLedger
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
from pgrehearse.release.history import tell_promotions
from pgrehearse.release.recoverability import Proof
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
