"""What a killed run left behind holds drizzle's ledger too: `--end-orphan` must come before the ledger is read."""

import json
import threading
import time
from pathlib import Path

import psycopg
import pytest

from pgrehearse.errors import LedgerUnreadable
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.migrate import migrate
from pgrehearse.migrations.runner_lock import share_work
from pgrehearse.migrations.sources.find import open_source
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"


@pytest.mark.pg(">= 15")
def test_an_orphan_that_holds_the_ledger_is_ended_when_asked(
    connection: Connection, database: Conninfo, tmp_path: Path
) -> None:
    (tmp_path / "meta").mkdir()
    entries = [{"idx": 0, "version": "7", "when": 1000, "tag": "0000_a", "breakpoints": True}]
    (tmp_path / "meta/_journal.json").write_text(json.dumps({"dialect": "postgresql", "entries": entries}))
    (tmp_path / "0000_a.sql").write_text("CREATE TABLE a (id int);")
    source = open_source(tmp_path, display="drizzle")
    source.ledger.create(connection)

    ended: list[BaseException] = []

    def orphan() -> None:
        session = connect(database, verb="migrate")
        share_work(session)
        session.execute("BEGIN")
        source.ledger.lock(session)
        try:
            session.execute("SELECT pg_sleep(600)")
        except psycopg.errors.AdminShutdown as error:
            ended.append(error)
        session.close()

    thread = threading.Thread(target=orphan)
    thread.start()
    deadline = time.monotonic() + 120
    while connection.execute(SLEEPING).fetchone() != (1,):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    told: list[str] = []
    with pytest.raises(LedgerUnreadable):
        migrate(database, source, protected=(), limits=Limits(wait_s=0.3), tell=told.append)
    assert any("waiting" in line for line in told)
    migrate(database, source, protected=(), limits=Limits(wait_s=120), end_orphan=True, tell=told.append)
    thread.join(120)
    assert len(ended) == 1
    assert any("ending pid" in line for line in told)
    assert connection.execute("SELECT count(*) FROM drizzle.__drizzle_migrations").fetchone() == (1,)
