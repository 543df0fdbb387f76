"""The plan beside traffic: who waits for it, for how long, and what is said where nobody could look."""

import time
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from tests.support.applying import wait_until
from tests.support.schemas import validate_answer

from pgrehearse.clones.guards import NOT_ASKED
from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.statements import split_file
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.postgres.locks import LockMode
from pgrehearse.progress import Silent
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.rehearsal.contention import (
    Contended,
    Contention,
    ContentionLevel,
    LockWaits,
    Outcome,
    TrafficFigures,
    TrafficKind,
    find_contended,
)
from pgrehearse.rehearsal.contention_findings import find_contention_findings, find_unmeasured_contention
from pgrehearse.rehearsal.contention_run import contend
from pgrehearse.rehearsal.contention_script import ScriptRun, ScriptTraffic
from pgrehearse.rehearsal.contention_traffic import Traffic, TrafficStatement, read_statements
from pgrehearse.rehearsal.contention_watch import LockWatch, PlanUnderTraffic, Reader
from pgrehearse.rehearsal.render import render_markdown, render_text

SHOP = """
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, nick text);
INSERT INTO users SELECT n, 'name ' || n, 'nick' FROM generate_series(1, 500) n;
CREATE TABLE "Odd ""%s"" orders" (place text, "no" bigint, total numeric, PRIMARY KEY (place, "no"));
INSERT INTO "Odd ""%s"" orders" SELECT 'a%sb', n, 1 FROM generate_series(1, 50) n;
CREATE TABLE notes (body text);
CREATE TABLE log (id int PRIMARY KEY, at timestamptz);
CREATE FUNCTION write_log() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO log SELECT count(*) + 1, now() FROM log; RETURN NEW; END';
CREATE TRIGGER log AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION write_log();
"""
PLAN = """
ALTER TABLE users ADD COLUMN age int;
ALTER TABLE "Odd ""%s"" orders" DROP COLUMN total;
DROP TABLE notes;
SELECT pg_sleep(0.6);
"""


@pytest.fixture
def role(server: LocalServer, uat: LocalServer, database: Conninfo) -> Iterator[str]:
    """Who owns the tables, without any power beyond them; dropped afterwards."""
    name = f"owner_{database.database}"
    for each in (server, uat):
        with connect(each.conninfo(), verb="test") as admin:
            admin.execute(f"CREATE ROLE {name} LOGIN".encode())
    yield name
    with connect(database, verb="test") as admin:
        admin.execute(f"DROP OWNED BY {name} CASCADE".encode())
    for each in (server, uat):
        with connect(each.conninfo(), verb="test") as admin:
            admin.execute(f"DROP ROLE {name}".encode())


@pytest.fixture
def shop(connection: Connection, database: Conninfo, role: str) -> Conninfo:
    grants = f"GRANT ALL ON SCHEMA public TO {role}; GRANT CREATE ON DATABASE {database.database} TO {role};"
    connection.execute((f"{grants}SET ROLE {role};" + SHOP + "RESET ROLE; ANALYZE").encode())
    connection.execute("SELECT pg_stat_force_next_flush()")  # else what it wrote is counted some seconds later
    return database


def run(folder: Path, source: Conninfo, target: LocalServer, migration: str, **options: Any) -> dict[str, Any]:
    (folder / "m.sql").write_text(migration)
    chosen = RehearsalOptions(
        source=source.text, target=target.conninfo().text, files=(folder / "m.sql",), way_back=False,
        **{"contention": "light", **options},
    )  # fmt: skip
    receipt = Project.open(None, start=folder).rehearse(chosen)
    validate_answer("run", receipt.run_document)
    validate_answer("receipt", dict(receipt.document))
    return dict(receipt.document)


