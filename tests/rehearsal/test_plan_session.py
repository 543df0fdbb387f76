"""Plans that try to be somebody else, or to reach the shared server unseen: never a yes."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.rehearsing import Rehearse, marker_in, ordinary_role, reasons

from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions

_numbers = itertools.count(1)


@pytest.fixture
def role(server: LocalServer, uat: LocalServer, connection: Connection) -> Iterator[str]:
    """A role of production that exists on UAT too, where nobody knows its password."""
    with ordinary_role(f"app_{next(_numbers)}", connection, server, uat) as name:
        yield name


@pytest.fixture
def rehearse(tmp_path: Path, database: Conninfo, uat: LocalServer) -> Iterator[Rehearse]:
    """Rehearse one file on UAT; nothing of it may be left there."""
    before = roles_of(uat)

    def run(text: str, *, target: Conninfo | None = None, **options: Any) -> dict[str, Any]:
        (tmp_path / "m.sql").write_text(text)
        chosen = RehearsalOptions(
            source=database.text, target=(target or uat.conninfo()).text, files=(tmp_path / "m.sql",), **options
        )
        return dict(Project.open(None, start=tmp_path).rehearse(chosen).document)

    yield run
    assert roles_of(uat) == before


def roles_of(server: LocalServer) -> list[str]:
    with connect(server.conninfo(), verb="test") as admin:
        return [
            name for (name,) in admin.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^pgrehearse' ORDER BY 1")
        ]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return marker_in(tmp_path)


# --- an ordinary role ------------------------------------------------------------------------------------------------


@pytest.mark.pg(">= 15")
def test_an_ordinary_plan_through_our_login_is_clean_and_of_full_grade(
    rehearse: Rehearse, connection: Connection, role: str
) -> None:
    connection.execute(f"CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO {role}".encode())
    document = rehearse(
        "ALTER TABLE t ADD COLUMN v int;\nRESET ROLE;\nRESET ALL;\nCREATE TABLE made (id int);\n"
        f"DO $$ BEGIN IF (SELECT tableowner FROM pg_tables WHERE tablename = 'made') <> '{role}' "
        "THEN RAISE 'not the owner'; END IF; END $$;",
        role=role,
    )
    assert document["verdict"] == "clean", reasons(document)
    assert document["grade"] == {"full": True, "why_not": []}


ESCAPES = {
    "at run time": "DO $$ BEGIN EXECUTE 'SET SESSION ' || 'AUTHORIZATION postgres'; {} END $$;",
    "reset": "DO $$ BEGIN EXECUTE 'RESET SESSION ' || 'AUTHORIZATION'; {} END $$;",
    "no role": "DO $$ BEGIN EXECUTE 'SET ROLE ' || 'NONE'; {} END $$;",
    "set_config": "CREATE FUNCTION leave_it() RETURNS text LANGUAGE sql "
    "AS $$ SELECT set_config('role', 'none', false) $$;\nSELECT leave_it();\nDO $$ BEGIN {} END $$;",
}  # fmt: skip
DEEDS = {
    "program": "EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'touch ' || '{marker}');",
    "role": "EXECUTE 'ALTER ' || 'ROLE {role} SUPERUSER';",
    "table": "EXECUTE 'ALTER TABLE ' || 'others ADD COLUMN note text';",
}


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize("escape", ESCAPES)
def test_no_plan_becomes_the_administrator_who_made_the_clone(
    rehearse: Rehearse, connection: Connection, role: str, uat: LocalServer, marker: Path, escape: str
) -> None:
    """In one file each deed is tried, whatever became of the one before."""
    connection.execute("CREATE TABLE others (id int)")
    tried = "".join(f"BEGIN {deed} EXCEPTION WHEN OTHERS THEN NULL; END; " for deed in DEEDS.values())
    text = ESCAPES[escape].format(tried.format(marker=marker, role=role))
    document = rehearse(text, role=role)
    # SET SESSION AUTHORIZATION to another is refused; its RESET leads back to production's role, as in production.
    verdicts = {"at run time": "failed", "reset": "clean", "no role": "unmeasured", "set_config": "unmeasured"}
    assert document["verdict"] == verdicts[escape], reasons(document)
    assert not marker.exists()
    assert all(change["name"] != "public.others.note" for change in document["schema"]["changes"])
    with connect(uat.conninfo(), verb="test") as admin:
        assert fetch_value(admin, "SELECT rolsuper FROM pg_roles WHERE rolname = %s", (role,)) is False


@pytest.mark.pg(">= 15")
def test_what_leads_back_to_the_role_in_production_does_so_here(
    rehearse: Rehearse, connection: Connection, role: str
) -> None:
    connection.execute(f"CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO {role}".encode())
    back = ("DISCARD ALL", "RESET ROLE", "SET SESSION AUTHORIZATION DEFAULT", "RESET SESSION AUTHORIZATION")
    still = f"DO $$ BEGIN IF current_user <> '{role}' THEN RAISE 'somebody else'; END IF; END $$"
    document = rehearse("".join(f"{each};\n{still};\n" for each in back) + "ALTER TABLE t ADD COLUMN v int;", role=role)
    assert document["verdict"] == "clean", reasons(document)


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize("leave", ["SET ROLE NONE", "SELECT set_config('role', 'none', false)"])
def test_what_leads_back_to_who_logged_in_is_not_measured_and_not_called_a_failure(
    rehearse: Rehearse, connection: Connection, role: str, leave: str
) -> None:
    """In production that is the role itself again, and the next statement would work."""
    connection.execute(f"CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO {role}".encode())
    document = rehearse(f"{leave};\nALTER TABLE t ADD COLUMN v int;", role=role)
    assert document["verdict"] == "unmeasured", reasons(document)
    assert "m.sql:1 on" in reasons(document)


@pytest.mark.pg("== 18")
def test_leaving_the_role_at_the_very_end_is_not_measured(rehearse: Rehearse, role: str) -> None:
    document = rehearse("CREATE TABLE u (id int);\nSET ROLE NONE;", role=role)
    assert document["verdict"] == "unmeasured", reasons(document)
    assert "m.sql:2 on" in reasons(document)


@pytest.mark.pg("== 18")
def test_leaving_the_role_inside_a_block_that_then_fails_is_not_measured(
    rehearse: Rehearse, connection: Connection, role: str
) -> None:
    connection.execute(f"CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO {role}".encode())
    document = rehearse("DO $$ BEGIN SET ROLE NONE; ALTER TABLE t ADD COLUMN v int; END $$;", role=role)
    assert document["verdict"] == "unmeasured", reasons(document)
    assert "whether it fails in production" in reasons(document)
    document = rehearse("ALTER TABLE pg_catalog.pg_class ADD COLUMN v int;", role=role)
    assert document["verdict"] == "failed"


@pytest.mark.pg("== 18")
def test_a_plan_that_asks_who_logged_in_is_of_less_than_full_grade(
    rehearse: Rehearse, connection: Connection, role: str
) -> None:
    connection.execute(
        "CREATE TABLE log (who text DEFAULT session_user, n int, more int GENERATED ALWAYS AS (n + 1) STORED)"
    )
    connection.execute(f"CREATE TABLE t (id int); ALTER TABLE t OWNER TO {role}".encode())
    grade = rehearse("ALTER TABLE t ADD COLUMN v int;", role=role)["grade"]
    assert grade["why_not"] == ["a default of log asks for session_user, which on the clone is a login of our own"]


@pytest.mark.pg("== 18")
def test_a_server_that_does_not_let_our_login_in_is_not_measured(
    rehearse: Rehearse, role: str, server: LocalServer
) -> None:
    with LocalServer.create(server.binaries) as strict:
        with connect(strict.conninfo(), verb="test") as admin:
            admin.execute(f"CREATE ROLE {role} LOGIN".encode())
            (strict.data_directory / "pg_hba.conf").write_text(
                "local all postgres scram-sha-256\nlocal all all reject\n"
            )
            admin.execute("SELECT pg_reload_conf()")
        document = rehearse("CREATE TABLE t (id int);", role=role, target=strict.conninfo())
        assert document["verdict"] == "unmeasured", reasons(document)
        assert "pg_hba.conf rejects" in reasons(document)
        assert "leave --target out" in reasons(document)
        assert roles_of(strict) == []


@pytest.mark.pg("== 18")
def test_a_change_of_the_shared_server_by_the_plan_is_not_measured(
    rehearse: Rehearse, role: str, server: LocalServer, uat: LocalServer
) -> None:
    """A role that may make roles does so by a string that stands nowhere."""
    for each in (server, uat):
        with connect(each.conninfo(), verb="test") as admin:
            admin.execute(f"ALTER ROLE {role} CREATEROLE".encode())
    made = f"made_by_{role}"
    try:
        document = rehearse(f"DO $$ BEGIN EXECUTE 'CREATE ' || 'ROLE {made}'; END $$;", role=role)
        assert document["verdict"] == "unmeasured", reasons(document)
        assert f"role {made} of the shared server is new: it was changed by the plan" in reasons(document)
    finally:
        with connect(uat.conninfo(), verb="test") as admin:
            admin.execute(f"DROP ROLE IF EXISTS {made}".encode())


# --- a superuser -----------------------------------------------------------------------------------------------------


PROGRAM = "EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'touch ' || '{marker}');"


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize("way", ["block", "function in the plan", "function that was there", "security definer"])
def test_a_superusers_string_is_not_run_on_a_shared_server(
    rehearse: Rehearse, connection: Connection, role: str, marker: Path, way: str
) -> None:
    body = f"BEGIN {PROGRAM.format(marker=marker)} END"
    function = f"CREATE FUNCTION hidden() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ {body} $$;"
    there = way in ("function that was there", "security definer")
    if there:
        connection.execute(function.encode())
    run_as = role if way == "security definer" else None
    text = {"block": f"DO $$ {body} $$;", "function in the plan": f"{function}\nSELECT hidden();"}
    document = rehearse(text.get(way, "SELECT hidden();"), role=run_as)
    assert document["verdict"] == "unmeasured", document["statements"]
    assert not marker.exists()
    assert "leave --target out" in reasons(document)


@pytest.mark.pg(">= 15")
def test_a_superusers_function_that_a_trigger_runs_is_found_while_it_runs(
    rehearse: Rehearse, connection: Connection
) -> None:
    connection.execute(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (n int);"
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN EXECUTE format('INSERT INTO %I VALUES (1)', 'log'); RETURN new; END $$;"
        "CREATE TRIGGER audit AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION audit()"
    )
    document = rehearse("CREATE TABLE other (id int);\nINSERT INTO t VALUES (1);")
    assert document["verdict"] == "unmeasured", reasons(document)
    assert "m.sql:2 does to the server: audit() ran in it as a role that may reach" in reasons(document)
    assert rehearse("ALTER TABLE t ADD COLUMN v int;")["verdict"] == "clean"


@pytest.mark.pg(">= 15")
def test_a_superusers_blocks_that_stand_in_the_file_are_measured(rehearse: Rehearse, connection: Connection) -> None:
    """As drizzle writes them."""
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (t_id int)")
    document = rehearse(
        "DO $$ BEGIN\n CREATE TYPE status AS ENUM ('a', 'b');\nEXCEPTION\n WHEN duplicate_object THEN null;\nEND $$;\n"
        "DO $$ BEGIN\n ALTER TABLE u ADD CONSTRAINT u_t_fk FOREIGN KEY (t_id) REFERENCES t (id);\n"
        "EXCEPTION\n WHEN duplicate_object THEN null;\nEND $$;\n"
        "DO $$ BEGIN EXECUTE 'ALTER TABLE t ADD COLUMN v int'; END $$;\nSET ROLE postgres;\nDISCARD ALL;\n"
    )
    assert document["verdict"] == "clean", reasons(document)
    assert document["grade"]["full"] is True


@pytest.mark.pg("== 18")
def test_what_fails_after_a_statement_that_was_not_run_is_no_measured_failure(rehearse: Rehearse) -> None:
    document = rehearse("DO $$ BEGIN EXECUTE 'CREATE TABLE a' || 'b (id int)'; END $$;\nALTER TABLE ab ADD v int;")
    assert document["verdict"] == "unmeasured", reasons(document)
    assert "which was not run here, may be why" in reasons(document)


@pytest.mark.pg("== 18")
def test_a_table_may_carry_the_name_of_a_function_that_is_not_seen_through(
    rehearse: Rehearse, connection: Connection
) -> None:
    connection.execute(
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN EXECUTE format('INSERT INTO %I VALUES (1)', 'log'); RETURN new; END $$"
    )
    document = rehearse("CREATE TABLE audit (id int);\nINSERT INTO audit (id) VALUES (1);")
    assert document["verdict"] == "clean", reasons(document)


@pytest.mark.pg(">= 15")
def test_a_superuser_through_our_login_is_one_and_what_only_it_may_is_not_called_a_failure(
    rehearse: Rehearse, connection: Connection, role: str, server: LocalServer, uat: LocalServer
) -> None:
    for each in (server, uat):
        with connect(each.conninfo(), verb="test") as admin:
            admin.execute(f"ALTER ROLE {role} SUPERUSER".encode())
    connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    document = rehearse("ALTER TABLE t ADD COLUMN v int;\nSET session_replication_role = replica;", role=role)
    assert document["verdict"] == "clean", reasons(document)
    document = rehearse("SET ROLE postgres;\nALTER TABLE t ADD COLUMN v int;", role=role)
    assert document["verdict"] == "unmeasured", reasons(document)
    assert "whether it fails in production" in reasons(document)


@pytest.mark.pg(">= 15")
def test_a_role_that_may_run_programs_is_held_like_a_superuser(
    rehearse: Rehearse, role: str, server: LocalServer, uat: LocalServer, marker: Path
) -> None:
    for each in (server, uat):
        with connect(each.conninfo(), verb="test") as admin:
            admin.execute(f"GRANT pg_execute_server_program TO {role}".encode())
    document = rehearse(f"DO $$ BEGIN {PROGRAM.format(marker=marker)} END $$;", role=role)
    assert document["verdict"] == "unmeasured", reasons(document)
    assert not marker.exists()
