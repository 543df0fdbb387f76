"""What a plan makes run that would reach another server, or a shared server's machine: not done, and never a yes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.rehearsing import Rehearse, marker_in, ordinary_role, reasons, rehearsing_on

from pgrehearse.clones import inert_functions
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import ON_A_SOCKET, Conninfo
from pgrehearse.postgres.local_server import LocalServer


@pytest.fixture
def rehearse(tmp_path: Path, database: Conninfo) -> Rehearse:
    return rehearsing_on(database, tmp_path)


@pytest.fixture
def app_owner(server: LocalServer, uat: LocalServer, connection: Connection) -> Iterator[str]:
    """An ordinary role on both servers."""
    with ordinary_role(f"{connection.info.dbname}_owner", connection, server, uat) as name:
        yield name


# --- another server --------------------------------------------------------------------------------------------------


@pytest.mark.pg("== 15")
def test_dblink_in_what_a_plan_runs_reaches_nobody_and_is_not_measured(
    rehearse: Rehearse, server: LocalServer, connection: Connection
) -> None:
    """Debian's 15 brings dblink; the log stands in production itself."""
    address = f"{server.conninfo().replaced(**dict.fromkeys(ON_A_SOCKET)).text} dbname={connection.info.dbname}"
    call = f"PERFORM dblink_exec('{address}', 'INSERT INTO log VALUES (1)');"
    caught = f"BEGIN {call} EXCEPTION WHEN OTHERS THEN NULL; END;"
    connection.execute("CREATE EXTENSION dblink; CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE log (n int)")
    connection.execute(
        f"CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {call} RETURN new; END $$;"
        f"CREATE FUNCTION quietly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {caught} RETURN new; END $$;"
        "CREATE TRIGGER tells AFTER UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION tell();"
        "CREATE TRIGGER quietly AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION quietly()".encode()
    )
    called = "the plan called dblink_exec(), which is switched off on a clone"
    document = rehearse("INSERT INTO t VALUES (1);\nUPDATE t SET v = 'x' WHERE id = 1;")
    assert document["verdict"] == "unmeasured", reasons(document)
    assert [statement["error"] is None for statement in document["statements"]] == [True, False]
    assert called in reasons(document)
    assert not any("schema differs" in why for why in document["grade"]["why_not"])
    connection.execute("DROP EXTENSION dblink CASCADE")
    document = rehearse(
        "CREATE EXTENSION dblink;\nCREATE FUNCTION again() RETURNS void LANGUAGE plpgsql AS "
        f"$$ BEGIN {caught} END $$;\nSELECT again();\n"
    )
    assert document["verdict"] == "unmeasured", reasons(document)
    assert called in reasons(document)
    assert connection.execute("SELECT count(*) FROM log").fetchone() == (0,)


@pytest.mark.pg("== 15")
@pytest.mark.parametrize("caught", [False, True])
def test_a_foreign_table_that_reaches_nobody_on_a_clone_is_not_measured(
    rehearse: Rehearse, server: LocalServer, connection: Connection, caught: bool
) -> None:
    """Debian's 15 brings postgres_fdw; the server behind it is production itself, where each form gives a row."""
    given = server.conninfo().parameters
    connection.execute("CREATE EXTENSION postgres_fdw; CREATE TABLE loc (id int PRIMARY KEY, v text)")
    connection.execute("CREATE TABLE theirs (id int PRIMARY KEY, v text); INSERT INTO theirs VALUES (1, 'x')")
    connection.execute(
        "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw "
        f"OPTIONS (host '{given['host']}', dbname '{connection.info.dbname}');"
        "CREATE FOREIGN TABLE ft (id int, v text) SERVER far OPTIONS (table_name 'theirs');"
        "CREATE USER MAPPING FOR PUBLIC SERVER far "
        f"OPTIONS (user '{given['user']}', password '{given['password']}');"
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SELECT v INTO new.v FROM ft; RETURN new; "
        "EXCEPTION WHEN OTHERS THEN RETURN new; END $$;"
        "CREATE TRIGGER fill BEFORE INSERT ON loc FOR EACH ROW EXECUTE FUNCTION fill()".encode()
    )
    by_trigger = "INSERT INTO loc (id) VALUES (1)"
    assert connection.execute(f"{by_trigger} RETURNING v".encode()).fetchall() == [("x",)]
    connection.execute("TRUNCATE loc")
    document = rehearse(f"{by_trigger};" if caught else "INSERT INTO loc SELECT id + 1000, v FROM ft;")
    assert document["verdict"] == "unmeasured", reasons(document)
    assert [statement["error"] is None for statement in document["statements"]] == [caught]
    assert "the plan used foreign-data wrapper postgres_fdw, which is switched off on a clone" in reasons(document)
    assert not any("schema differs" in why for why in document["grade"]["why_not"])


