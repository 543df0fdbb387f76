"""The fence keeps others from writing until the promotion has ended, however it ends, and is never forgotten."""

from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from tests.support.promoting import rehearse_folder, request_for, run_promotion

from pgrehearse.errors import PgRehearseError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.gate import Gate, Reason, ReasonKind
from pgrehearse.release.recoverability import Proof
from pgrehearse.release.write_fence import find_standing

SETTINGS = (
    "SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = %s)"
)
READ_ONLY = "default_transaction_read_only"
PLAN = "ALTER TABLE t ADD COLUMN w int;"
WRITE = "INSERT INTO t SELECT max(id) + 1 FROM t"


class KilledError(BaseException):
    """Stands for SIGKILL where nothing may run any more."""


def settings(database: Conninfo) -> list[str]:
    with connect(database, verb="test") as session:
        rows = session.execute(SETTINGS, (database.database,)).fetchall()
    return [setting for (config,) in rows for setting in config]


@pytest.mark.pg(">= 15")
def test_others_only_read_until_the_promotion_has_ended(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    connection.execute(f"ALTER DATABASE {database.database} SET default_transaction_read_only = 'off'")
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN)
    here, free, bound = (f"{database.database}_{name}" for name in ("here", "free", "bound"))
    connection.execute(
        f"CREATE ROLE {here} LOGIN; ALTER ROLE {here} IN DATABASE {database.database} SET {READ_ONLY} = no;"
        f"CREATE ROLE {free} LOGIN; ALTER ROLE {free} SET {READ_ONLY} = off;"
        f"CREATE ROLE {bound} LOGIN; ALTER ROLE {bound} SET {READ_ONLY} = off;"
        f"ALTER ROLE {bound} IN DATABASE {database.database} SET {READ_ONLY} = on"
    )
    application = connect(database, verb="test").execute("SET application_name = 'shop'").connection
    seen: list[str] = []

    def secure() -> tuple[Proof, ...]:
        with pytest.raises(psycopg.OperationalError):  # its session was ended
            application.execute(WRITE.encode())
        with connect(database, verb="test") as again:
            seen.append(fetch_value(again, "SELECT count(*)::text FROM t"))
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                again.execute(WRITE.encode())
        return ()

    told: list[str] = []
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        promotion = run_promotion(
            request_for(database, receipt, source, fence=True), releases, secure=secure, told=told
        )
        assert promotion.applied == ("0001_step",)
        assert promotion.writes["tables"] == []
        assert find_standing(releases, "any") is None
    connection.execute(f"DROP ROLE {here}; DROP ROLE {free}; DROP ROLE {bound}")
    assert seen == ["1"]
    assert "the fence is lifted" in told
    (not_stopped,) = (line for line in told if line.startswith("the fence does not stop"))
    assert not_stopped.startswith(f"the fence does not stop {free}, {here}: ")
    assert settings(database) == ["default_transaction_read_only=off"]  # what stood there before
    with connect(database, verb="test") as again:
        again.execute(WRITE.encode())


@pytest.mark.pg(">= 15")
def test_a_fence_that_a_killed_run_left_is_lifted_by_the_next(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN)

    def die(*_: object) -> NoReturn:
        raise KilledError

    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with monkeypatch.context() as patched:
            patched.setattr("pgrehearse.release.write_fence.lift", die)
            with pytest.raises(KilledError):
                run_promotion(request_for(database, receipt, source, fence=True), releases, secure=die)
        assert settings(database) == ["default_transaction_read_only=on"]
        closed = Gate.of([Reason(kind=ReasonKind.AGE, message="too old", remedy="Again.")])
        with pytest.raises(PgRehearseError, match="too old"):
            run_promotion(request_for(database, receipt, source), releases, gate=lambda: closed)
        assert settings(database) == []
        run_promotion(request_for(database, receipt, source), releases)
    assert settings(database) == []


@pytest.mark.pg(">= 15")
def test_without_the_right_to_it_nothing_is_done(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    role = f"{database.database}_app"
    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT ALL ON SCHEMA public TO {role}")
    connection.execute(f"GRANT CREATE ON DATABASE {database.database} TO {role}")
    theirs = database.replaced(user=role, password="x")
    with connect(theirs, verb="test") as session:
        session.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with connect(uat.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN")
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN)
    with (
        ReleaseLedger.open(tmp_path / "ledger.db") as releases,
        pytest.raises(PgRehearseError, match="cannot be put up"),
    ):
        run_promotion(request_for(theirs, receipt, source, fence=True), releases)
    assert settings(database) == []
    assert fetch_value(connection, "SELECT count(*) FROM information_schema.columns WHERE table_name = 't'") == 1
