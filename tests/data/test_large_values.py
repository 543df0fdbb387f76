"""Values near PostgreSQL's limit of 1 GB: compared in the server, whatever is told of them is their beginning."""

import os
import tracemalloc
from typing import Any

import pytest

from pgrehearse.data.verdicts import TableVerdict

Twins = Any  # tests/data/conftest.py
SOAK = "PGREHEARSE_SOAK" in os.environ
MEGABYTES = 900 if SOAK else 10  # in the long form some 3 GB of a server's memory and 12 GB of disk, a few minutes
MOST_HELD = 4 << 20  # bytes of ours


@pytest.mark.slow
@pytest.mark.pg(">= 15" if SOAK else "== 18")
@pytest.mark.parametrize("kind", ["text", "bytea"])
def test_large_values_that_differ_at_their_end_and_that_are_equal(twins: Twins, kind: str) -> None:
    value = f"repeat('0123456789abcdef', {MEGABYTES << 16})::{kind}"
    twins.given(
        f"""CREATE TABLE t (id int PRIMARY KEY, v {kind}); ALTER TABLE t ALTER v SET STORAGE EXTERNAL;
        CREATE TABLE same (LIKE t INCLUDING ALL); CREATE TABLE keyless (id int, v {kind});
        ALTER TABLE keyless ALTER v SET STORAGE EXTERNAL;
        INSERT INTO t VALUES (1, {value}); INSERT INTO same TABLE t; INSERT INTO keyless TABLE t"""
    )
    twins.migrate(
        f"""UPDATE t SET v = overlay(v placing 'X'::{kind} from length(v)); UPDATE same SET v = v || ''::{kind};
        UPDATE keyless SET v = overlay(v placing 'X'::{kind} from length(v))"""
    )
    tracemalloc.start()
    try:
        compared = twins.compare(samples=1, jobs=1)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert compared.not_measured == ()
    found = {table.name: table for table in compared.tables}
    assert found["public.same"].verdict is TableVerdict.UNCHANGED
    for name in ("public.t", "public.keyless"):
        assert [column.values_changed for column in found[name].columns] == [0, 1]
        assert found[name].rows_lost == 0
    assert all(len(text or "") <= 2100 for sample in compared.samples for text in sample.before.values())
    assert peak_bytes < MOST_HELD


@pytest.mark.pg(">= 15")
def test_the_beginning_of_a_value_reads_as_its_output_does(twins: Twins) -> None:
    """What is told of a value when it is sliced, held against what COPY prints."""
    twins.given(
        r"""CREATE DOMAIN word AS text; CREATE TABLE t (id int PRIMARY KEY, b bytea, s text, d word, c char(5));
        INSERT INTO t VALUES (1, '\x', '', '', ''), (2, '\x00ff5c', E'a\\b\tc', 'w ', 'x'),
            (3, NULL, NULL, NULL, NULL)"""
    )
    twins.migrate("DELETE FROM t")
    told = {sample.key["id"]: list(sample.before.values()) for sample in twins.compare(samples=9).samples}
    assert told == {
        "1": ["1", "\\x", "", "", " " * 5],
        "2": ["2", "\\x00ff5c", "a\\b\tc", "w ", "x    "],
        "3": ["3", None, None, None, None],
    }