@pytest.mark.pg("== 15")
def test_what_only_a_superuser_may_switch_off_is_followed_by_names(
    rehearse: Rehearse, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a platform whose administrator is no superuser nothing can be replaced, and so nothing is counted."""
    monkeypatch.setattr(inert_functions, "_may_replace", lambda session: False)
    connection.execute(
        "CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink;"
        "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nonexistent');"
        'CREATE FOREIGN TABLE "their rows" (id int, v text) SERVER far;'
        'CREATE VIEW seen AS SELECT id, v FROM "their rows";'
        "CREATE TABLE own (id int PRIMARY KEY, v text); CREATE TABLE plain (id int PRIMARY KEY, v text);"
        "CREATE TABLE parts (id int, v text) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF parts DEFAULT;"
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SELECT v INTO new.v FROM seen; "
        "RETURN new; EXCEPTION WHEN OTHERS THEN RETURN new; END $$;"
        "CREATE FUNCTION halve(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 100 / $1; "
        "EXCEPTION WHEN division_by_zero THEN RAISE EXCEPTION 'never 0'; END $$;"
        "CREATE TRIGGER fill BEFORE INSERT ON own FOR EACH ROW EXECUTE FUNCTION fill()"
    )
    caught = "EXCEPTION WHEN OTHERS THEN NULL; END $$;"
    by_name = "whether the plan uses foreign table their rows: on a clone it reaches nobody"
    for plan, *told in (
        (
            "CREATE TRIGGER late BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION fill();\n"
            "INSERT INTO parts VALUES (1);\nDROP TRIGGER late ON part;",
            by_name,
        ),
        (
            f'DO $$ BEGIN DELETE FROM plain WHERE id IN (SELECT id FROM "their rows"); {caught}\n'
            f"DO $$ BEGIN PERFORM dblink('host=/nonexistent', 'SELECT 1'); {caught}",
            by_name,
            "what dblink() does elsewhere",
        ),
        ("DO $$ BEGIN EXECUTE 'DELETE ' || 'FROM plain'; END $$;", "whether the plan uses dblink, postgres_fdw"),
    ):
        document = rehearse(plan)
        assert document["verdict"] == "unmeasured", (plan, reasons(document))
        assert all(each["error"] is None for each in document["statements"])
        assert all(each in reasons(document) for each in told), (plan, reasons(document))
    document = rehearse(
        "ALTER TABLE own ADD COLUMN w int;\nCREATE INDEX ON parts (v);\nINSERT INTO plain VALUES (1, halve(4)::text);\n"
        f"DO $$ BEGIN INSERT INTO plain VALUES (2, 'see dblink'); {caught}\n"
        "CREATE FUNCTION later() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM dblink('', ''); END $$;"
    )
    assert document["verdict"] == "clean", reasons(document)


@pytest.mark.pg("== 18")
def test_a_function_in_an_untrusted_language_that_ran_is_not_measured(
    rehearse: Rehearse, connection: Connection
) -> None:
    """An untrusted language of our own: its handler is PL/pgSQL's, which every server has."""
    connection.execute(
        "CREATE FUNCTION shady_handler() RETURNS language_handler LANGUAGE c "
        "AS '$libdir/plpgsql', 'plpgsql_call_handler';"
        "CREATE LANGUAGE shady HANDLER shady_handler; CREATE TABLE t (id int PRIMARY KEY);"
        "CREATE FUNCTION sends() RETURNS trigger LANGUAGE shady AS $$ BEGIN RETURN new; END $$;"
        "CREATE TRIGGER sends BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION sends()"
    )
    document = rehearse("ALTER TABLE t ADD COLUMN w int;\nINSERT INTO t VALUES (1);")
    assert document["verdict"] == "unmeasured", reasons(document)
    assert "m.sql:2 does to the server: sends() ran in it" in reasons(document)
    assert "what shady does, to other servers too, cannot be seen" in reasons(document)


# --- a shared server's machine ---------------------------------------------------------------------------------------


@pytest.mark.pg("== 18")
def test_a_superusers_function_that_is_called_unnamed_does_not_run_on_a_shared_server(
    rehearse: Rehearse, connection: Connection, uat: LocalServer, app_owner: str, tmp_path: Path
) -> None:
    """SECURITY DEFINER, so that a plan's ordinary role is enough: by a trigger, and where its error is caught."""
    marker = marker_in(tmp_path)
    body = f"COPY (SELECT 'a;b') TO/**/PROGRAM 'cat > {marker}';"
    connection.execute(
        f"CREATE TABLE t (id int); ALTER TABLE t OWNER TO {app_owner};"
        f"CREATE FUNCTION audit() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN {body} END $$;"
        "CREATE FUNCTION around() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN BEGIN PERFORM audit(); EXCEPTION WHEN OTHERS THEN NULL; END; RETURN new; END $$;"
        "CREATE FUNCTION atonce() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
        f"$$ BEGIN {body} RETURN new; END $$;"
        "CREATE TRIGGER z AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION around();"
        "CREATE TRIGGER y AFTER DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION atonce()".encode()
    )
    shared: dict[str, Any] = {"target": uat.conninfo(), "role": app_owner}
    document = rehearse("INSERT INTO t VALUES (1);\nDELETE FROM t WHERE id = 2;", **shared)
    assert document["verdict"] == "unmeasured", reasons(document)
    assert "the plan called audit()" in reasons(document)
    assert "the plan called atonce()" in reasons(document)
    assert not marker.exists()
    document = rehearse("ALTER TABLE t ADD COLUMN v int;", **shared)
    assert document["verdict"] == "clean", reasons(document)
    assert [change["name"] for change in document["schema"]["changes"]] == ["public.t.v"]


@pytest.mark.pg("== 18")
def test_a_superusers_plan_runs_nothing_on_a_shared_servers_machine(
    rehearse: Rehearse, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    marker = marker_in(tmp_path)
    connection.execute("CREATE TABLE t (id int)")
    copies = f"COPY (SELECT 'a;b') TO PROGRAM 'cat > {marker}';"
    document = rehearse(
        f"DO $$ BEGIN {copies} END $$;\n"
        f"DO $$ BEGIN COPY (SELECT 1) TO PROGRAM U&'cat > {marker}'; END $$;\n"
        f"CREATE VIEW v AS SELECT lo_export(lo_from_bytea(0, 'x'), '{marker}');\n"
        f"SELECT * FROM ts_stat('select to_tsvector(lo_export(lo_from_bytea(0, ''x''), ''{marker}'')::text)');\n"
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC "
        f"SELECT lo_export(lo_from_bytea(0, 'x'), '{marker}'); END;\n"
        "SELECT f();\n"
        f"CREATE FUNCTION g(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN {copies} RETURN 1; END $$;\n"
        "CREATE INDEX ON t (g(id));\n"
        f"CREATE FUNCTION h() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {copies} RETURN new; END $$;\n"
        "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION h();\n"
        "INSERT INTO t VALUES (1);",
        target=uat.conninfo(),
    )
    assert document["verdict"] == "unmeasured", reasons(document)
    assert not marker.exists()
    told = reasons(document)
    assert [line for line in range(1, 12) if f"m.sql:{line} was not run" in told] == [1, 2, 3, 4, 6, 8]
    assert "h reaches beyond its database" in told


@pytest.mark.pg("== 18")
def test_roles_of_a_shared_server_are_not_changed_from_within_a_body(
    rehearse: Rehearse, connection: Connection, uat: LocalServer, app_owner: str
) -> None:
    connection.execute("CREATE TABLE t (id int)")
    statements = (
        f"GRANT pg_read_all_data TO {app_owner}",
        f"ALTER/**/ROLE {app_owner} CREATEDB",
        f"COMMENT ON ROLE {app_owner} IS 'changed'",
    )
    blocks = [f"DO $$ BEGIN {statement}; END $$;\n" for statement in statements]
    calls = [
        f"CREATE FUNCTION f{place}() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {statement}; END $$; "
        f"SELECT f{place}();\n"
        for place, statement in enumerate(statements)
    ]
    document = rehearse("".join(blocks + calls), target=uat.conninfo())
    assert document["verdict"] == "unmeasured", reasons(document)
    told = reasons(document)
    assert all(f"m.sql:{line} was not run" in told for line in range(1, 7)), told
    with connect(uat.conninfo(), verb="test") as admin:
        assert admin.execute(
            "SELECT rolcreatedb, pg_has_role(oid, 'pg_read_all_data', 'MEMBER'), shobj_description(oid, 'pg_authid') "
            "FROM pg_roles WHERE rolname = %s",
            (app_owner,),
        ).fetchone() == (False, False, None)
