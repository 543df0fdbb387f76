"""Splitting, against psql's own splitter where a server is at hand."""

import subprocess
from pathlib import Path

import pytest

from pgrehearse.errors import UnreadableSql
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.statements import Statement, TransactionNeed, split_file
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

AWKWARD = """\
-- a comment; with a semicolon
SELECT 'é;', $$;$$, $tag$ $$ ; $tag$ /* ; /* nested ; */ ; */ AS "odd;näme";
;;
  /* lead */ SELECT 1 -- trailing; comment
;
CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;
CREATE FUNCTION "ü"() RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
  PERFORM 1; -- 'unbalanced
END $body$;
SELECT E'\\';', U&'d\\0061t;', 'it''s; so';
SELECT 'last without a semicolon' -- done
"""


def split(text: str | bytes, kind: SourceKind = SourceKind.SQL_FOLDER) -> tuple[Statement, ...]:
    return split_file(text.encode() if isinstance(text, str) else text, path="x.sql", kind=kind)


def need(text: str) -> TransactionNeed:
    (statement,) = split(text)
    return statement.need


@pytest.mark.pg("== 16")
def test_statements_are_those_that_psql_sends(database: Conninfo, server: LocalServer, tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_text(AWKWARD, encoding="utf-8")
    argument, environment = database.for_child()
    log = tmp_path / "sent"
    subprocess.run(
        [server.binaries.program("psql"), "-X", "-q", "-d", argument, "-L", log, "-f", tmp_path / "x.sql"],
        env=environment | {"PGCLIENTENCODING": "UTF8"}, check=True, capture_output=True,
    )  # fmt: skip
    sent = [part.split("*" * 26)[0].strip() for part in log.read_text(encoding="utf-8").split(_LOG_HEAD)[1:]]
    sent = [query for query in sent if query != ";"]
    ours = [statement.text for statement in split(AWKWARD)]
    assert len(ours) == len(sent) == 6
    for mine, theirs in zip(ours, sent, strict=True):
        assert mine in theirs  # psql also sends the comments around a statement


_LOG_HEAD = "********* QUERY **********\n"


def test_places_are_lines_and_characters_as_an_editor_shows_them() -> None:
    first, second = split("\ufeffSELECT 'é';\r\n\r\n/* ä */ CREATE TABLE\r\n  tü (a int);\r\n")
    assert (first.line, first.column) == (1, 1)
    assert (second.line, second.column) == (3, 9)
    assert second.text == "CREATE TABLE\r\n  tü (a int)"
    assert second.place(second.text.index("(") + 1) == (4, 6)
    assert second.place(8) == (3, 16)


def test_drizzle_files_are_split_on_the_breakpoint_even_without_semicolons() -> None:
    text = "CREATE TABLE a (x text)\n--> statement-breakpoint\nCREATE TABLE b ();CREATE TABLE ç ()"
    text += "--> statement-breakpoint\n"
    tables = split(text, SourceKind.DRIZZLE_JOURNAL)
    assert [(s.text, s.line, s.column) for s in tables] == [
        ("CREATE TABLE a (x text)", 1, 1),
        ("CREATE TABLE b ()", 3, 1),
        ("CREATE TABLE ç ()", 3, 19),
    ]
    with pytest.raises(UnreadableSql, match=r"x\.sql:3:1: syntax error"):
        split(text)


def test_nothing_but_comments_is_no_statement() -> None:
    assert split("-- Custom SQL migration file, put your code below! --") == ()
    assert split("") == ()


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("SELECT 1;\n  SELEC 2;", "x.sql:2:3: syntax error", "psql"),
        ("SELECT 'é', é é é;", "x.sql:1:17: syntax error", "psql"),
        ("SELECT (", "x.sql:1:9: syntax error at end of input", "psql"),
        ("\\set a 1\nSELECT 1;", r"x.sql:1:1: \set is a command of psql", "backslash"),
        ("SELECT 1;\n\\i other.sql\n", r"x.sql:2:1: \i is a command of psql", "backslash"),
        ("SELECT 1 \\gset\n", r"x.sql:1:10: \gset is a command of psql", "backslash"),
        ("SELECT 1;\nCOPY t (a) FROM stdin;\n1\n2\n\\.\n", "x.sql:2:1: COPY … FROM STDIN", "INSERT"),
        ("COPY t FROM STDIN WITH (FORMAT csv);\na;b\n\\.\n", "x.sql:1:1: COPY … FROM STDIN", "INSERT"),
        ("COPY t FROM STDIN;", "x.sql:1:1: COPY … FROM STDIN", "INSERT"),
        ("COPY t TO STDOUT", "x.sql:1:1: COPY TO STDOUT", "export"),
        ("SELECT :name;", 'x.sql:1:8: syntax error at or near ":": if this is a psql variable', "psql"),
        ("BEGIN; COMMIT AND CHAIN;", "x.sql:1:8: COMMIT AND CHAIN", "BEGIN and COMMIT"),
        ("BEGIN; ROLLBACK AND CHAIN;", "x.sql:1:8: ROLLBACK AND CHAIN", "BEGIN and COMMIT"),
        ("PREPARE TRANSACTION 'x'", "x.sql:1:1: PREPARE TRANSACTION", "BEGIN and COMMIT"),
        (b"SELECT 1;\n-- caf\xe9", "x.sql:2: byte 0xe9 is not UTF-8", "iconv"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_place_and_a_remedy(
    text: str | bytes, message: str, remedy: str
) -> None:
    with pytest.raises(UnreadableSql) as caught:
        split(text)
    assert str(caught.value).startswith(message)
    assert remedy in caught.value.remedy
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
        "DROP INDEX CONCURRENTLY i",
        "REINDEX TABLE CONCURRENTLY t",
        "REINDEX (CONCURRENTLY true) INDEX i",
        "REINDEX SCHEMA public",
        "VACUUM (FULL) t",
        "CLUSTER",
        "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
        "CREATE DATABASE d",
        "ALTER DATABASE d SET TABLESPACE x",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p",
        "ALTER SUBSCRIPTION s REFRESH PUBLICATION",
        "DISCARD ALL",
        "DO $$ BEGIN UPDATE t SET a = 1; COMMIT; END $$",
    ],
)
def test_statement_refuses_a_transaction(text: str) -> None:
    assert need(text) is TransactionNeed.REFUSES


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX i ON t (a) WHERE b = 'concurrent\":true'",
        "REINDEX (CONCURRENTLY false) TABLE t",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY m",
        "ANALYZE",
        "CLUSTER t",
        "ALTER TABLE t DETACH PARTITION p",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (create_slot = false)",
        "DO $$ BEGIN RAISE NOTICE 'commit;'; END $$",
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$",
        "SAVEPOINT a",
        "ROLLBACK TO a",
    ],
)
def test_statement_runs_inside_a_transaction(text: str) -> None:
    assert need(text) is TransactionNeed.ANY


