"""Databases that hold bytes of any encoding."""

from typing import Any

import pytest

from pgrehearse.data.verdicts import ColumnVerdict, TableVerdict
from pgrehearse.postgres.connect import connect


@pytest.mark.pg("== 18")
def test_rows_that_are_no_utf8_are_compared_all_the_same(twins: Any) -> None:
    with connect(twins.server.conninfo(), verb="test") as admin:
        admin.execute(f"DROP DATABASE {twins.pristine}")
        admin.execute(
            f"CREATE DATABASE {twins.pristine} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    twins.given(
        'CREATE TABLE t (id int PRIMARY KEY, "né" text); CREATE TABLE gone (v text); CREATE TABLE keyless (v text);'
        "INSERT INTO t VALUES (1, E'\\xe9'), (2, E'caf\\xe9'), (3, 'né'), (4, repeat('é', 500));"
        "INSERT INTO gone VALUES (E'\\xe8'); INSERT INTO keyless VALUES (E'\\xe9'), (E'\\xe8')"
    )
    twins.migrate(
        "UPDATE t SET \"né\" = 'x' WHERE id = 1; UPDATE t SET \"né\" = E'caf\\xe8' WHERE id = 2;"
        "DELETE FROM t WHERE id > 2; DELETE FROM gone; DELETE FROM keyless WHERE v = E'\\xe9'"
    )
    data = twins.compare(samples=5)
    assert data.not_measured == ()
    tables = {table.name: table for table in data.tables}
    assert {name: (table.verdict, table.rows_lost) for name, table in tables.items()} == {
        "public.t": (TableVerdict.ROWS_LOST, 2),
        "public.gone": (TableVerdict.ROWS_LOST, 1),
        "public.keyless": (TableVerdict.ROWS_LOST, 1),
    }
    column = next(column for column in tables["public.t"].columns if column.name != "id")
    assert (column.verdict, column.values_changed) == (ColumnVerdict.VALUES_CHANGED, 2)
    shown = str(data.samples)
    assert r"caf\\xe9" in shown
    assert r"caf\\xe8" in shown
    assert "né" in shown
