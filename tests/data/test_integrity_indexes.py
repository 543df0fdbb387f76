"""Indexes against their rows, with amcheck and without it; and large objects that nothing refers to any more."""

from typing import Any

import pytest
from tests.data.test_integrity_evidence import detail, examine

REPLACED = """
CREATE FUNCTION k(v text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT v';
CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX found ON t (k(v)); INSERT INTO t VALUES (1, 'a'), (2, 'b');
"""
AND_TOUCHED = """
CREATE OR REPLACE FUNCTION k(v text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT v || v';
INSERT INTO t VALUES (3, 'c');
"""


@pytest.mark.pg("== 15")
@pytest.mark.parametrize("installed", [False, True])
def test_amcheck_finds_an_index_that_misses_rows_though_its_table_was_touched(twins: Any, installed: bool) -> None:
    """It is made for the length of a transaction where it is not installed, and nothing of it is left."""
    twins.given(REPLACED + ("CREATE SCHEMA tools; CREATE EXTENSION amcheck SCHEMA tools" if installed else ""))
    twins.migrate(AND_TOUCHED)
    integrity = examine(twins)
    (broken,) = integrity.broken
    assert (broken.hazard, broken.promise) == ("stale-index", "index public.found")
    assert integrity.not_measured == ()
    assert "not installed" not in detail(integrity, "indexes")
    schemas = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgrehearse%'"
    assert twins.ask("clone", schemas) == []
    assert twins.ask("clone", "SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'") == [(int(installed),)]


@pytest.mark.pg("== 15")
def test_amcheck_finds_nothing_where_the_index_was_built_again(twins: Any) -> None:
    twins.given(REPLACED)
    twins.migrate(AND_TOUCHED + "REINDEX TABLE t")
    integrity = examine(twins)
    assert (integrity.broken, integrity.not_measured) == ((), ())


@pytest.mark.pg("== 15")
def test_amcheck_finds_an_index_that_the_plan_built_before_it_changed_the_function(twins: Any) -> None:
    twins.given(REPLACED)
    twins.migrate("CREATE INDEX made ON t (k(v)); REINDEX INDEX found;" + AND_TOUCHED.partition("INSERT")[0])
    integrity = examine(twins)
    assert {each.promise for each in integrity.broken} == {"index public.found", "index public.made"}
    assert integrity.not_measured == ()


@pytest.mark.pg("== 15")
def test_no_extension_is_made_where_an_event_trigger_would_run_as_the_administrator(twins: Any) -> None:
    twins.given(REPLACED)
    twins.migrate(
        AND_TOUCHED + "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''mine''; END';"
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION e()"
    )
    integrity = examine(twins)
    assert "amcheck not installed" in detail(integrity, "indexes")
    (unmeasured,) = integrity.not_measured
    assert unmeasured.what == "index public.found"
    assert unmeasured.decisive


@pytest.mark.pg("== 18")
def test_without_amcheck_an_index_is_told_as_not_measured_only_where_it_may_be_stale(twins: Any) -> None:
    twins.given(REPLACED + "CREATE INDEX other ON t (lower(v))")
    twins.migrate(AND_TOUCHED)
    integrity = examine(twins)
    assert detail(integrity, "indexes") == "0 indexes looked at; amcheck not installed"
    assert [entry.what for entry in integrity.not_measured] == ["index public.found"]


@pytest.mark.pg(">= 15")
def test_large_objects_that_nothing_refers_to_any_more_are_told(twins: Any) -> None:
    """As vacuumlo would find them; those that nothing referred to before are production's own."""
    twins.given(
        "CREATE DOMAIN lo AS oid; CREATE TABLE docs (id int, content oid); CREATE TABLE more (c lo);"
        "SELECT lo_from_bytea(n, 'x') FROM generate_series(100, 110) n;"
        "INSERT INTO docs SELECT n, n FROM generate_series(100, 104) n; INSERT INTO more VALUES (105), (106)"
    )
    twins.migrate(
        "DELETE FROM docs WHERE id = 100; ALTER TABLE more DROP COLUMN c; SELECT lo_from_bytea(200, 'new');"
        "SELECT lo_from_bytea(201, 'new'); INSERT INTO docs VALUES (201, 201)"
    )
    integrity = examine(twins)
    (broken,) = integrity.broken
    assert broken.hazard == "orphaned-large-objects"
    assert "4 large objects" in broken.what  # 100, 105, 106 and 200
    ((orphans,),) = twins.ask(
        "clone", "SELECT count(*) FROM pg_largeobject_metadata WHERE oid NOT IN (SELECT content FROM docs)"
    )
    assert (broken.rows, broken.rows_before) == (orphans, 4)