def test_transaction_control_is_told_apart() -> None:
    found = [s.need for s in split("BEGIN; START TRANSACTION; COMMIT; END; ROLLBACK; ABORT;")]
    begins, commits, rolls_back = TransactionNeed.BEGINS, TransactionNeed.COMMITS, TransactionNeed.ROLLS_BACK
    assert found == [begins, begins, commits, commits, rolls_back, rolls_back]


@pytest.mark.parametrize(
    "text",
    [
        "ALTER SYSTEM SET work_mem = '1MB'",
        "CREATE ROLE r PASSWORD 'x'",
        "ALTER ROLE r SET search_path = a",
        "ALTER GROUP g ADD USER u",
        "GRANT a TO b",
        "ALTER ROLE a RENAME TO b",
        "GRANT CONNECT ON DATABASE d TO r",
        "COMMENT ON DATABASE d IS 'x'",
        "ALTER DATABASE d OWNER TO r",
        "CREATE TABLESPACE s LOCATION '/x'",
        "COPY t TO PROGRAM 'cat'",
        "COPY t FROM '/etc/passwd'",
        "LOAD 'x'",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p",
        "CREATE USER MAPPING FOR r SERVER s",
        "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'x')",
        "INSERT INTO t SELECT pg_catalog.pg_read_file('x')",
        "SELECT * FROM dblink('dbname=x', 'SELECT 1') AS t(a int)",
        "DO $$ BEGIN IF true THEN CREATE ROLE app LOGIN; END IF; END $$",
    ],
)
def test_statement_reaches_beyond_its_database(text: str) -> None:
    (statement,) = split(text)
    assert statement.beyond


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE role (database text)",
        "GRANT SELECT ON t TO r",
        "COMMENT ON TABLE t IS 'CREATE ROLE x'",
        "ALTER TABLE t OWNER TO r",
        "SET ROLE r",
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql RETURN pg_read_file('x')",
        "INSERT INTO t VALUES ('pg_read_file')",
        "DO $$ BEGIN UPDATE users SET role = 'user'; END $$",
        "SET LOCAL ROLE r",
        "DISCARD PLANS",
        "DISCARD ALL",
        "RESET SESSION AUTHORIZATION",
        "SELECT 'session authorization'",
    ],
)
def test_statement_stays_in_its_database(text: str) -> None:
    (statement,) = split(text)
    assert statement.beyond is None


def test_a_deep_expression_and_a_large_seed_are_read() -> None:
    deep = "SELECT " + " || ".join(["'é'"] * 5000)
    large = "INSERT INTO t VALUES " + ", ".join(f"({number}, 'é')" for number in range(20000))
    first, second = split(f"{deep};\n{large};")
    assert first.text == deep
    assert (second.text, second.line) == (large, 2)
