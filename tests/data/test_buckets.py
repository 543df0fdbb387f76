"""Which rows are read: only those of ranges that differ, whatever the key."""

from typing import Any

import pytest

from pgrehearse.data import rows, table_loss
from pgrehearse.data.buckets import Ranges
from pgrehearse.data.row_stream import RowSource

Twins = Any  # tests/data/conftest.py


def test_neighbouring_ranges_are_one() -> None:
    assert Ranges(shift=4, numbers=(-1, 0, 1, 5), rows=9).bounds() == [(-16, 31), (80, 95)]


@pytest.mark.pg("== 18")
@pytest.mark.parametrize(
    ("key", "indexed"),
    [("i", True), ("i * 1000003::bigint", True), ("-i", True), ("'k' || i", False), ("md5(i::text)::uuid", False)],
)
def test_only_ranges_that_differ_are_read(
    twins: Twins, monkeypatch: pytest.MonkeyPatch, key: str, indexed: bool
) -> None:
    monkeypatch.setattr(table_loss, "WORTH_RANGES_BYTES", 0)
    sent = []
    through_index = []
    lines, has_index = RowSource.lines, RowSource._has_index

    def counted(source: RowSource, *given: Any, **named: Any) -> Any:
        for line in lines(source, *given, **named):
            sent.append(line)
            yield line

    def asked(source: RowSource, query: Any) -> bool:
        through_index.append(has_index(source, query))
        return through_index[-1]

    monkeypatch.setattr(RowSource, "lines", counted)
    monkeypatch.setattr(RowSource, "_has_index", asked)
    twins.given(
        f"""CREATE TABLE t AS SELECT {key} AS id, i AS n, 'v' || i AS v FROM generate_series(1, 30000) i;
        ALTER TABLE t ADD PRIMARY KEY (id); ANALYZE t"""
    )
    twins.migrate("UPDATE t SET v = NULL WHERE n IN (5, 15000); DELETE FROM t WHERE n = 20000")
    table = twins.compare().tables[0]
    assert (table.rows_lost, [column.values_lost for column in table.columns]) == (1, [0, 0, 2])
    assert table.columns[2].values_before == 30000
    assert 0 < len(sent) < 30000 * 2 / 50
    assert bool(through_index) == indexed
    assert all(through_index)
    assert rows.WORTH_BUCKETS <= 30000