@pytest.mark.pg("== 18")
def test_large_objects_are_not_looked_for_where_nothing_was_touched(twins: Any) -> None:
    twins.given("CREATE TABLE docs (content oid); SELECT lo_from_bytea(100, 'x'); CREATE TABLE other (id int)")
    twins.migrate("INSERT INTO other VALUES (1)")
    integrity = examine(twins)
    assert integrity.broken == ()
    assert "neither they nor the tables" in detail(integrity, "large objects")


CALLED = """
CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT g, 'a' || g FROM generate_series(1, 200) g;
CREATE TABLE rates (code text PRIMARY KEY, rate int); INSERT INTO rates VALUES ('a', 1);
CREATE FUNCTION f(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(t)'; CREATE INDEX fi ON t (f(a));
CREATE FUNCTION g(a text) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS 'DECLARE t text := a; BEGIN RETURN t || (SELECT max(rate) FROM public.rates); END';
CREATE INDEX words ON t USING gin (to_tsvector('simple', f(a)));
CREATE TABLE by_rate (id int PRIMARY KEY, a text); INSERT INTO by_rate VALUES (1, 'x');
CREATE INDEX reads ON by_rate (g(a));
"""


@pytest.mark.pg("== 18")
@pytest.mark.parametrize(
    "migration",
    ["ALTER TABLE t ADD COLUMN n int; ALTER TABLE by_rate ADD n int DEFAULT 1", "INSERT INTO t VALUES (500, 'q')"],
)
def test_an_index_whose_function_did_not_change_is_the_servers_to_maintain(twins: Any, migration: str) -> None:
    """The function's parameter is called as the table is."""
    twins.given(CALLED)
    twins.migrate(migration)
    integrity = examine(twins)
    assert (integrity.broken, integrity.not_measured) == ((), ())


@pytest.mark.pg("== 18")
def test_an_index_whose_function_reads_a_table_that_was_touched_is_evaluated(twins: Any) -> None:
    twins.given(CALLED)
    twins.migrate("UPDATE rates SET rate = 2; ALTER TABLE by_rate ADD COLUMN n int")
    integrity = examine(twins)
    assert [(each.hazard, each.promise) for each in integrity.broken] == [("stale-index", "index public.reads")]
    assert integrity.not_measured == ()


SEARCHED = """
CREATE TEXT SEARCH CONFIGURATION ec (COPY = english); CREATE TEXT SEARCH CONFIGURATION other (COPY = english);
CREATE TEXT SEARCH DICTIONARY plain (TEMPLATE = simple); CREATE TEXT SEARCH CONFIGURATION own (COPY = english);
ALTER TEXT SEARCH CONFIGURATION own ALTER MAPPING FOR asciiword WITH plain;
CREATE FUNCTION words(v text) RETURNS tsvector LANGUAGE sql IMMUTABLE AS $$SELECT to_tsvector('public.ec', v)$$;
CREATE TABLE d (id int PRIMARY KEY, body text, cfg regconfig DEFAULT 'ec');
INSERT INTO d SELECT g, 'the running tables word' || g FROM generate_series(1, 300) g;
CREATE INDEX by_ec ON d USING gin (to_tsvector('ec', body));
CREATE INDEX by_own ON d USING gin (to_tsvector('own', body));
CREATE INDEX by_words ON d USING gin (words(body)); CREATE INDEX by_cfg ON d USING gin (to_tsvector(cfg, body));
CREATE INDEX by_simple ON d USING gin (to_tsvector('simple', body));
CREATE INDEX by_english ON d USING gin (to_tsvector('english', body));
CREATE INDEX by_other ON d (to_tsvector('other', body));
CREATE TABLE g (id int PRIMARY KEY, body text,
                tsv tsvector GENERATED ALWAYS AS (to_tsvector('public.ec', body)) STORED);
INSERT INTO g SELECT n, 'running tables' FROM generate_series(1, 100) n;
"""
REMAPPED = "ALTER TEXT SEARCH CONFIGURATION ec ALTER MAPPING FOR asciiword WITH simple;"


