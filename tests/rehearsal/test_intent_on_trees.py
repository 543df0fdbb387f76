"""Declared intent on partitioned tables: the files name the root, the rows are lost at the leaves."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.rehearsing import rehearsing_on

from pgrehearse.data.loss import compare_data
from pgrehearse.data.tree_loss import losses_by_name
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

NEWEST = pytest.mark.pg("== 18")

TREE = """
CREATE TABLE {name} (id int PRIMARY KEY, kind text, note text) PARTITION BY RANGE (id);
CREATE TABLE {name}_1 PARTITION OF {name} FOR VALUES FROM (0) TO (10);
CREATE TABLE {name}_2 PARTITION OF {name} FOR VALUES FROM (10) TO (100) PARTITION BY RANGE (id);
CREATE TABLE {name}_21 PARTITION OF {name}_2 FOR VALUES FROM (10) TO (20);
INSERT INTO {name} SELECT i, CASE WHEN i % 5 = 0 THEN 'x' ELSE 'y' END, 'n' FROM generate_series(0, 19) i;
"""
DECLARED = """
-- pgrehearse: expect drops column narrowed.note
ALTER TABLE narrowed DROP COLUMN note;
-- pgrehearse: expect deletes thinned where kind = 'x'
DELETE FROM thinned WHERE kind = 'x';
-- pgrehearse: expect deletes emptied
DELETE FROM emptied;
-- pgrehearse: expect truncates truncated_2
TRUNCATE truncated_2;
-- pgrehearse: expect updates written
UPDATE written SET note = 'other';
-- pgrehearse: expect changes retyped.note
ALTER TABLE retyped ALTER note TYPE varchar(3) USING 'abc';
-- pgrehearse: expect drops dropped
DROP TABLE dropped;
-- pgrehearse: expect deletes by_leaf_1
-- pgrehearse: expect deletes by_leaf_21
DELETE FROM by_leaf;
"""
UNDECLARED = """
-- pgrehearse: expect deletes thinned_1
DELETE FROM thinned WHERE kind = 'x';
-- pgrehearse: expect drops column narrowed.note
ALTER TABLE narrowed DROP COLUMN note;
DELETE FROM narrowed_1 WHERE id = 1;
DELETE FROM untouched WHERE id > 1000;
DROP TABLE leafless;
-- pgrehearse: expect deletes other_name where kind = 'x'
ALTER TABLE renamed RENAME TO other_name;
DELETE FROM other_name WHERE kind = 'x';
ALTER TABLE plain RENAME TO simple;
DELETE FROM simple WHERE id = 1;
DROP TABLE dropped;
"""


def make(connection: Connection, *names: str) -> None:
    for name in names:
        connection.execute(TREE.replace("{name}", name).encode())


def told(document: dict[str, Any], relation: str) -> list[tuple[str, str, str]]:
    return [
        (each["hazard"], each["level"], each["evidence"])
        for each in document["findings"]
        if each["relation"] == f"public.{relation}" and {"data-loss", "hard-to-undo"} & set(each["classes"])
    ]


@NEWEST
def test_what_is_declared_of_a_root_excuses_what_its_leaves_lost(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    make(connection, "narrowed", "thinned", "emptied", "truncated", "written", "retyped", "dropped", "by_leaf")
    document = rehearsing_on(database, tmp_path)(DECLARED, target=uat.conninfo())
    assert {each["outcome"] for each in document["declarations"]} == {"as-declared"}, document["declarations"]
    losses = [each for each in document["findings"] if "data-loss" in each["classes"]]
    assert losses == []
    assert document["verdict"] == "clean", document["findings"]
    assert told(document, "thinned") == [("delete-rows", "info", "confirmed")]
    assert told(document, "emptied") == [("delete-all", "info", "confirmed")]
    assert told(document, "by_leaf") == [("delete-all", "info", "confirmed")]
    assert told(document, "written") == [("update-all", "info", "confirmed")]
    dropped = {each["relation"]: each for each in document["findings"] if each["hazard"].startswith("drop-")}
    assert dropped["public.narrowed"]["classes"] == dropped["public.dropped"]["classes"] == ["breaks-running-app"]
    rewrites = [each["relation"] for each in document["findings"] if "rewrites-table" in each["classes"]]
    assert rewrites == ["public.retyped"]  # once, and not for each leaf again


@NEWEST
def test_what_leaves_lost_beyond_the_declarations_is_told_once_of_their_root(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    make(connection, "narrowed", "thinned", "untouched", "dropped", "renamed")
    connection.execute(
        "CREATE TABLE leafless (id int) PARTITION BY RANGE (id); CREATE TABLE plain (id int PRIMARY KEY)"
    )
    connection.execute("INSERT INTO plain VALUES (1), (2)")
    document = rehearsing_on(database, tmp_path)(UNDECLARED, target=uat.conninfo())
    assert document["verdict"] == "loss"
    assert told(document, "thinned") == [("delete-rows", "error", "confirmed")]
    assert told(document, "thinned_21") == []  # what the root's finding says already
    (thinned,) = [each for each in document["findings"] if each["relation"] == "public.thinned"]
    assert thinned["measured"] == {"rows_before": 20, "rows_lost": 2}
    assert "public.thinned loses 2 of 20 rows" in thinned["message"]
    assert told(document, "narrowed") == [("drop-column", "error", "confirmed")]
    assert told(document, "dropped") == [("drop-table", "error", "confirmed")]
    assert told(document, "untouched") == [("delete-rows", "info", "disproved")]
    # Under the name that a statement knows it by, and not once more under the one before.
    assert told(document, "other_name") == [("delete-rows", "info", "confirmed")]
    assert told(document, "simple") == [("delete-rows", "error", "confirmed")]
    assert told(document, "renamed") == told(document, "renamed_21") == told(document, "plain") == []
    # Without a partition there is nothing to lose.
    assert told(document, "leafless") == []
    (leafless,) = [each for each in document["findings"] if each["relation"] == "public.leafless"]
    assert (leafless["hazard"], leafless["level"]) == ("drop-table", "warning")


@NEWEST
def test_of_a_tree_with_a_foreign_partition_nobody_knows_that_it_lost_nothing(
    server: LocalServer, connection: Connection
) -> None:
    connection.execute(
        "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;"
        "CREATE TABLE abroad (id int, note text) PARTITION BY RANGE (id);"
        "CREATE TABLE abroad_1 PARTITION OF abroad FOR VALUES FROM (0) TO (10);"
        "CREATE FOREIGN TABLE abroad_2 PARTITION OF abroad FOR VALUES FROM (10) TO (20) SERVER nowhere;"
        "CREATE TABLE here (id int) PARTITION BY RANGE (id);"
        "CREATE TABLE here_1 PARTITION OF here FOR VALUES FROM (0) TO (10)"
    )
    name = connection.info.dbname
    compared = compare_data(
        lambda: connect(server.conninfo(name), verb="test"), lambda: connect(server.conninfo(name), verb="test")
    )
    assert {tree.name: tree.leaves for tree in compared.trees} == {
        "public.abroad": ("public.abroad_1", "public.abroad_2"),
        "public.here": ("public.here_1",),
    }
    assert set(losses_by_name(compared)) == {"public.abroad_1", "public.here_1", "public.here"}
