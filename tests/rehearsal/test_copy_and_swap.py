"""A table that a copy takes the place of: no loss, and nobody sees that it was away; unless somebody does."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.rehearsing import Rehearse, reasons, rehearsing_on

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo

SHOP = """
CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL);
INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 200) n;
"""
SWAP = """
CREATE TABLE t2 (LIKE t INCLUDING ALL);
INSERT INTO t2 SELECT * FROM t{where};
DROP TABLE t;
ALTER TABLE t2 RENAME TO t;
ALTER INDEX t2_pkey RENAME TO t_pkey;
"""


@pytest.fixture
def rehearse(tmp_path: Path, database: Conninfo, connection: Connection) -> Rehearse:
    connection.execute(SHOP.encode())
    return rehearsing_on(database, tmp_path)


def _told_of_drop(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["level"], each["evidence"]) for each in document["findings"] if each["hazard"] == "drop-table"]


@pytest.mark.pg("== 18")
def test_a_whole_copy_in_one_transaction_is_no_hazard(rehearse: Rehearse) -> None:
    document = rehearse(SWAP.format(where=""), transaction="file")
    assert document["verdict"] == "clean", reasons(document)
    assert _told_of_drop(document) == [("info", "disproved")]
    assert document["schema"]["changes"] == []


@pytest.mark.pg("== 18")
def test_a_row_left_behind_is_a_loss(rehearse: Rehearse) -> None:
    document = rehearse(SWAP.format(where=" WHERE id <> 7"), transaction="file")
    assert document["verdict"] == "loss", reasons(document)
    assert _told_of_drop(document) == [("error", "confirmed")]


@pytest.mark.pg("== 18")
def test_a_table_that_is_away_between_two_transactions_breaks_whoever_names_it(rehearse: Rehearse) -> None:
    document = rehearse(SWAP.format(where=""), transaction="statement")
    assert document["verdict"] == "hazard", reasons(document)
    assert _told_of_drop(document) == [("error", "predicted")]
