"""Tables of many columns: what is asked of the server grows with their number, not with its square or its power."""

import os
from typing import Any

import pytest

from pgrehearse.data import row_stream, table_loss
from pgrehearse.data.verdicts import TableLoss

Twins = Any  # tests/data/conftest.py
SOAK = "PGREHEARSE_SOAK" in os.environ


def of(tables: tuple[TableLoss, ...], name: str) -> TableLoss:
    return next(table for table in tables if table.name == f"public.{name}")


def hurt(table: TableLoss) -> dict[str, tuple[int | None, int | None]]:
    return {column.name: (column.values_changed, column.values_lost) for column in table.columns if column.lost}


def columns(count: int, kind: str) -> str:
    return ", ".join(f"c{number} {kind}" for number in range(count))


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("fields", [row_stream.MOST_FIELDS, 20])
def test_sixty_columns_that_may_be_null(twins: Twins, monkeypatch: pytest.MonkeyPatch, fields: int) -> None:
    """By ranges, row by row, without a key, and as rows moved; each also with all hashes of a row in one array."""
    monkeypatch.setattr(table_loss, "WORTH_RANGES_BYTES", 0)
    monkeypatch.setattr(row_stream, "MOST_FIELDS", fields)
    twins.given(
        f"""CREATE TABLE ranges (id int PRIMARY KEY, {columns(60, "date DEFAULT '2020-01-01'")});
        INSERT INTO ranges (id) SELECT generate_series(1, 3000); CREATE TABLE rows (LIKE ranges INCLUDING ALL);
        INSERT INTO rows (id, c0) SELECT i, date '2020-01-01' + i FROM generate_series(1, 60) i;
        CREATE TABLE keyless (LIKE ranges INCLUDING DEFAULTS); INSERT INTO keyless SELECT * FROM rows"""
    )
    twins.migrate(
        """UPDATE ranges SET c7 = NULL WHERE id = 4; UPDATE ranges SET c58 = c58 + 1 WHERE id IN (5, 6);
        CREATE TABLE archive (LIKE rows); INSERT INTO archive SELECT * FROM rows WHERE id <= 12;
        DELETE FROM rows WHERE id <= 12; UPDATE rows SET c3 = '2021-01-01' WHERE id > 50;
        UPDATE keyless SET c9 = NULL WHERE id = 9; DELETE FROM keyless WHERE id = 60"""
    )
    compared = twins.compare()
    assert compared.not_measured == ()
    assert hurt(of(compared.tables, "ranges")) == {"c7": (0, 1), "c58": (2, 0)}
    rows = of(compared.tables, "rows")
    assert (rows.rows_lost, rows.rows_moved, hurt(rows)) == (12, 12, {"c3": (10, 0)})
    keyless = of(compared.tables, "keyless")
    assert keyless.rows_lost + sum(gone or 0 for _, gone in hurt(keyless).values()) == 2


@pytest.mark.slow
@pytest.mark.pg(">= 15" if SOAK else "== 18")
def test_as_many_columns_as_a_table_can_have(twins: Twins) -> None:
    twins.given(
        f"""CREATE TABLE t (id int PRIMARY KEY, {columns(1599 if SOAK else 200, "int DEFAULT 7")});
        INSERT INTO t (id, c0) SELECT i, i FROM generate_series(1, 300) i;
        CREATE TABLE keyless (LIKE t); INSERT INTO keyless SELECT * FROM t"""
    )
    twins.migrate(
        """CREATE TABLE archive (LIKE t); INSERT INTO archive SELECT * FROM t WHERE id < 20;
        DELETE FROM t WHERE id < 20; UPDATE t SET c150 = 0 WHERE id < 30; UPDATE keyless SET c9 = 0 WHERE id < 30"""
    )
    compared = twins.compare()
    assert compared.not_measured == ()
    table = of(compared.tables, "t")
    assert (table.rows_lost, table.rows_moved, hurt(table)) == (19, 19, {"c150": (10, 0)})
    assert hurt(of(compared.tables, "keyless")) == {"c9": (29, 0)}