@pytest.mark.pg("== 18")
def test_a_rehearsal_tells_what_others_feel(shop: Conninfo, role: str, uat: LocalServer, tmp_path: Path) -> None:
    (tmp_path / "app.sql").write_text("SELECT count(*) FROM users;")
    document = run(tmp_path, shop, uat, PLAN, role=role, contention_script=tmp_path / "app.sql")
    found = document["contention"]
    assert found["outcome"] == "measured", found
    assert found["left_out"] == []
    figures = {(each["what"], each["kind"]): each for each in found["traffic"]}
    odd = 'public."Odd ""%s"" orders"'
    names = ("public.users", "public.notes", odd)
    scripted = figures.pop(("app.sql", "script"))
    assert scripted["longest_ms"] >= 500
    assert set(figures) == {(name, kind) for name in names for kind in ("read", "write")}
    # All locks are held until the transaction ends, behind pg_sleep, and each conflicts with both kinds.
    stalled = {what for (what, _), each in figures.items() if each["longest_ms"] >= 500}
    assert stalled == set(names)
    assert 500 <= found["held_up_by_plan_ms"] <= found["longest_stall_ms"] + 100
    assert found["plan_waited_ms"] >= 250  # for the reader that was there before, and the others queued behind
    assert found["longest_queue"] >= 1
    assert {code["sqlstate"] for each in found["traffic"] for code in each["errors"]} <= {
        "42P01",
        "42703",
    }  # it uses what the plan drops
    assert found["plan_error"] is None
    assert "stall-over-max-block" not in {each["hazard"] for each in document["findings"]}  # 5 s are allowed
    assert found["forecast"]["outcome"] == "measured"  # nobody uses production here
    assert {(lock["relation"], lock["would_wait"]) for lock in found["forecast"]["locks"]} == {
        (name, 0) for name in names
    }
    assert all(lock["held_ms"] >= 600 for lock in found["forecast"]["locks"])
    text = StringIO()
    render_text(document, Console(file=text, width=200))
    assert "Contention (light)\n  6 sessions: the plan took " in text.getvalue()
    assert "| public.users | write |" in render_markdown(document)
    with connect(uat.conninfo(), verb="test") as admin:
        left = "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ 'traffic|watch'"
        wait_until(lambda: fetch_value(admin, left) == 0)  # a session that was closed takes a moment to end


@pytest.mark.pg("== 18")
def test_a_plan_that_does_not_run_twice_is_no_finding(
    connection: Connection, database: Conninfo, tmp_path: Path
) -> None:
    """What it made outside of its database, on a private server, is still there from the quiet run."""
    connection.execute("CREATE TABLE t (id int)")
    make = "DO $$ BEGIN EXECUTE 'CREATE ' || 'ROLE made_by_it'; END $$;"
    (tmp_path / "m.sql").write_text(f"{make}\nALTER TABLE t ADD COLUMN v int;")
    chosen = RehearsalOptions(
        source=database.text, files=(tmp_path / "m.sql",), way_back=False, contention="light"
    )  # fmt: skip
    document = Project.open(None, start=tmp_path).rehearse(chosen).document
    assert (document["verdict"], document["findings"]) == ("clean", [])
    assert document["contention"]["outcome"] == "not-measured"
    assert "already exists" in document["contention"]["reason"]


@pytest.mark.pg(">= 15")
def test_traffic_is_felt_and_leaves_nothing(shop: Conninfo, connection: Connection) -> None:
    """The plan is a plain session here, and its lock is held for 300 ms."""
    names = ["public.users", 'public."Odd ""%s"" orders"', "public.notes"]
    statements, left_out = read_statements(connection, names)
    assert left_out == {}
    assert [len(each.keys) for each in statements if each.kind is TrafficKind.READ] == [200, 50, 0]
    for text in (b"SELECT count(*) FROM users WHERE name LIKE '%1'", b"SELECT 1/0"):
        statements.append(TrafficStatement(what="app.sql", kind=TrafficKind.APPLICATION, text=text))
    observed = PlanUnderTraffic(until_s=time.monotonic() + 60)
    traffic = Traffic(lambda: connect(shop, verb="test"), statements, at_least=7, per_second=400)
    with connect(shop, verb="test") as plan, traffic:
        said = "fails before the plan, too: division by zero (SQLSTATE 22012)"
        assert traffic.left_out == {"a statement of app.sql": said}
        observed.pids = [plan.info.backend_pid]
        reader = Reader(connect(shop, verb="test"), [("public", "users")], hold_s=0.1)
        watch = LockWatch(connect(shop, verb="test"), observed, reader)
        with watch:
            time.sleep(0.1)
            begun = time.monotonic()
            plan.execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.3); ROLLBACK")
            ended = time.monotonic()
            time.sleep(0.05)
        traffic.stop()
        figures = {(each.what, each.kind): each for each in traffic.figures(begun_s=begun, ended_s=ended)}
    assert watch.looked
    assert watch.waits.plan_ms >= 80
    assert watch.waits.behind_plan_ms >= 250
    assert watch.waits.longest_queue >= 1
    for what, kind in (
        ("public.users", TrafficKind.READ), ("public.users", TrafficKind.WRITE), ("app.sql", TrafficKind.APPLICATION)
    ):  # fmt: skip
        figure = figures[what, kind]
        assert figure.longest_ms is not None
        assert figure.longest_ms >= 300
        assert figure.errors == ()
    assert all(each.errors == () for each in figures.values())
    assert not reader.holds
    # By plain SQL: the trigger of each write wrote a row, and none is there.
    assert fetch_value(connection, "SELECT count(*) FROM log") == 0
    assert fetch_value(connection, "SELECT count(DISTINCT xmin::text) FROM users") == 1


