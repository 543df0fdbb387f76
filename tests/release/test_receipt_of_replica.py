"""A receipt whose clone was taken of a replica speaks of the primary that it follows, as the WAL tells `promote`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.applying import wait_until
from tests.support.promoting import folder_of
from tests.support.replication import siblings, start_replicating, start_sibling

from pgrehearse.errors import GateClosed
from pgrehearse.postgres.connect import connect, fetch_value
from pgrehearse.postgres.identity import read_identity
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.promoting import PromoteOptions, Promoting
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release.replica import judge_replica
from pgrehearse.releasing import Releasing

pytestmark = pytest.mark.pg("== 18")
ASKED = "asked by promote alone, last and through the WAL"
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


@pytest.fixture
def primary(server_major: int) -> Iterator[LocalServer]:
    with start_replicating(server_major, log_statement="all") as server:
        with connect(server.conninfo(), verb="test") as session:
            session.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        yield server


@pytest.fixture
def standby_of() -> Iterator[Callable[[LocalServer], LocalServer]]:
    yield from siblings(standby=True)


def catch_up(primary: LocalServer, standby: LocalServer) -> None:
    with connect(primary.conninfo(), verb="test") as here, connect(standby.conninfo(), verb="test") as there:
        lsn = fetch_value(here, "SELECT pg_current_wal_lsn()::text")
        wait_until(lambda: fetch_value(there, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (lsn,)))


def write_wal(server: LocalServer, megabytes: int) -> None:
    with connect(server.conninfo(), verb="test") as session:
        message = "pg_logical_emit_message(false, 'test', repeat('-', 1024 * 1024))"
        session.execute(f"SELECT {message} FROM generate_series(1, %s)", (megabytes,))


@pytest.fixture
def standby(primary: LocalServer, standby_of: Callable[[LocalServer], LocalServer]) -> LocalServer:
    """One that has replayed all."""
    found = standby_of(primary)
    catch_up(primary, found)
    return found


@pytest.fixture
def project_naming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, primary: LocalServer, uat: LocalServer
) -> Callable[[LocalServer | None], Project]:
    """A project of one pending file whose configuration names this standby of production, or none."""
    folder_of(tmp_path, "ALTER TABLE t ADD COLUMN note text;")
    monkeypatch.setenv("PRD_URL", primary.conninfo().text)
    monkeypatch.setenv("UAT_URL", uat.conninfo().text)

    def project_of(named: LocalServer | None) -> Project:
        if named is not None:
            monkeypatch.setenv("RO_URL", named.conninfo().text)
        standbys = "" if named is None else '"RO_URL"'
        (tmp_path / "pgrehearse.toml").write_text(CONFIGURATION.format(standbys=standbys))
        return Project.open(None, start=tmp_path)

    return project_of


def rehearse_on(project: Project, replica: LocalServer) -> Receipt:
    receipt = project.rehearse(RehearsalOptions(source=replica.conninfo().text, target="uat"))
    assert receipt.document["source"]["is_replica"]
    Releasing(project=project).approve(receipt.digest, accept=(), remark="")
    return receipt


def promote(project: Project, receipt: str | None = None, *, to: str | None = None) -> list[str]:
    said: list[str] = []
    options = PromoteOptions(receipt=receipt, to=to)
    Promoting(project=project).promote(options, progress=Silent(), tell=said.append)
    return said


def told_by_gate(project: Project) -> tuple[list[str], list[str]]:
    """Reasons and sentences of `status`."""
    examined = Releasing(project=project).status(project.database("prd"), None, gate=None).examined
    assert examined is not None
    return [reason.message for reason in examined.gate.reasons], list(examined.gate.told)


def handshakes(server: LocalServer) -> int:
    return server.log_path.read_text().count("pgrehearse_handshake ()")


def test_promote_alone_asks_the_primary_whether_the_replica_follows(
    primary: LocalServer, standby: LocalServer, project_naming: Callable[[LocalServer | None], Project]
) -> None:
    project = project_naming(standby)
    rehearse_on(project, standby)
    reasons, told = told_by_gate(project)
    assert reasons == []
    assert any(ASKED in line for line in told)
    assert handshakes(primary) == 0
    said = promote(project)
    assert handshakes(primary) == 1
    assert any(line.startswith("seen in the WAL: ") for line in said)
    with connect(primary.conninfo(), verb="test") as session:
        assert fetch_value(session, "SELECT count(*) FROM t WHERE note IS NULL") == 1
        assert fetch_value(session, "SELECT to_regclass('pg_temp.pgrehearse_handshake') IS NULL")


def test_a_replica_that_nobody_named_stops_without_a_question(
    primary: LocalServer, standby: LocalServer, project_naming: Callable[[LocalServer | None], Project]
) -> None:
    project = project_naming(None)
    receipt = rehearse_on(project, standby)
    with pytest.raises(GateClosed, match="it is not known whether that follows"):
        promote(project, receipt.digest, to="prd")
    assert Releasing(project=project).status(project.database("prd"), None, gate=None).examined is None
    assert handshakes(primary) == 0


def test_a_replica_that_became_the_primary_is_the_database_that_was_cloned(primary: LocalServer) -> None:
    with connect(primary.conninfo(), verb="test") as session:
        identity = read_identity(session)
    source = {"is_replica": True, "address": identity.address}
    assert judge_replica({"source": source}, identity, ()).is_open
    (reason,) = judge_replica({"source": {**source, "address": "there/shop"}}, identity, ()).reasons
    assert f"the replica there/shop, and it is not known whether that follows {identity.address}" in reason.message


def test_a_twin_s_replica_is_known_by_the_wal(
    primary: LocalServer,
    standby_of: Callable[[LocalServer], LocalServer],
    project_naming: Callable[[LocalServer | None], Project],
) -> None:
    with start_sibling(primary, standby=False) as twin:
        replica = standby_of(twin)
        catch_up(twin, replica)
        write_wal(primary, 64)  # the position of the clone in the WAL tells nothing
        project = project_naming(replica)
        rehearse_on(project, replica)
        assert told_by_gate(project)[0] == []
        with pytest.raises(GateClosed, match="the WAL does not tell whether that follows"):
            promote(project, to="prd")
        write_wal(twin, 64)
        catch_up(twin, replica)
        with pytest.raises(GateClosed, match="replays the WAL of another database than"):
            promote(project, to="prd")
    with connect(primary.conninfo(), verb="test") as session:
        assert fetch_value(session, "SELECT count(*) FROM pg_attribute WHERE attname = 'note'") == 0
