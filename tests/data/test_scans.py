"""Big tables are read in parts: every row once, with a word on how far it is, and no further when told to stop."""

import os
import signal
import threading
from typing import Any

import pytest

from pgrehearse.data import scans
from pgrehearse.data.fingerprint import Side
from pgrehearse.data.proof import Proof
from pgrehearse.postgres.connect import connect

pytestmark = pytest.mark.pg("== 18")

Twins = Any  # tests/data/conftest.py
BIG = (
    "CREATE TABLE big (id int PRIMARY KEY, v text);"
    " INSERT INTO big SELECT i, repeat('x', 500) FROM generate_series(1, 5000) i"
)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "PART_BYTES", 30 * 8192)  # no divisor of the table's size


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("proof", list(Proof))
def test_parts_hold_every_row_once(twins: Twins, proof: Proof) -> None:
    twins.given(BIG)
    twins.migrate("DELETE FROM big WHERE id = (SELECT max(id) FROM big)")
    told: list[tuple[str, int, int]] = []
    compared = twins.compare(proof=proof, progress=lambda what, done, total: told.append((what, done, total)))
    (table,) = compared.tables
    rows = [twins.ask(side, "SELECT count(*) FROM big")[0][0] for side in ("pristine", "clone")]
    assert [table.rows_before, table.rows_after] == rows == [5000, 4999]
    assert table.rows_lost == 1
    parts = [what for what, done, _ in told if what.startswith("public.big, ")]
    assert len(parts) >= 10
    assert told[-1] == ("public.big", 1, 1)
    assert {(done, total) for what, done, total in told if what in parts} == {(0, 1)}


@pytest.mark.usefixtures("small_parts")
def test_equal_tables_read_in_parts_are_equal_whatever_block_a_row_stands_in(twins: Twins) -> None:
    twins.given(BIG)
    twins.migrate("UPDATE big SET v = v WHERE id % 3 = 0", "VACUUM FULL big")
    (table,) = twins.compare().tables
    assert table.proof is not None
    assert (table.verdict.value, table.proof.how.value, table.rows_after) == ("unchanged", "fingerprint", 5000)


SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = ANY (%s) AND application_name = 'pgrehearse:test'"


@pytest.mark.usefixtures("small_parts")
def test_ctrl_c_ends_every_scan_and_session(twins: Twins) -> None:
    """The clone's table is locked, so that its scans cannot end by themselves."""
    twins.given(BIG)
    twins.migrate("UPDATE big SET v = 'y' WHERE id = 1")
    server, both = twins.server, [twins.pristine, twins.clone]
    waiting = (
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT granted AND datname = %s"
    )
    with connect(server.conninfo(twins.clone), verb="holder") as holder, connect(server.conninfo(), verb="eye") as eye:
        holder.execute("BEGIN; LOCK TABLE big")
        ended = threading.Event()

        def interrupt() -> None:
            while not ended.is_set():
                found = eye.execute(waiting, (twins.clone,)).fetchone()
                if found and found[0]:
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                ended.wait(0.02)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                twins.compare()
        finally:
            ended.set()
            thread.join()
        left = 1
        while left:  # a session that was closed takes a moment to end; the lock is still held, so it was cancelled
            found = eye.execute(SESSIONS, (both,)).fetchone()
            assert found is not None
            left = found[0]


def test_a_scan_that_is_stopped_before_it_began_does_not_begin(twins: Twins) -> None:
    twins.given(BIG)
    twins.migrate()
    found = scans.Scans(
        lambda: twins.session(twins.pristine), lambda: twins.session(twins.clone), jobs=1, told=lambda *_: None
    )
    try:
        found.stop()
        with pytest.raises(Exception, match=r"stopped|shutdown"):
            found.session(Side.BEFORE)
    finally:
        found.close()
