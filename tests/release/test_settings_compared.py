"""Which settings close the gate when they were changed since the rehearsal, and whose they are."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import sql

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import read_identity
from pgrehearse.rehearsal.settings import StartingSettings, read_settings
from pgrehearse.release.freshness import Bounds, ProductionNow, judge_freshness

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CHANGE_EFFECTS = {
    "transform_null_equals": "on", "bytea_output": "escape", "default_text_search_config": "pg_catalog.german",
    "IntervalStyle": "iso_8601", "extra_float_digits": "-3", "lc_monetary": "POSIX", "lc_numeric": "POSIX",
    "lc_time": "POSIX", "quote_all_identifiers": "on", "array_nulls": "off", "backslash_quote": "on",
    "xmlbinary": "hex", "xmloption": "document", "plpgsql.variable_conflict": "use_column",
    "plpgsql.check_asserts": "off", "plpgsql.extra_errors": "too_many_rows", "lo_compat_privileges": "on",
    "search_path": "elsewhere", "TimeZone": "Asia/Tokyo", "DateStyle": "German", "row_security": "off",
    "standard_conforming_strings": "off", "check_function_bodies": "off", "session_replication_role": "replica",
    "gin_fuzzy_search_limit": "7", "password_encryption": "md5", "default_transaction_isolation": "serializable",
    "app.ids": "1,2", "App.Tenant": "seven",
}  # fmt: skip
CHANGE_NONE = {
    "statement_timeout": "1min", "lock_timeout": "3s", "work_mem": "8MB", "log_statement": "all",
    "default_transaction_read_only": "on", "enable_seqscan": "off", "escape_string_warning": "off",
    "client_min_messages": "error", "auto_explain.log_min_duration": "1s", "pg_stat_statements.track": "all",
}  # fmt: skip
ROLES = ("sc_reader", "sc_migrator")


@pytest.fixture
def roles(database: Conninfo, server_major: int) -> Iterator[Conninfo]:
    """Two roles that may log in; the address of the one that only reads."""
    with connect(database, verb="test") as admin:
        for role in ROLES:
            admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'own'".encode())
    yield database.replaced(user="sc_reader", password="own")
    with connect(database, verb="test") as admin:
        for role in ROLES:
            admin.execute(f"DROP OWNED BY {role}".encode())
            admin.execute(f"ALTER ROLE {role} RESET ALL".encode())
            admin.execute(
                sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(
                    sql.Identifier(role), sql.Identifier(str(database.database))
                )
            )
            admin.execute(f"DROP ROLE {role}".encode())


def _started(address: Conninfo, role: str | None = None, *, named: tuple[str, ...] = ()) -> StartingSettings:
    with connect(address, verb="test") as session:
        return read_settings(session, role, named=named)


def _set(connection: Connection, whose: str, name: str, value: str | None) -> None:
    """ALTER ``whose``; None: RESET.  The ``{}`` in it is the database."""
    database = sql.Identifier(connection.info.dbname)
    parts = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
    what = sql.SQL("RESET {}").format(parts) if value is None else sql.SQL("SET {} = {}").format(parts, value)
    connection.execute(sql.SQL("ALTER {} {}").format(sql.SQL(whose).format(database), what))


@pytest.fixture
def judge(connection: Connection) -> Callable[..., tuple[list[str], list[str]]]:
    identity = read_identity(connection)

    def judge(
        then: StartingSettings,
        now: StartingSettings,
        *,
        leave_out: tuple[str, ...] = (),
        plan: tuple[str, ...] = (),
        partly_applied: bool = False,
    ) -> tuple[list[str], list[str]]:
        receipt: dict[str, Any] = {
            "settings": {name: value for name, value in then.settings.items() if name not in leave_out},
            "parameters": then.parameters_as_json(), "table_sizes": {},
        }  # fmt: skip
        if "parameters" in leave_out:
            del receipt["parameters"]
        document: dict[str, Any] = {"source": {"taken_at": NOW.isoformat()}, "receipt": receipt, "tables": []}
        document["statements"] = [{"sql": statement} for statement in plan]
        production = ProductionNow(identity=identity, lsn=None, at=NOW, settings=now, sizes={})
        reasons, told = judge_freshness(document, production, Bounds(), [], partly_applied=partly_applied)
        return [detail for reason in reasons for detail in reason.details], told

    return judge


@pytest.mark.pg(">= 15")
def test_a_setting_of_the_database_that_changes_effects_is_found_and_no_other(
    connection: Connection, database: Conninfo, judge: Any
) -> None:
    then = _started(database)
    assert judge(then, _started(database)) == ([], [])
    for name, value in CHANGE_NONE.items():
        _set(connection, "DATABASE {}", name, value)
    assert judge(then, _started(database)) == ([], [])
    for name in CHANGE_NONE:
        _set(connection, "DATABASE {}", name, None)
    missed = []
    for name, value in CHANGE_EFFECTS.items():
        _set(connection, "DATABASE {}", name, value)
        refused, told = judge(then, _started(database))
        assert told == []
        if [line.partition(":")[0].lower() for line in refused] != [name.lower()]:
            missed.append((name, refused))
        _set(connection, "DATABASE {}", name, None)
    assert missed == []
    assert judge(then, _started(database)) == ([], [])


@pytest.mark.pg(">= 15")
def test_a_custom_parameter_s_value_is_nowhere(connection: Connection, database: Conninfo, judge: Any) -> None:
    _set(connection, "DATABASE {}", "app.token", "first-secret")
    then = _started(database)
    _set(connection, "DATABASE {}", "app.token", "second-secret")
    now = _started(database)
    assert judge(then, now) == (["app.token: another value now"], [])
    assert "secret" not in repr((then, now, judge(then, now)))
    _set(connection, "DATABASE {}", "app.token", None)
    assert judge(then, _started(database)) == (["app.token: set then, not set now"], [])
    assert judge(_started(database), then) == (["app.token: not set then, set now"], [])


@pytest.mark.pg(">= 15")
def test_they_are_the_migrating_role_s_and_not_the_reader_s(
    connection: Connection, database: Conninfo, roles: Conninfo, judge: Any
) -> None:
    migrating = roles.replaced(user="sc_migrator")
    for name, value in (("DateStyle", "sql,dmy"), ("search_path", "s2"), ("app.tenant", "of the reader")):
        _set(connection, "ROLE sc_reader", name, value)
    _set(connection, "DATABASE {}", "bytea_output", "escape")
    _set(connection, "ROLE sc_migrator IN DATABASE {}", "datestyle", "german")
    _set(connection, "ROLE sc_migrator", "lo_compat_privileges", "true")  # a superuser's to set
    _set(connection, "ROLE sc_migrator", "app.tenant", "its own")
    then, now = _started(roles, "sc_migrator"), _started(migrating)
    assert now.settings["DateStyle"] == then.settings["DateStyle"] == "German, DMY"
    assert then.parameters == now.parameters
    assert judge(then, now) == ([], [])

    _set(connection, "ROLE sc_migrator IN DATABASE {}", "intervalstyle", "iso_8601")
    _set(connection, "ROLE sc_reader IN DATABASE {}", "xmlbinary", "hex")
    assert judge(_started(roles, "sc_migrator"), _started(migrating)) == ([], [])
    assert judge(then, _started(migrating)) == (["IntervalStyle: postgres then, iso_8601 now"], [])


@pytest.mark.pg("== 18")
def test_what_a_receipt_does_not_have_is_told_and_refuses_nothing(
    connection: Connection, database: Conninfo, judge: Any
) -> None:
    then = _started(database)
    _set(connection, "DATABASE {}", "app.tenant", "seven")
    _set(connection, "DATABASE {}", "xmlbinary", "hex")
    assert judge(then, _started(database), leave_out=("xmlbinary", "parameters")) == (
        [], ["not compared, since the receipt does not have them: xmlbinary, app.tenant"],
    )  # fmt: skip


@pytest.mark.pg("== 18")
def test_what_nothing_tells_now_is_told_and_refuses_nothing(database: Conninfo, judge: Any) -> None:
    then = _started(database)
    settings = {name: value for name, value in then.settings.items() if name not in ("xmlbinary", "lock_timeout")}
    assert judge(then, replace(then, settings=settings)) == (
        [], ["not compared, since nothing tells them now: xmlbinary"],
    )  # fmt: skip


@pytest.mark.pg("== 18")
def test_a_parameter_that_nobody_could_list_then_is_not_told_as_new(
    database: Conninfo, roles: Conninfo, judge: Any
) -> None:
    with_options = database.replaced(options="-c app.tenant=seven")
    then = _started(roles.replaced(options="-c app.tenant=seven"))
    assert (then.lists_parameters, then.parameters) == (False, {})
    now = StartingSettings(
        role="", settings=then.settings, parameters={"app.tenant": "1"}, lists_parameters=True, mentioned=frozenset()
    )
    assert judge(then, now) == ([], [])
    named = _started(with_options, named=("app.tenant",))
    assert list(named.parameters) == ["app.tenant"]
    refused, _ = judge(then, named)
    assert refused == ["app.tenant: not set then, set now"]


@pytest.mark.pg("== 18")
def test_what_the_applied_part_of_a_plan_has_set_itself_does_not_stop_the_rest(
    connection: Connection, database: Conninfo, judge: Any
) -> None:
    plan = (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET app.version = %L', current_database(), 2); END $$",
        'ALTER ROLE CURRENT_USER SET "XmlBinary" = hex',
    )
    then = _started(database)
    for name, value in (("app.version", "2"), ("xmlbinary", "hex"), ("xmloption", "document")):
        _set(connection, "DATABASE {}", name, value)
    now = _started(database)
    assert len(judge(then, now, plan=plan)[0]) == 3
    assert judge(then, now, plan=plan, partly_applied=True) == (
        ["xmloption: content then, document now"],
        [
            "xmlbinary: base64 then, hex now; not compared, for the plan sets it",
            "app.version: not set then, set now; not compared, for the plan sets it",
        ],
    )


@pytest.mark.pg("== 18")
@pytest.mark.parametrize(
    ("statement", "whose"),
    [
        ("ALTER ROLE app SET TIME ZONE 'Asia/Tokyo'", {"TimeZone"}),
        ("alter role app /* for\nall */ set time  zone 'Asia/Tokyo'", {"TimeZone"}),
        ("ALTER DATABASE d SET SCHEMA 's'", {"search_path"}),
        ("ALTER ROLE app SET XML OPTION DOCUMENT", {"xmloption"}),
        ("ALTER ROLE app RESET ALL", {"TimeZone", "search_path", "xmloption", "app.version"}),
        ("ALTER ROLE app SET/* c */App.Version = 2", {"app.version"}),
        ("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET %s', 'd', 'x = 1'); END $$",
         {"TimeZone", "search_path", "xmloption", "app.version"}),
        ("ALTER TABLE t SET (fillfactor = 90)", set()),
    ],
)  # fmt: skip
def test_a_setting_is_known_by_every_way_of_writing_it(
    connection: Connection, database: Conninfo, judge: Any, statement: str, whose: set[str]
) -> None:
    then = _started(database)
    for name, value in (
        ("TimeZone", "Asia/Tokyo"), ("search_path", "s"), ("xmloption", "document"), ("app.version", "2"),
    ):  # fmt: skip
        _set(connection, "DATABASE {}", name, value)
    refused, told = judge(then, _started(database), plan=(statement,), partly_applied=True)
    assert {line.partition(":")[0] for line in told} == whose
    assert len(refused) == 4 - len(whose)


@pytest.mark.pg(">= 15")
def test_a_role_that_becomes_another_one_is_told(
    connection: Connection, database: Conninfo, roles: Conninfo, judge: Any
) -> None:
    """Whose rights a plan runs with, and who owns what it makes."""
    then = _started(roles, "sc_migrator")
    assert then.settings["role"] == "none"
    connection.execute("GRANT sc_reader TO sc_migrator")
    _set(connection, "ROLE sc_migrator", "role", "sc_reader")
    assert judge(then, _started(database, "sc_migrator"))[0] == ["role: none then, sc_reader now"]
    assert _started(roles.replaced(user="sc_migrator")).settings["role"] == "sc_reader"
