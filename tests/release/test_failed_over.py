"""A promotion that goes on where another server, or another machine, has taken over."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.applying import QUICK
from tests.support.promoting import folder_of, rehearse_folder, request_for, run_promotion
from tests.support.replication import start_replicating, start_sibling

from pgrehearse.errors import BackupDamaged, GateClosed, NoWayBack
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.project import Project, utc_now
from pgrehearse.rehearsal.receipt import Receipt, save_receipt
from pgrehearse.release import promote as promoting
from pgrehearse.release import safeguards
from pgrehearse.release.gate import ReasonKind
from pgrehearse.release.history import find_promotion
from pgrehearse.release.lineage import database_key
from pgrehearse.release.promotion import BEGUN, ENDED, read_position
from pgrehearse.release.recoverability import DUMP, Proof
from pgrehearse.release.take_back import TakenBack, take_back
from pgrehearse.release.ways_back import TakeBackRequest
from pgrehearse.releasing import Releasing

pytestmark = pytest.mark.pg("== 18")

SOAK = "PGREHEARSE_SOAK" in os.environ  # make soak
PLAN = "ALTER TABLE t ADD COLUMN note text;"
MORE = "ALTER TABLE t ADD COLUMN more text;"
TABLE = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)"


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[ReleaseLedger]:
    with ReleaseLedger.open(tmp_path / "ledger.db") as opened:
        yield opened


class Backups:
    """Proofs of dumps whose directories are there; the run that made the first one stops behind it."""

    def __init__(self, directory: Path) -> None:
        self.made: list[Path] = []
        self._directory = directory

    def secure(self) -> tuple[Proof, ...]:
        made = self._directory / f"backup-{len(self.made)}"
        made.mkdir()
        self.made.append(made)
        return (Proof(way=DUMP, summary="dump", facts={"backup": made.name, "directory": str(made)}),)

    def stop_first(self, _proofs: object) -> None:
        if len(self.made) == 1:
            raise BackupDamaged("stopped here")


def test_a_backup_that_is_on_another_machine_is_made_again(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(TABLE.encode())
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN)
    request, backups = request_for(database, receipt, source), Backups(tmp_path)
    for _ in range(2):  # the second time the first one's is there, and asked for
        with pytest.raises(BackupDamaged):
            run_promotion(request, releases, secure=backups.secure, require=backups.stop_first)
    assert len(backups.made) == 1
    backups.made[0].rmdir()

    def gone_after_its_proof(_proofs: object) -> None:
        backups.made[-1].rmdir()

    with pytest.raises(BackupDamaged, match=r"backup-1 is not in .* any more"):
        run_promotion(request, releases, secure=backups.secure, require=gone_after_its_proof)
    told: list[str] = []
    promotion = run_promotion(request, releases, secure=backups.secure, require=backups.stop_first, told=told)
    assert f"the backup backup-1 is not in {backups.made[1]} here: another is made" in told
    assert [proof["facts"]["backup"] for proof in promotion.proofs] == ["backup-2"]


def test_what_was_secured_on_another_timeline_is_secured_anew(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    connection.execute(TABLE.encode())
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN)
    request, backups = request_for(database, receipt, source), Backups(tmp_path)
    with monkeypatch.context() as earlier:  # the entries of a run on the server that was lost since
        earlier.setattr(safeguards, "read_position", lambda session: replace(read_position(session), timeline=7))
        with pytest.raises(BackupDamaged):
            run_promotion(request, releases, secure=backups.secure, require=backups.stop_first)
    told: list[str] = []
    done = run_promotion(request, releases, secure=backups.secure, require=backups.stop_first, told=told)
    assert "what was secured on timeline 7 is not what timeline 1 holds: it is secured again" in told
    assert [proof["facts"]["backup"] for proof in done.proofs] == ["backup-1"]


def test_what_a_failover_has_lost_is_not_taken_back_and_keeps_nothing_from_going_back(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    connection.execute(TABLE.encode())
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN)
    first = run_promotion(request_for(database, receipt, source), releases)
    second, more = rehearse_folder(tmp_path, database, uat, PLAN, MORE)
    save_receipt(releases, second, utc_now())
    with monkeypatch.context() as earlier:  # the entries of a run on the server that was lost since
        earlier.setattr(promoting, "read_position", lambda session: replace(read_position(session), timeline=7))
        request = request_for(database, second, more, migrations=more.migrations[1:])
        lost = run_promotion(request, releases)

    def look(id: str, receipt: Receipt, only: str | None = None) -> TakenBack:  # noqa: A002
        promotion = find_promotion(releases, database_key(connection), id)
        migrations = [each for each in more.migrations if each.version in promotion.plan]
        request = TakeBackRequest(
            production=database, migrate=database, promotion=promotion, receipt=receipt, migrations=migrations,
            ledger=source.ledger, directory=tmp_path / "rows", holder="ann", by={}, limits=QUICK, only=only,
        )  # fmt: skip
        return take_back(
            request, releases=releases, now=utc_now, nonce=lambda: "1", progress=Silent(), dry_run=True,
            agree=lambda _: False,
        )  # fmt: skip

    assert look(lost.id, second).type == "lossless"  # what took over has it
    assert look(first.id, receipt).type == "impossible"
    connection.execute("DELETE FROM pgrehearse.migrations WHERE version = '0002_step'; ALTER TABLE t DROP COLUMN more")
    with pytest.raises(
        NoWayBack, match=f"{lost.id} was on timeline 7, .* timeline 1: a failover has lost it"
    ) as refused:
        look(lost.id, second)
    assert f"`pgrehearse rollback {first.id}` takes the one before it back" in refused.value.remedy
    assert look(lost.id, second, only="restore").type == "impossible"  # no dump was taken
    assert look(first.id, receipt).type == "lossless"

    three = folder_of(tmp_path, PLAN, MORE, MORE.replace("more", "most"))
    releasing = Releasing(project=Project.open(None, start=tmp_path))
    at = releasing.project.database(database.text)
    examined = releasing.examine_open(releases, at, second, (three,), connection)
    assert ReasonKind.PROMOTED not in {reason.kind for reason in examined.gate.reasons}
    assert ReasonKind.PLAN in {reason.kind for reason in examined.gate.reasons}

    of_file = Receipt.seal({**second.document, "receipt": {**second.document["receipt"], "source_kind": "ad-hoc"}})
    save_receipt(releases, of_file, utc_now())
    body = releases.entries(kind=BEGUN)[-1].body
    for number, receipt_of in enumerate((of_file.digest, None)):
        plan = [{"version": "fix.sql", "sha256": str(number) * 64}]
        begun = {**body, "receipt": receipt_of, "plan": plan, "timeline": 7}
        releases.append(BEGUN, f"of-a-file-{number}", begun, utc_now())
        releases.append(ENDED, f"of-a-file-{number}", {"outcome": "promoted", "timeline": 7}, utc_now())
        assert look(first.id, receipt).type == "lossless"
    for number in range(2):
        row = ("ad-hoc", "fix.sql", "fix.sql", str(number) * 64)
        connection.execute(
            "INSERT INTO pgrehearse.migrations (kind, version, name, sha256, tool_version) VALUES (%s, %s, %s, %s, '')",
            row,
        )
        found = look(first.id, receipt)
        assert any(f"of-a-file-{number}" in reason for reason in found.ways[0].why_not)


def a_standby_is_refused_and_what_took_over_is_secured_anew(
    uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    """With a server that really fails over."""
    primary = start_replicating(18)
    standby = None
    try:
        production = primary.conninfo()
        with connect(production, verb="test") as session:
            session.execute(TABLE.encode())
        receipt, source = rehearse_folder(tmp_path, production, uat, PLAN)
        standby = start_sibling(primary, standby=True)
        after = request_for(standby.conninfo(), receipt, source)
        with pytest.raises(GateClosed, match="is a standby: nothing can be promoted to it"):
            run_promotion(after, releases)
        assert releases.entries() == ()
        backups = Backups(tmp_path)
        with pytest.raises(BackupDamaged):
            run_promotion(
                request_for(production, receipt, source), releases, secure=backups.secure, require=backups.stop_first
            )
        with connect(standby.conninfo(), verb="test") as session:
            assert fetch_value(session, "SELECT pg_catalog.pg_promote(true, 30)")
        told: list[str] = []
        done = run_promotion(after, releases, secure=backups.secure, require=backups.stop_first, told=told)
        assert "what was secured on timeline 1 is not what timeline 2 holds: it is secured again" in told
        assert [proof["facts"]["backup"] for proof in done.proofs] == ["backup-1"]
        assert len(releases.entries(kind="promotion-begun")) == 1
    finally:
        for server in (standby, primary):
            if server is not None:
                server.wipe()


if SOAK:
    test_a_standby_is_refused_and_what_took_over_is_secured_anew = (
        a_standby_is_refused_and_what_took_over_is_secured_anew
    )
