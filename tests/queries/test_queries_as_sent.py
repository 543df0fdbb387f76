"""What a statement's text does not tell: the types of its placeholders, and the values that came with it.

The oracle is psql's way: the statement as its sender writes it, executed on both copies.
"""

import psycopg
import pytest
from tests.queries.conftest import Making

from pgrehearse.queries.guessed_types import with_types

pytestmark = pytest.mark.pg("== 18")

BEFORE = """
CREATE TYPE mood AS ENUM ('on', 'off');
CREATE SEQUENCE tickets;
CREATE TABLE people (id int PRIMARY KEY, nick text, age int, mood mood, ref uuid);
INSERT INTO people SELECT n, 'nick ' || n, n % 90, 'on' FROM generate_series(1, 9000) n;
CREATE INDEX people_age ON people (age);
"""


def test_placeholders_of_any_type_get_one(make_copies: Making) -> None:
    copies = make_copies(
        "DROP INDEX people_age; ALTER TABLE people DROP nick; ALTER TABLE people ALTER ref TYPE text", before=BEFORE
    )
    verdicts = {
        "SELECT jsonb_build_object($1, id, $2, mood) FROM people WHERE $3 IS NULL OR id = $3": "unchanged",
        "SELECT id FROM people WHERE $1 IS NOT NULL AND age = $1": "slower",
        "SELECT id FROM people WHERE $1 IS NULL OR nick = $1": "broken",
        "SELECT $1 + $2 AS n, i FROM generate_series($3, $4) AS i WHERE $5 IS NULL OR i < $5": "unchanged",
        "SELECT format($1, $2), num_nulls($3, id) FROM people": "unchanged",
        # A string would do after, and a uuid did before: which of them is sent nobody knows.
        "SELECT id FROM people WHERE $1 IS NULL OR ref = $1": "not-measured",
        "SELECT id FROM people WHERE $1 IS NULL OR nowhere = $2": "not-measured",
    }
    found = copies.compare(*verdicts)
    assert {each.query.statement.text: each.verdict.value for each in found.queries} == verdicts
    slower = next(each for each in found.queries if each.verdict.value == "slower")
    assert slower.indexes_lost == ("public.people_age",)


def test_a_cast_stands_behind_its_placeholder() -> None:
    text = "SELECT 'ü', $1, $12 FROM t WHERE $1 IS NULL AND a = $2"
    assert with_types(text, {1: "int8", 12: "text[]"}) == (
        "SELECT 'ü', $1::int8, $12::text[] FROM t WHERE $1::int8 IS NULL AND a = $2"
    )


def test_values_that_are_not_taken_any_more_break_a_query(make_copies: Making) -> None:
    copies = make_copies("ALTER TYPE mood RENAME VALUE 'off' TO 'aus'; DROP SEQUENCE tickets", before=BEFORE)
    verdicts = {
        "SELECT id FROM people WHERE mood = 'on'": "broken",  # and 'off', which is of the same shape
        "SELECT nextval('tickets')": "broken",
        "SELECT id FROM people WHERE mood = 'on' AND nick = 'off'": "unchanged",
    }
    found = copies.compare(*verdicts, "SELECT id FROM people WHERE mood = 'off'", keep_example=True)
    assert {each.query.example: each.verdict.value for each in found.queries} == verdicts
    refusals = {each.refusal.sqlstate for each in found.queries if each.refusal is not None}
    assert refusals == {"22P02", "42P01"}
    assert "off" not in str([each.as_json() for each in found.queries])
    with copies.after() as session, pytest.raises(psycopg.errors.InvalidTextRepresentation):
        session.execute("SELECT id FROM people WHERE mood = 'off'")


def test_an_insert_inside_of_another_statement_must_send_what_is_needed(make_copies: Making) -> None:
    copies = make_copies(
        "DELETE FROM people; ALTER TABLE people ADD place text NOT NULL", before=BEFORE.replace("9000", "9")
    )
    merge = "MERGE INTO people p USING (VALUES ($1::int)) s(id) ON p.id = s.id WHEN NOT MATCHED THEN INSERT {}"
    verdicts = {
        "WITH made AS (INSERT INTO people (id) VALUES ($1) RETURNING id) SELECT id FROM made": "broken",
        merge.format("(id) VALUES (s.id)"): "broken",
        merge.format("VALUES (s.id, $2, $3)"): "broken",
        merge.format("DEFAULT VALUES"): "broken",
        merge.format("(id, place) VALUES (s.id, $2)"): "works-now",
        merge.replace("INSERT {}", "DO NOTHING"): "unchanged",
    }
    found = copies.compare(*verdicts)
    assert {each.query.statement.text: each.verdict.value for each in found.queries} == verdicts
    refusal = next(each.refusal for each in found.queries if "made" in each.query.statement.text)
    assert refusal is not None
    assert refusal.message == "it does not send place, which may not be NULL now and has no default"
    with copies.after() as session, pytest.raises(psycopg.errors.NotNullViolation):
        session.execute(merge.format("(id) VALUES (s.id)").replace("$1", "1"))
