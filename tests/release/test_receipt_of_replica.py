"""A receipt whose clone was taken of a replica speaks of the primary that it follows, as the WAL tells `promote`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.applying import wait_until
from tests.support.poolers import PGBOUNCER, pgbouncer
from tests.support.promoting import folder_of
from tests.support.replication import siblings, start_replicating, start_sibling

from pgrehearse.errors import GateClosed
from pgrehearse.postgres.connect import connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.promoting import PromoteOptions, Promoting
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release.replica import judge_replica
from pgrehearse.releasing import Examined, Releasing

pytestmark = pytest.mark.pg("== 18")
ASKED = "asked by promote alone, last and through the WAL"
SEEN = "seen in the WAL: "
CONFIGURATION = """
[environments.prd]
url_env = "PRD_URL"
protected = true
standby_url_envs = [{standbys}]
recoverability = "before-images"
[environments.uat]
url_env = "UAT_URL"
[migrations]
path = "db"
"""
STRICT = "ignore_startup_parameters = extra_float_digits\n"  # no `options`
Naming = Callable[[Conninfo | None], Project]


@pytest.fixture
def primary(server_major: int) -> Iterator[LocalServer]:
    with start_replicating(server_major, log_statement="all") as server:
        with connect(server.conninfo(), verb="test") as session:
            session.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        yield server


@pytest.fixture
def standby_of() -> Iterator[Callable[[LocalServer], LocalServer]]:
    yield from siblings(standby=True)


@pytest.fixture
def standby(primary: LocalServer, standby_of: Callable[[LocalServer], LocalServer]) -> LocalServer:
    """One that has replayed all."""
    found = standby_of(primary)
    catch_up(primary, found)
    return found


@pytest.fixture
def project_naming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, primary: LocalServer, uat: LocalServer) -> Naming:
    """A project of one pending file whose configuration names this standby of production, or none."""
    folder_of(tmp_path, "ALTER TABLE t ADD COLUMN note text;")
    monkeypatch.setenv("PRD_URL", primary.conninfo().text)
    monkeypatch.setenv("UAT_URL", uat.conninfo().text)

    def project_of(named: Conninfo | None) -> Project:
        if named is not None:
            monkeypatch.setenv("RO_URL", named.text)
        standbys = "" if named is None else '"RO_URL"'
        (tmp_path / "pgrehearse.toml").write_text(CONFIGURATION.format(standbys=standbys))
        return Project.open(None, start=tmp_path)

    return project_of


def catch_up(primary: LocalServer, standby: LocalServer) -> None:
    with connect(primary.conninfo(), verb="test") as here, connect(standby.conninfo(), verb="test") as there:
        lsn = fetch_value(here, "SELECT pg_current_wal_lsn()::text")
        wait_until(lambda: fetch_value(there, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (lsn,)))


def write_wal(server: LocalServer, megabytes: int) -> None:
    with connect(server.conninfo(), verb="test") as session:
        message = "pg_logical_emit_message(false, 'test', repeat('-', 1024 * 1024))"
        session.execute(f"SELECT {message} FROM generate_series(1, %s)".encode(), (megabytes,))


def rehearse_on(project: Project, replica: Conninfo) -> Receipt:
    receipt = project.rehearse(RehearsalOptions(source=replica.text, target="uat"))
    assert receipt.document["source"]["is_replica"]
    Releasing(project=project).approve(receipt.digest, accept=(), remark="")
    return receipt


def promote(project: Project, receipt: str | None = None) -> list[str]:
    said: list[str] = []
    options = PromoteOptions(receipt=receipt, to="prd")
    Promoting(project=project).promote(options, progress=Silent(), tell=said.append)
    return said


def examined(project: Project) -> Examined | None:
    return Releasing(project=project).status(project.database("prd"), None, gate=None).examined


def handshakes(server: LocalServer) -> int:
    return server.log_path.read_text().count("CREATE TEMPORARY TABLE pgrehearse_handshake ()")


def columns_of_t(server: LocalServer) -> list[str]:
    with connect(server.conninfo(), verb="test") as session:
        found = session.execute("SELECT attname::text FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0")
        return [name for (name,) in found]


def test_promote_alone_asks_the_primary_whether_the_replica_follows(
    primary: LocalServer, standby: LocalServer, project_naming: Naming
) -> None:
    project = project_naming(standby.conninfo())
    rehearse_on(project, standby.conninfo())
    found = examined(project)
    assert found is not None
    assert found.gate.is_open
    assert any(ASKED in line for line in found.gate.told)
    assert handshakes(primary) == 0
    said = promote(project)
    assert handshakes(primary) == 1
    assert any(line.startswith(SEEN) for line in said)
    assert not any(ASKED in line for line in said)
    assert columns_of_t(primary) == ["id", "note"]
    with connect(primary.conninfo(), verb="test") as session:
        assert fetch_value(session, "SELECT count(*) FROM pg_class WHERE relname = 'pgrehearse_handshake'") == 0


def test_a_replica_that_nobody_named_stops_without_a_question(
    primary: LocalServer, standby: LocalServer, project_naming: Naming
) -> None:
    project = project_naming(None)
    receipt = rehearse_on(project, standby.conninfo())
    with pytest.raises(GateClosed, match="it is not known whether that follows"):
        promote(project, receipt.digest)
    assert examined(project) is None
    assert handshakes(primary) == 0


def test_a_replica_that_became_the_primary_is_the_database_that_was_cloned(
    primary: LocalServer, standby: LocalServer, project_naming: Naming, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_naming(None)
    receipt = rehearse_on(project, standby.conninfo())
    with connect(standby.conninfo(), verb="test") as session:
        session.execute("SELECT pg_promote()")
    monkeypatch.setenv("PRD_URL", standby.conninfo().text)
    promote(project, receipt.digest)
    assert columns_of_t(standby) == ["id", "note"]
    assert columns_of_t(primary) == ["id"]


def test_another_server_at_the_address_that_was_cloned_is_not_asked(
    primary: LocalServer, standby: LocalServer, project_naming: Naming
) -> None:
    """As where an address leads to another server since: a tunnel, a name, a replica that was built anew."""
    project = project_naming(standby.conninfo())
    receipt = rehearse_on(project, standby.conninfo())
    standby.stop()
    standby.start({**standby._settings})
    catch_up(primary, standby)
    found = examined(project)
    assert found is not None
    (reason,) = found.gate.reasons
    assert reason.kind.value == "identity"
    assert "not the server that was cloned, or it was restarted since" in reason.details[0]
    with pytest.raises(GateClosed, match="it is not known whether that follows"):
        promote(project, receipt.digest)
    assert handshakes(primary) == 0


def test_a_twin_s_replica_is_known_by_the_wal(
    primary: LocalServer, standby_of: Callable[[LocalServer], LocalServer], project_naming: Naming
) -> None:
    with start_sibling(primary, standby=False) as twin:
        replica = standby_of(twin)
        catch_up(twin, replica)
        write_wal(primary, 64)  # the position of the clone in the WAL tells nothing
        project = project_naming(replica.conninfo())
        rehearse_on(project, replica.conninfo())
        with pytest.raises(GateClosed, match="the WAL does not tell"):
            promote(project)
        write_wal(twin, 96)
        catch_up(twin, replica)
        with pytest.raises(GateClosed, match="it replays the WAL of another database"):
            promote(project)
    assert columns_of_t(primary) == ["id"]


def test_the_receipt_of_a_standby_is_found_behind_a_newer_one_of_a_twin_s(
    primary: LocalServer,
    standby: LocalServer,
    standby_of: Callable[[LocalServer], LocalServer],
    project_naming: Naming,
) -> None:
    project = project_naming(standby.conninfo())
    ours = rehearse_on(project, standby.conninfo())
    with start_sibling(primary, standby=False) as twin:
        replica = standby_of(twin)
        catch_up(twin, replica)
        rehearse_on(project, replica.conninfo())
        found = examined(project)
        assert found is not None
        assert found.receipt.digest == ours.digest


@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
def test_production_may_lie_behind_a_pooler_that_keeps_sessions(
    primary: LocalServer, standby: LocalServer, project_naming: Naming, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_naming(standby.conninfo())
    receipt = rehearse_on(project, standby.conninfo())
    with pgbouncer(primary, pool_mode="session", pool_size=20, settings=STRICT) as pooled:
        monkeypatch.setenv("PRD_URL", pooled.text)
        assert any(line.startswith(SEEN) for line in promote(project, receipt.digest))


def test_why_the_wal_cannot_be_asked_is_said(
    primary: LocalServer, standby: LocalServer, project_naming: Naming
) -> None:
    document = rehearse_on(project_naming(None), standby.conninfo()).document
    with connect(primary.conninfo(), verb="test") as session:
        session.execute("CREATE ROLE plain LOGIN PASSWORD 'p'; REVOKE TEMPORARY ON DATABASE postgres FROM public")
    catch_up(primary, standby)
    nobody = standby.conninfo().replaced(host="/nowhere")

    def why_not(production: Conninfo, *standbys: Conninfo) -> tuple[str, ...]:
        (reason,) = judge_replica(document, production, standbys, asks_wal=True).reasons
        return reason.details

    (unreachable,) = why_not(primary.conninfo(), nobody)
    assert "/nowhere" in unreachable
    (refused,) = why_not(primary.conninfo().replaced(user="plain", password="p"), standby.conninfo())
    assert "permission denied to create temporary tables" in refused
    with connect(standby.conninfo(), verb="test") as there:
        there.execute("SELECT pg_wal_replay_pause()")
        wait_until(lambda: fetch_value(there, "SELECT pg_get_wal_replay_pause_state() = 'paused'"))
        (paused,) = why_not(primary.conninfo(), standby.conninfo())
        assert "it has not replayed what was written for that" in paused
        there.execute("SELECT pg_wal_replay_resume()")
    assert judge_replica(document, primary.conninfo(), [nobody, standby.conninfo()], asks_wal=True).is_open