@pytest.mark.pg("== 18")
def test_what_fails_before_the_plan_gets_no_traffic(connection: Connection, database: Conninfo) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)")
    connection.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'")
    connection.execute("CREATE TRIGGER no BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION no()")
    connection.execute("CREATE TABLE bare ()")
    connection.execute("CREATE TABLE ruled (id int); CREATE RULE r AS ON UPDATE TO ruled DO INSTEAD SELECT 1")
    statements, left_out = read_statements(connection, ["public.t", "public.bare", "public.ruled"])
    assert left_out == {
        "writes to public.bare": "it has no column that may be set to itself",
        "writes to public.ruled": "its rules would do something else instead",
    }
    with Traffic(lambda: connect(database, verb="test"), statements, at_least=1, per_second=100) as traffic:
        assert traffic.statements == 3
    assert traffic.left_out == {"writes to public.t": "fails before the plan, too: no (SQLSTATE P0001)"}


# Two transactions that take the same two locks in different orders, far enough apart in time to meet.
SCRIPT = """\\set n random(1, 50)
BEGIN;
UPDATE a SET v = 1 WHERE id = :n;
\\sleep 5 ms
UPDATE b SET v = 1 WHERE id = :n;
END;
"""


@pytest.mark.pg("== 18")
def test_a_script_meets_what_a_plan_locks(
    database: Conninfo, connection: Connection, server: LocalServer, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        connection.execute(f"CREATE TABLE {name} AS SELECT n AS id, 0 AS v FROM generate_series(1, 50) n".encode())
    (tmp_path / "app.sql").write_text(SCRIPT)
    run_of = ScriptRun(script=tmp_path / "app.sql", clients=4, per_second=200, seconds=3)
    with (
        ScriptTraffic(run_of, database, server_major=server.binaries.major) as script,
        connect(database, verb="test") as plan,
    ):
        deadline = time.monotonic() + 120
        while not fetch_value(connection, "SELECT count(*) FROM b WHERE v = 1"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        begun = time.time()
        plan.execute(
            "SET deadlock_timeout = '1min'; BEGIN; LOCK TABLE b IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.3)"
        )
        plan.execute("LOCK TABLE a IN ACCESS EXCLUSIVE MODE; ROLLBACK")  # the script's sessions wait for b
        ended = time.time()
        script.finish(at_most_s=120)
        assert script.problem is None
        found = script.figures(begun_at=begun, ended_at=ended)
    assert (found.what, found.kind) == ("app.sql", TrafficKind.SCRIPT)
    assert found.sent >= 1
    assert found.longest_ms is not None
    assert found.longest_ms >= 300
    assert "40P01" in {each.sqlstate for each in found.errors}
    broken = ScriptRun(script=tmp_path / "broken.sql", clients=1, per_second=10, seconds=1)
    broken.script.write_text("SELECT nothing FROM nowhere;")
    with ScriptTraffic(broken, database, server_major=server.binaries.major) as script:
        script.finish(at_most_s=120)
        assert script.problem is not None


# --- without a server ------------------------------------------------------------------------------------------------


def traced(line: int, text: str, locks: dict[str, LockMode], *, rows: int | None = None) -> StatementTrace:
    content = ("\n" * (line - 1) + text).encode()
    migration = Migration(version="1", name="m", path="m.sql", kind=SourceKind.AD_HOC, content=content)
    (statement,) = split_file(content, path="m.sql", kind=SourceKind.AD_HOC)
    return StatementTrace(
        migration=migration, statement=statement, duration_ms=10, rows_affected=rows, locks=locks, rewrites=(),
        scans_under_lock=(), error=None, sampled=False, transaction=1,
    )  # fmt: skip


def test_others_contend_for_what_is_locked_against_them_and_for_rows_that_are_changed() -> None:
    share, row, strong = LockMode.SHARE, LockMode.ROW_EXCLUSIVE, LockMode.ACCESS_EXCLUSIVE
    traces = [
        traced(1, "CREATE INDEX ON a (x)", {"public.a": share}),
        traced(2, "INSERT INTO b VALUES (1)", {"public.b": row}, rows=1),
        traced(3, "UPDATE c SET x = 1", {"public.c": row}, rows=5),
        traced(4, "DELETE FROM d", {"public.d": row}, rows=0),
        traced(5, "ALTER TABLE e VALIDATE CONSTRAINT k", {"public.e": LockMode.SHARE_UPDATE_EXCLUSIVE}),
        traced(6, "ALTER TABLE a ADD y int", {"public.a": strong}),
    ]
    found = [(each.relation, each.mode, each.line, each.duration_ms) for each in find_contended(traces)]
    assert found == [("public.a", strong, 6, 20), ("public.c", row, 3, 10)]


def measured(*, longest_ms: float, server_ms: float, max_block_ms: float | None = 5000.0, **more: Any) -> Contention:
    felt = TrafficFigures(
        what="public.a", kind=TrafficKind.READ, sent=3, longest_ms=longest_ms, p99_before_ms=1, p99_ms=longest_ms
    )
    locked = Contended(relation="public.a", mode=LockMode.ACCESS_EXCLUSIVE, file="m.sql", line=6, duration_ms=10)
    return Contention(
        level=ContentionLevel.LIGHT, outcome=Outcome.MEASURED, contended=(locked,), max_block_ms=max_block_ms,
        waits=LockWaits(plan_ms=300, behind_plan_ms=server_ms, longest_queue=4), traffic=(felt,), **more,
    )  # fmt: skip


def test_a_stall_is_a_finding_once_it_is_longer_than_others_may_wait() -> None:
    (finding,) = find_contention_findings(measured(longest_ms=6000, server_ms=5900))
    assert (finding.hazard, finding.level, finding.file, finding.line) == (
        "stall-over-max-block", Level.ERROR, "m.sql", 6
    )  # fmt: skip
    assert finding.measured["longest_stall_ms"] == 6000
    assert find_contention_findings(measured(longest_ms=4900, server_ms=4900)) == ()
    assert find_contention_findings(measured(longest_ms=6000, server_ms=20)) == ()  # a busy machine, and no lock
    assert find_contention_findings(measured(longest_ms=6000, server_ms=5900, max_block_ms=None)) == ()


def test_deadlocks_and_a_plan_that_fails_beside_others_are_findings() -> None:
    found = measured(longest_ms=1, server_ms=1, deadlocks=2, plan_error="m.sql:6:1: canceling", lock_timeouts=6)
    assert [(each.hazard, each.level) for each in find_contention_findings(found)] == [
        ("deadlock-with-traffic", Level.WARNING), ("fails-under-traffic", Level.ERROR)
    ]  # fmt: skip


def test_what_could_not_be_looked_at_is_told() -> None:
    found = replace(measured(longest_ms=9e9, server_ms=9e9), outcome=Outcome.NOT_MEASURED, reason="no room")
    assert find_contention_findings(found) == ()
    assert [(each.what, each.reason, each.decisive) for each in find_unmeasured_contention(found)] == [
        ("contention", "no room", False)
    ]
    found = measured(longest_ms=1, server_ms=1, left_out={"public.b": "no keys"})
    assert [(each.what, each.reason) for each in find_unmeasured_contention(found)] == [
        ("contention: public.b", "no keys")
    ]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"failure": object()}, "the plan failed already without traffic"),
        ({"quiet_ms": 31_000.0}, "a copy and the plan take 31 s without traffic, and this is given 30 s"),
        ({"same_server_allowed": True}, "clone.same_server lets the clone stand beside a protected database"),
        ({"unguarded": ("prd",)}, "nobody could ask whether the target's server holds prd too"),
        ({"not_measured": (f"{NOT_ASKED} db/shop: refused",)}, "a protected environment could not be asked"),
        ({"level": ContentionLevel.OFF}, "not asked for (--contention off)"),
    ],
)
def test_why_there_is_no_traffic(changed: dict[str, Any], reason: str) -> None:
    """Decided before any server is asked, so that none is needed here."""
    request = SimpleNamespace(
        contention=changed.get("level", ContentionLevel.LIGHT), waits=Limits(), unguarded=changed.get("unguarded", ()),
        copying={"same_server_allowed": changed.get("same_server_allowed", False), "keep": False},
    )  # fmt: skip
    traces = (traced(1, "ALTER TABLE a ADD y int", {"public.a": LockMode.ACCESS_EXCLUSIVE}),)
    seen = SimpleNamespace(
        request=request, traces=traces, not_run=(), unmeasured=[], failure=changed.get("failure"),
        timings={"apply_ms": changed.get("quiet_ms", 10.0)},
    )  # fmt: skip
    pair = SimpleNamespace(
        role_problem=None, is_private=False,
        not_measured=changed.get("not_measured", ()), timings=SimpleNamespace(template_ms=10.0),
    )  # fmt: skip
    found = contend(cast("Any", pair), cast("Any", seen), Silent(), prepare_ledger=lambda: None)
    assert found.outcome is Outcome.NOT_MEASURED
    assert found.reason is not None
    assert found.reason.startswith(reason)
