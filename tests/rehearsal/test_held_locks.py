"""What others would wait for: locks that outlast the statement that took them."""

from pathlib import Path

import pytest
from tests.rehearsal.test_rehearse import run

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg("== 18")
LONG = "SELECT pg_catalog.pg_sleep(1.1);"


def rehearse(directory: Path, source: Conninfo, uat: LocalServer, *files: str, mode: str) -> tuple[str, list[str]]:
    paths = tuple(directory / f"{number}.sql" for number in range(len(files)))
    for path, text in zip(paths, files, strict=True):
        path.write_text(text, encoding="utf-8")
    document = run(directory, source, uat.conninfo(), files=paths, transaction=mode, way_back=False).document
    held = [finding for finding in document["findings"] if finding["hazard"] == "lock-held"]
    assert all(finding["measured"]["held_ms"] >= 1000 for finding in held)
    return document["verdict"], sorted(
        f"{each['relation']} {each['measured']['mode']} {each['level']}" for each in held
    )


def test_a_lock_is_held_until_its_transaction_ends(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute("CREATE TABLE t (id int); CREATE TABLE u (id int); CREATE TABLE calm (id int)")
    add, lock = "ALTER TABLE t ADD x int;", "LOCK TABLE u IN SHARE MODE;"
    calm = "COMMENT ON TABLE calm IS 'weak lock';"
    assert rehearse(tmp_path, database, uat, add + calm + LONG, lock + LONG, mode="file") == (
        "hazard",
        ["public.t AccessExclusiveLock error", "public.u ShareLock error"],
    )
    assert rehearse(tmp_path, database, uat, add, LONG, mode="plan") == (
        "hazard",
        ["public.t AccessExclusiveLock error"],
    )
    assert rehearse(tmp_path, database, uat, add, LONG, mode="file") == ("clean", [])


def test_productions_own_statement_timeout_holds_on_the_clone(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute(
        "DO $$ BEGIN EXECUTE pg_catalog.format('ALTER DATABASE %I SET statement_timeout = ''300ms''', "
        "pg_catalog.current_database()); END $$"
    )
    file = tmp_path / "slow.sql"
    file.write_text(LONG, encoding="utf-8")
    document = run(tmp_path, database, uat.conninfo(), files=(file,)).document
    assert document["verdict"] == "failed"
    assert document["statements"][-1]["error"]["sqlstate"] == "57014"
