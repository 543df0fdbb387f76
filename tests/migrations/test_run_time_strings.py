import pytest

from pgrehearse.migrations.run_time_strings import why_unseen, why_unseen_do


@pytest.mark.parametrize(
    "body",
    [
        "BEGIN CREATE TYPE s AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN null; END",
        "BEGIN EXECUTE 'ALTER TABLE t ADD v int'; END",
        "BEGIN EXECUTE 'UPDATE t SET v = $1' USING 3; EXECUTE $q$SELECT 1$q$ INTO x; END",
        "BEGIN FOR r IN EXECUTE 'SELECT 1' LOOP NULL; END LOOP; END",
        "BEGIN EXECUTE /* never */ 'ANALYZE' -- EXECUTE a || b\n; x := 'EXECUTE a || b'; END",
        "BEGIN GRANT EXECUTE ON FUNCTION f() TO app; CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION h(); END",
    ],
)
def test_what_stands_in_the_text_is_seen(body: str) -> None:
    assert why_unseen_do(f"DO $do$ {body} $do$") is None
    assert why_unseen(body, "plpgsql") is None


@pytest.mark.parametrize(
    "body",
    [
        "BEGIN EXECUTE 'ALTER TABLE ' || t; END",
        "BEGIN EXECUTE format('COPY t TO PROGRAM %L', 'x'); END",
        "BEGIN EXECUTE q; END",
        "BEGIN EXECUTE 'SELECT 1'::text || q; END",
        "BEGIN EXECUTE E'CO\\x50Y t TO PROGRAM ''x'' '; END",
        "BEGIN RETURN QUERY EXECUTE a || b; END",
        "BEGIN OPEN c FOR EXECUTE q; END",
        "BEGIN EXECUTE 'DO $x$ BEGIN EXECUTE a || b; END $x$'; END",
        "BEGIN EXECUTE 'COPY t TO PROGRAM ''id'' '; END",
        "BEGIN EXECUTE 'ALTER ROLE app SUPERUSER'; END",
    ],
)
def test_a_string_that_is_built_at_run_time_or_reaches_out_is_told(body: str) -> None:
    assert why_unseen(body, "plpgsql") is not None


def test_a_body_written_as_a_string_is_read_as_its_value() -> None:
    assert why_unseen_do("DO 'BEGIN EXECUTE ''ANALYZE''; END'") is None
    assert why_unseen_do("DO E'BEGIN EXECUTE\\n q; END'") is not None


def test_another_language_is_not_read() -> None:
    assert why_unseen_do("DO LANGUAGE plpython3u $$ import os $$") == (
        "what plpython3u does on the server cannot be read from its text"
    )
