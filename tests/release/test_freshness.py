"""How far the data has moved since the clone: what the server's statistics have lost is no change."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pgrehearse.data.sizes import TableSize, read_table_sizes
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.identity import read_identity
from pgrehearse.rehearsal.settings import StartingSettings
from pgrehearse.release.freshness import Bounds, ProductionNow, judge_freshness

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TABLE = "public.t"
NOTHING_SET = StartingSettings(role="ann", settings={}, parameters={}, lists_parameters=True)
NEVER_ANALYSED = """
CREATE TABLE t (id int) WITH (autovacuum_enabled = off);
CREATE TABLE e (id int) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT generate_series(1, 500);
"""


def size(rows: int | None, writes: int = 500, *, is_analysed: bool = True) -> TableSize:
    return TableSize(rows=rows, size_bytes=8192, writes=writes, is_analysed=is_analysed)


@pytest.fixture
def judge(connection: Connection) -> Any:
    identity = read_identity(connection)

    def judge(
        then: TableSize, now: TableSize, *, counted: int | None = None, of_replica: bool = False
    ) -> tuple[list[str], list[str]]:
        document = {
            "source": {"taken_at": NOW.isoformat(), "is_replica": of_replica},
            "receipt": {"settings": {}, "table_sizes": {TABLE: then.as_json()}},
            "tables": [] if counted is None else [{"name": TABLE, "rows_before": counted}],
        }
        production = ProductionNow(identity=identity, lsn=None, at=NOW, settings=NOTHING_SET, sizes={TABLE: now})
        reasons, told = judge_freshness(document, production, Bounds(spared_rows=100), [TABLE])
        return [detail for reason in reasons for detail in reason.details], told

    return judge


@pytest.mark.pg("== 18")
def test_rows_that_only_the_statistics_have_lost_are_no_change(judge: Any) -> None:
    lost = size(3, writes=3, is_analysed=False)  # counted since a failover
    for then, now in ((size(500), lost), (size(500), size(None)), (size(None), size(500))):
        refused, told = judge(then, now)
        assert refused == []
        assert len(told) == 1
        assert "rows not known" in told[0]
    assert judge(size(500), size(500)) == ([], [])
    assert judge(size(None), size(500), counted=500) == ([], [])
    refused, _ = judge(size(None), size(1000), counted=500)
    assert "+500 rows" in refused[0]
    refused, _ = judge(size(500), size(0, writes=3))  # ANALYZE has counted them
    assert "-500 rows" in refused[0]
    assert "writes not known" in refused[0]
    refused, _ = judge(size(500), size(1000, writes=1000, is_analysed=False))
    assert "+500 rows" in refused[0]
    assert "500 writes" in refused[0]


@pytest.mark.pg("== 18")
def test_an_estimate_that_was_worthless_then_is_no_change_once_the_server_has_analysed(judge: Any) -> None:
    since_reset = size(300, writes=300)  # of 50,000 rows, when the clone was taken
    refused, told = judge(since_reset, size(50_010, writes=310), counted=50_000)
    assert refused == []
    assert "+10 rows by estimate" in told[0]
    refused, _ = judge(since_reset, size(310, writes=310), counted=50_000)  # they are gone
    assert "-49,690 rows" in refused[0]
    refused, _ = judge(since_reset, size(20_300, writes=20_300, is_analysed=False), counted=50_000)
    assert "+20,000 rows" in refused[0]
    assert judge(size(300), size(300), counted=50_000) == ([], [])  # stale then, and stale now


@pytest.mark.pg("== 18")
def test_the_counters_of_a_replica_are_not_those_of_its_primary(judge: Any) -> None:
    assert judge(size(500, writes=0), size(500), of_replica=True) == ([], [])
    refused, _ = judge(size(500, writes=0), size(1000, writes=1000), of_replica=True)
    assert "+500 rows by estimate, +0 bytes, writes not known" in refused[0]


@pytest.mark.pg(">= 15")
def test_a_table_that_was_never_analysed_and_whose_statistics_were_reset_has_no_estimate(
    connection: Connection,
) -> None:
    connection.execute(NEVER_ANALYSED.encode())
    connection.execute("SELECT pg_stat_force_next_flush()")
    before = read_table_sizes(connection)
    assert (before[TABLE].rows, before[TABLE].is_analysed, before["public.e"].rows) == (500, False, 0)
    fetch_value(connection, "SELECT pg_stat_reset()::text")
    after = read_table_sizes(connection)
    assert (after[TABLE].rows, after["public.e"].rows) == (None, 0)
    connection.execute("ANALYZE t")
    assert read_table_sizes(connection)[TABLE] == TableSize(rows=500, size_bytes=after[TABLE].size_bytes, writes=0)
