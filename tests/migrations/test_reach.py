"""What reaches beyond its database is found however it is written, and nothing else is."""

import pytest

from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.reach import find_reach_in_body
from pgrehearse.migrations.run_time_strings import why_unseen
from pgrehearse.migrations.statements import split_file

REACHES = {
    "COPY (SELECT 'a;b') TO PROGRAM 'cat'": "COPY … TO PROGRAM",
    "copy (select 1) to/**/program 'touch x'": "COPY … TO PROGRAM",
    "copy t to -- a comment\n program U&'cat'": "COPY … TO PROGRAM",
    "copy t from program E'cat\\x20y'": "COPY … FROM PROGRAM",
    "copy t (a, b) from $q$/etc/passwd$q$ with (format csv)": "COPY … FROM a file",
    "alter/**/role app superuser": "ALTER ROLE",
    "alter\nuser app superuser": "ALTER USER",
    "create user mapping for app server s": "CREATE USER",
    "grant pg_read_all_data to app_owner": "GRANT of a role",
    "grant a, b to c with admin option": "GRANT of a role",
    "revoke admin option for a from b": "REVOKE of a role",
    "revoke a from b": "REVOKE of a role",
    "grant create on database d to app": "GRANT ON DATABASE",
    "grant set on parameter work_mem to app": "GRANT ON PARAMETER",
    "reassign owned by a to b": "REASSIGN OWNED",
    "drop/* */owned by a": "DROP OWNED",
    "comment on role app is 'x'": "COMMENT ON ROLE",
    "security label for x on role app is 'y'": "SECURITY LABEL ON ROLE",
    "alter system set work_mem = '1GB'": "ALTER SYSTEM",
    "import foreign schema s from server x into y": "IMPORT FOREIGN SCHEMA",
    "load 'auto_explain'": "LOAD",
    "perform \"lo_export\"(1, '/tmp/x')": "LO_EXPORT",
    "perform U&\"lo\\005fexport\"(1, '/tmp/x')": "LO_EXPORT",
    "perform public.dblink_exec('dbname=x', 'select 1')": "DBLINK_EXEC",
    "if exists (select 1) then alter role app superuser; end if": "ALTER ROLE",
    "execute 'alter ro' || 'le app'; execute 'grant a to b'": "GRANT of a role",
    "execute format('copy t to program %L', 'x'); execute 'copy t to program ''id'''": "COPY … TO PROGRAM",
    "execute U&'\\0063opy t to program ''x'''": "COPY … TO PROGRAM",
    "execute 'do $x$ begin alter role a superuser; end $x$'": "ALTER ROLE",
    "create function f() returns void language plpgsql as $x$ begin grant a to b; end $x$": "GRANT of a role",
    "perform * from ts_stat('select to_tsvector(lo_export(1, ''/tmp/x'')::text)')": "LO_EXPORT",
}


@pytest.mark.parametrize("statement", REACHES)
def test_a_body_that_reaches_beyond_its_database_is_found(statement: str) -> None:
    body = f"declare x int; begin x := 1; {statement}; end"
    assert find_reach_in_body(body) == REACHES[statement]
    assert why_unseen(body, "plpgsql") is not None
    for text in (f"DO $do$ {body} $do$;", f"DO LANGUAGE plpgsql $do$ {body} $do$;"):
        (found,) = split_file(text.encode(), path="m.sql", kind=SourceKind.SQL_FOLDER)
        assert found.beyond is not None


@pytest.mark.parametrize(
    "statement",
    [
        "grant select on t to app",
        "grant execute on function dblink_exec(text) to app with grant option",
        "revoke grant option for select on t from app",
        "alter default privileges in schema s grant select on tables to app",
        "alter table t alter role type text",
        "alter table t drop role, drop copy",
        "comment on table t is 'alter role app'",
        "insert into permissions values ('create user'), ('drop role'), ('copy x to program ''y''')",
        "insert into dblink_log (what) values ('x')",
        "select copy, trim(both 'x' from copy) into x from 数",
        "copy_of_t := 1; raise notice 'alter role %', x",
        "-- alter role app\n/* copy t to program 'x' */ null",
        "execute 'alter table t add v int'",
    ],
)
def test_what_stays_inside_is_no_alarm(statement: str) -> None:
    assert find_reach_in_body(f"begin {statement}; end") is None


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM ts_stat('select to_tsvector(lo_export(lo_from_bytea(0, ''x''), ''/tmp/x'')::text)')",
        "SELECT query_to_xml('copy t to program ''x''', true, true, '')",
    ],
)
def test_a_string_that_a_function_runs_is_searched(statement: str) -> None:
    (found,) = split_file(statement.encode(), path="m.sql", kind=SourceKind.SQL_FOLDER)
    assert found.beyond is not None
    assert "a string that it runs" in found.beyond


def test_a_string_built_for_a_function_that_runs_it_is_not_seen_through() -> None:
    assert why_unseen("begin perform query_to_xml('select ' || x, true, true, ''); end", "plpgsql") is not None
    assert why_unseen("select query_to_xml('select 1', true, true, '')", "sql") is None


def test_a_text_that_cannot_be_scanned_is_searched_by_its_words() -> None:
    assert find_reach_in_body("copy t to program 'x'; 'no end") == "COPY T TO PROGRAM '"
    assert find_reach_in_body("nothing of it 'no end") is None
