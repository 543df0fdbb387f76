"""Where in a routine's text a relation could stand."""

import pytest

from pgrehearse.data.integrity.routine_text import words_of


@pytest.mark.parametrize(
    ("text", "reads", "reads_not"),
    [
        ("SELECT lower(t)", "", "t"),
        ("SELECT max(r.x) FROM a.r, t WHERE u = $1", "r t", "x u"),
        ("SELECT (SELECT x FROM (r CROSS JOIN s) WHERE u) || t", "r s", "t u x"),
        ("SELECT t FROM r UNION SELECT u FROM s", "r s", "t u"),
        ("BEGIN x := lower(t); EXECUTE 'SELECT * FROM r' INTO y; RETURN u; END", "r", "t u x"),
        ("BEGIN RETURN t; -- FROM r, don't\n RETURN (TABLE s); END", "s", "r t"),
        ('SELECT query_to_xml(\'r\', true), "S t" FROM "R s" /* from u */', "r R_s", "S_t u"),
        ("DELETE FROM ONLY r USING merge WHERE t RETURNING u", "r merge", "t u"),
        ("BEGIN EXECUTE $q$ SELECT t $q$; END", "t", ""),
        (r"SELECT E'\'', t", "t", ""),
        ("/* a /* b */ ' */ SELECT t", "t", ""),
    ],
)
def test_relations_stand_where_rows_are_read(text: str, reads: str, reads_not: str) -> None:
    found = words_of(text, "plpgsql").of_relations
    assert {name.replace("_", " ") for name in reads.split()} <= found
    assert found.isdisjoint(name.replace("_", " ") for name in reads_not.split())


def test_of_other_languages_every_word_counts() -> None:
    words = words_of("return plpy.execute(t)", "plpython3u")
    assert words.of_relations == words.all == {"return", "plpy", "execute", "t"}