@pytest.mark.pg(">= 15")
def test_a_changed_text_search_configuration_leaves_indexes_and_generated_columns_stale(twins: Any) -> None:
    """The server's own one, through a dictionary of it; one that a function names; one that stands in the rows."""
    twins.given(SEARCHED)
    twins.migrate(
        REMAPPED,
        "ALTER TEXT SEARCH DICTIONARY plain (StopWords = english)",
        "ALTER TEXT SEARCH CONFIGURATION pg_catalog.simple ALTER MAPPING FOR asciiword WITH english_stem",
    )
    integrity = examine(twins)
    found = {(each.hazard, each.promise.removeprefix("index public.")): each for each in integrity.broken}
    stale = {("stale-index", name) for name in ("by_ec", "by_own", "by_words", "by_cfg", "by_simple")}
    assert found.keys() == {*stale, ("stale-generated-column", "generated column tsv")}
    assert integrity.not_measured == ()
    count = "SELECT count(*) FROM g WHERE tsv IS DISTINCT FROM to_tsvector('ec', body)"
    assert [(found["stale-generated-column", "generated column tsv"].rows,)] == twins.ask("clone", count)


@pytest.mark.pg("== 18")
def test_what_is_searched_by_a_changed_configuration_may_be_made_again_in_the_same_plan(twins: Any) -> None:
    twins.given(SEARCHED)
    twins.migrate(REMAPPED + "REINDEX TABLE d; UPDATE g SET body = body")
    integrity = examine(twins)
    assert (integrity.broken, integrity.not_measured) == ((), ())


ORDERED = """
CREATE FUNCTION mycmp(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp($1, $2)';
CREATE OPERATOR CLASS revint FOR TYPE int USING btree AS
OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 mycmp(int, int);
CREATE TABLE o (i int); INSERT INTO o SELECT generate_series(1, 200); CREATE INDEX oi ON o (i revint);
CREATE TYPE span AS RANGE (SUBTYPE = int, SUBTYPE_OPCLASS = revint); CREATE TABLE r (v span);
INSERT INTO r SELECT span(n, n + 1) FROM generate_series(1, 20) n; CREATE INDEX ri ON r (v);
CREATE INDEX rg ON r USING gist (v);
CREATE INDEX plain ON o (i);
"""
TURNED = "CREATE OR REPLACE FUNCTION mycmp(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp($2, $1)';"


@pytest.mark.pg(">= 15")
def test_an_index_whose_operator_class_orders_otherwise_now_is_told(twins: Any) -> None:
    """Also inside a type of its keys; without amcheck, and of what amcheck does not know, as not measured."""
    twins.given(ORDERED)
    twins.migrate(TURNED)
    integrity = examine(twins)
    broken = {each.promise.removeprefix("index public.") for each in integrity.broken}
    unmeasured = {each.what.removeprefix("index public.") for each in integrity.not_measured}
    assert all(each.decisive for each in integrity.not_measured)
    if "amcheck not installed" in detail(integrity, "indexes"):
        assert broken == set()
        assert unmeasured == {"oi", "ri", "rg"}
    else:
        assert broken == {"oi", "ri"}
        assert unmeasured == {"rg"}
    with twins.session(twins.clone) as session:
        session.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; DROP INDEX plain")
        assert session.execute("SELECT count(*) FROM o WHERE i = 77").fetchone() == (0,)
