"""A row that is gone is the application's doing only where every promotion since the backup is known to delete none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.release.test_tolerated_rows import LATE, PLAN, SHOP
from tests.support.promoting import LEDGER, folder_of, rehearse_folder, request_for, run_promotion

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import utc_now
from pgrehearse.rehearsal.receipt import Receipt, save_receipt
from pgrehearse.release.history import find_promotion
from pgrehearse.release.lineage import database_key
from pgrehearse.release.promoted_since import find_promoted_since
from pgrehearse.release.restore.differing_rows import find_differing_rows
from pgrehearse.release.restore.migration_transactions import OWN, find_migration_transactions
from pgrehearse.release.restore.written_files import By, Change

pytestmark = pytest.mark.pg("== 18")
CopyOf = Callable[[Conninfo], Conninfo]
Counts = dict[tuple[str, By], tuple[int, ...]]


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[ReleaseLedger]:
    with ReleaseLedger.open(tmp_path / "ledger.db") as found:
        yield found


def told_apart(
    database: Conninfo, restored: Conninfo, releases: ReleaseLedger, promotion: str, home: Path, receipt: Receipt | None
) -> Counts:
    """Inserts, updates and deletes of each table, by whose they are."""
    with connect(database, verb="test") as failed, connect(restored, verb="test") as before:
        record = find_promotion(releases, database_key(failed), promotion)
        known = find_promoted_since(releases, record, receipt, ledgers=(OWN,))
        found = find_differing_rows(
            failed,
            before,
            directory=home / "rows",
            touched=known.touched,
            transactions=find_migration_transactions(failed, before, (OWN,)),
            unrehearsed=known.unrehearsed,
            ignore_relations=frozenset({LEDGER}),
        )
    return {
        (table.name, by): counts
        for table in found.tables
        for by in By
        if any(counts := tuple(table.count(by, change) for change in (Change.INSERT, Change.UPDATE, Change.DELETE)))
    }


def test_of_what_nobody_rehearsed_nothing_is_called_the_applications(
    database: Conninfo, connection: Connection, restored_from: CopyOf, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP)
    restored = restored_from(database)
    fix = "DELETE FROM t WHERE id <= 40; UPDATE t SET v = 'broken' WHERE id BETWEEN 41 AND 50;"
    request = request_for(database, None, folder_of(tmp_path, fix), unrehearsed="an emergency")  # type: ignore[arg-type]
    promotion = run_promotion(request, releases)
    connection.execute("INSERT INTO t VALUES (900, 'late', 900)")
    assert told_apart(database, restored, releases, promotion.id, tmp_path, None) == {
        ("public.t", By.UNCLEAR): (1, 10, 40)
    }


def test_what_a_later_promotion_did_is_not_called_the_applications(
    database: Conninfo, connection: Connection, uat: LocalServer, restored_from: CopyOf, tmp_path: Path,
    releases: ReleaseLedger,
) -> None:  # fmt: skip
    connection.execute(SHOP)
    connection.execute("""
        CREATE TABLE s (id int PRIMARY KEY, v text, w int);
        INSERT INTO s SELECT n, 's', 0 FROM generate_series(1, 50) n;
        CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u SELECT generate_series(1, 9);
    """)
    restored = restored_from(database)
    texts = (
        "UPDATE t SET v = 'new' WHERE id <= 5; ALTER TABLE s RENAME TO s2; ALTER TABLE s2 RENAME v TO word;",
        "DELETE FROM s2 WHERE id <= 20; UPDATE s2 SET word = 'later' WHERE id > 40;",
    )
    first_receipt, source = rehearse_folder(tmp_path, database, uat, texts[0])
    first = run_promotion(request_for(database, first_receipt, source), releases)
    receipt, source = rehearse_folder(tmp_path, database, uat, *texts)
    save_receipt(releases, receipt, utc_now())
    run_promotion(request_for(database, receipt, source, migrations=source.migrations[1:]), releases)
    connection.execute("DELETE FROM u WHERE id > 6; UPDATE s2 SET w = 1 WHERE id = 30; DELETE FROM s2 WHERE id = 31")
    assert told_apart(database, restored, releases, first.id, tmp_path, first_receipt) == {
        ("public.t", By.MIGRATION): (0, 5, 0),
        ("public.s", By.MIGRATION): (0, 10, 0),
        ("public.s", By.APPLICATION): (0, 1, 0),
        ("public.s", By.UNCLEAR): (0, 0, 21),
        ("public.u", By.APPLICATION): (0, 0, 3),  # neither deletes there
    }


def test_rows_that_a_declaration_let_go_are_not_called_the_applications(
    database: Conninfo, connection: Connection, uat: LocalServer, restored_from: CopyOf, tmp_path: Path,
    releases: ReleaseLedger,
) -> None:  # fmt: skip
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN)
    connection.execute(LATE)
    restored = restored_from(database)
    promotion = run_promotion(request_for(database, receipt, source, take_images=False), releases)
    found = told_apart(database, restored, releases, promotion.id, tmp_path, receipt)
    assert found == {
        ("public.t", By.MIGRATION): (0, 6, 0),
        ("public.t", By.UNCLEAR): (0, 0, 5),
        ("public.c", By.UNCLEAR): (0, 0, 5),
        ("public.arch", By.MIGRATION): (5, 0, 0),
    }
