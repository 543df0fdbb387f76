"""Going back: one transaction, all of it or nothing; what was written since is kept, and told."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from tests.support.applying import (
    DRIZZLE,
    FOLDER,
    QUICK,
    ledger_of,
    plan_of,
    recorded,
    run_plan,
    sessions_to,
    wait_until,
)
from tests.support.dumps import dump_text

import pgrehearse.rollback.perform as perform_module
from pgrehearse.errors import ConnectionLost, RunnerBusy, WayBackFailed
from pgrehearse.migrations.ledger_wall import Executor
from pgrehearse.migrations.migration import Plan, SourceKind
from pgrehearse.migrations.runner_lock import take_turn
from pgrehearse.migrations.watchdog import Blocked, Watchdog
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.rollback.aside import Added, find_added
from pgrehearse.rollback.perform import Ddl, WentBack, perform, weaken

SHOP = "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT n, n FROM generate_series(1, 9) n"


def go_back(
    database: Conninfo, plan: Plan, *statements: str, after_rows: tuple[str, ...] = (), **options: object
) -> WentBack:
    kind = plan.migrations[0].kind
    settings = {"ledger": ledger_of(kind), "limits": QUICK, "id": "p1", **options}
    ddl = Ddl(statements=statements, after_rows=after_rows)
    return perform(sessions_to(database), ddl, (), plan=plan.migrations, **settings)  # type: ignore[arg-type]


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize("kind", [FOLDER, DRIZZLE])
def test_what_was_taken_back_can_be_applied_again(connection: Connection, database: Conninfo, kind: SourceKind) -> None:
    connection.execute(SHOP)
    plan = plan_of("ALTER TABLE t ADD b int;", "CREATE INDEX t_b ON t (b);", kind=kind)
    first = plan_of("ALTER TABLE t ADD b int;", kind=kind)
    run_plan(database, first)
    before, rows = dump_text(database, "--schema=public"), recorded(connection, kind)
    run_plan(database, plan)
    second = Plan.of(plan.migrations[1:])
    went_back = go_back(database, second, "DROP INDEX public.t_b;")
    assert went_back.attempts == 1
    assert went_back.put_back is None
    assert dump_text(database, "--schema=public") == before
    assert recorded(connection, kind) == rows
    assert list(run_plan(database, plan).applied) == ["0002_step"]


@pytest.mark.pg("== 18")
def test_a_failing_statement_changes_nothing_and_is_named(connection: Connection, database: Conninfo) -> None:
    connection.execute(SHOP)
    plan = plan_of("ALTER TABLE t ADD b int;")
    run_plan(database, plan)
    before = dump_text(database)
    with pytest.raises(WayBackFailed, match=r"42704.*DROP INDEX public\.none"):
        go_back(database, plan, "ALTER TABLE public.t DROP COLUMN b;", "DROP INDEX public.none;")
    assert dump_text(database).split("COPY", 1)[0] == before.split("COPY", 1)[0]
    assert recorded(connection) == ["0001_step"]


@pytest.mark.pg("== 18")
def test_what_the_ledger_does_not_know_is_not_taken_back(connection: Connection, database: Conninfo) -> None:
    connection.execute(SHOP)
    plan = plan_of("ALTER TABLE t ADD b int;")
    run_plan(database, plan)
    other = plan_of("ALTER TABLE t ADD b bigint;")
    with pytest.raises(WayBackFailed, match="0001_step is applied"):
        go_back(database, other, "ALTER TABLE public.t DROP COLUMN b;")
    assert fetch_value(connection, "SELECT count(b) FROM t") == 0  # the column is still there


@pytest.mark.pg("== 18")
def test_a_lock_is_waited_for_again_and_given_up_with_nothing_changed(
    connection: Connection, database: Conninfo
) -> None:
    connection.execute(SHOP)
    plan = plan_of("ALTER TABLE t ADD b int;")
    run_plan(database, plan)
    told: list[str] = []
    with connect(database, verb="test") as reader:
        reader.execute("BEGIN; SELECT * FROM t")
        with pytest.raises(WayBackFailed, match="55P03"):
            go_back(database, plan, "ALTER TABLE public.t DROP COLUMN b;", tell=told.append)
        assert len(told) == QUICK.attempts - 1

        def let_go(_: str) -> None:
            reader.execute("ROLLBACK")

        assert go_back(database, plan, "ALTER TABLE public.t DROP COLUMN b;", tell=let_go).attempts == 2
    assert recorded(connection) == []


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("slow", ["a statement", "a statement after the first request", "putting rows back"])
def test_who_waits_behind_the_way_back_for_too_long_ends_it_with_nothing_changed(
    connection: Connection, database: Conninfo, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(SHOP + "; CREATE SEQUENCE reached")
    plan = plan_of("ALTER TABLE t ADD b int;")
    run_plan(database, plan)
    before = dump_text(database)
    drop = "ALTER TABLE public.t DROP COLUMN b;"
    tarry = (
        "SELECT pg_catalog.pg_sleep(300), pg_catalog.nextval('public.reached');"  # what it draws no ROLLBACK gives back
    )
    statements = (drop, tarry) if slow != "putting rows back" else (drop,)
    if slow == "a statement after the first request":
        requests: list[object] = []
        cancel = Watchdog._cancel

        def cancel_again(self: Watchdog, executor: Executor) -> None:
            requests.append(executor)
            if len(requests) > 1:
                cancel(self, executor)

        monkeypatch.setattr(Watchdog, "_cancel", cancel_again)
    if slow == "putting rows back":  # between two statements, where no cancel request reaches it
        seen: list[object] = []
        look = Watchdog._find_blocked

        def look_and_note(self: Watchdog, ours: list[int], patience_s: float) -> Blocked | None:
            found = look(self, ours, patience_s)
            seen.extend([found] if found is not None else ())
            return found

        monkeypatch.setattr(Watchdog, "_find_blocked", look_and_note)
        monkeypatch.setattr(perform_module, "_forget", lambda *_: wait_until(lambda: seen))
    waited: list[object] = []

    def wait() -> None:
        with connect(database, verb="reader") as reader:
            wait_until(lambda: held(connection))
            waited.append(reader.execute("SELECT count(*) FROM t").fetchone())

    thread = threading.Thread(target=wait)
    thread.start()
    with pytest.raises(
        WayBackFailed, match=r"pid \d+ \(pgrehearse:reader, postgres\) waited .* on t: SELECT"
    ) as caught:
        go_back(database, plan, *statements, limits=replace(QUICK, max_block_s=0.5))
    thread.join(120)
    assert "--max-block" in caught.value.remedy
    assert waited == [(9,)]
    assert dump_text(database) == before
    assert recorded(connection) == ["0001_step"]
    monkeypatch.undo()
    assert go_back(database, plan, drop, limits=replace(QUICK, max_block_s=0.5)).attempts == 1


@pytest.mark.pg("== 18")
def test_a_connection_that_is_lost_leaves_it_open_whether_it_was_committed(
    connection: Connection, database: Conninfo
) -> None:
    connection.execute(SHOP)
    plan = plan_of("ALTER TABLE t ADD b int;")
    run_plan(database, plan)
    before = dump_text(database)
    end = "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid());"
    with pytest.raises(ConnectionLost, match=r"the connection was lost: .*pg_terminate_backend") as lost:
        go_back(database, plan, "ALTER TABLE public.t DROP COLUMN b;", end)
    assert lost.value.exit_code == 4
    assert "is not known until the server answers" in lost.value.remedy
    assert dump_text(database) == before


def held(connection: Connection) -> bool:
    query = "SELECT FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock' AND granted"
    return bool(connection.execute(query).fetchall())


@pytest.mark.pg("== 18")
def test_another_runner_is_waited_for(connection: Connection, database: Conninfo) -> None:
    connection.execute(SHOP)
    plan = plan_of("ALTER TABLE t ADD b int;")
    run_plan(database, plan)
    with take_turn(connection, wait_s=1, end_orphan=False, tell=lambda _: None), pytest.raises(RunnerBusy):
        go_back(database, plan, "ALTER TABLE public.t DROP COLUMN b;", limits=replace_wait(0.2))
    assert recorded(connection) == ["0001_step"]


def replace_wait(wait_s: float) -> object:
    return replace(QUICK, wait_s=wait_s)


@pytest.mark.pg(">= 15")
def test_a_promise_that_newer_rows_break_holds_for_new_rows_and_is_told(
    connection: Connection, database: Conninfo
) -> None:
    connection.execute(SHOP + "; CREATE TABLE c (p int)")
    plan = plan_of("SELECT 1;")
    run_plan(database, plan)
    connection.execute("INSERT INTO t VALUES (100, NULL), (101, -5); INSERT INTO c VALUES (77)")
    went_back = go_back(
        database,
        plan,
        after_rows=(
            "ALTER TABLE public.t ALTER COLUMN a SET NOT NULL;",
            "ALTER TABLE public.t\n    ADD CONSTRAINT positive CHECK ((a > 0));",
            "ALTER TABLE ONLY public.c\n    ADD CONSTRAINT fk FOREIGN KEY (p) REFERENCES public.t(id);",
            "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT fine CHECK ((id > 0));",
        ),
    )
    assert len(went_back.weakened) == 3
    assert all("holds for new rows only" in sentence for sentence in went_back.weakened)
    invalid = connection.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated ORDER BY 1").fetchall()
    assert invalid == [("a not null",), ("fk",), ("positive",)]
    assert fetch_value(connection, "SELECT count(*) FROM t") == 11
    for broken in ("INSERT INTO t VALUES (200, NULL)", "INSERT INTO t VALUES (201, -1)", "INSERT INTO c VALUES (78)"):
        with pytest.raises(Exception, match="violates"):
            connection.execute(broken.encode())


def test_only_what_can_hold_for_new_rows_alone_is_weakened() -> None:
    assert weaken('ALTER TABLE public.t ALTER COLUMN "A b" SET NOT NULL;') == (
        'ALTER TABLE public.t ADD CONSTRAINT "A b not null" CHECK ("A b" IS NOT NULL) NOT VALID;'
    )
    assert weaken("ALTER TABLE ONLY public.t\n    ADD CONSTRAINT u UNIQUE (a);") is None
    assert weaken("CREATE INDEX i ON public.t USING btree (a);") is None
    assert weaken("ALTER TABLE public.t\n    ADD CONSTRAINT c CHECK ((a > 0)) NOT VALID;") is None


@pytest.mark.pg(">= 15")
def test_what_was_written_to_what_goes_is_kept_aside(connection: Connection, database: Conninfo) -> None:
    connection.execute(SHOP)
    connection.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    migration = """
        CREATE TYPE mood AS ENUM ('glad', 'sad');
        CREATE TABLE notes (id int PRIMARY KEY, mood mood);
        CREATE TABLE calm (id int);
        ALTER TABLE t ADD b text NOT NULL DEFAULT 'x', ADD c mood, ADD d int GENERATED ALWAYS AS (a + 1) STORED;
    """
    plan = plan_of(migration)
    run_plan(database, plan)
    connection.execute(
        "INSERT INTO notes VALUES (1, 'glad'), (2, 'sad'); UPDATE t SET b = 'written', c = 'sad' WHERE id = 3"
    )
    added = (
        Added(relation="public.notes", column=None), Added(relation="public.calm", column=None),
        *(Added(relation="public.t", column=name) for name in "bcd"),
    )  # fmt: skip
    went_back = go_back(
        database, plan, "DROP TABLE public.notes;", "DROP TABLE public.calm;",
        "ALTER TABLE public.t DROP COLUMN b, DROP COLUMN c, DROP COLUMN d;", "DROP TYPE public.mood;", going=added,
    )  # fmt: skip
    kept = {each.what: each for each in went_back.kept_aside}
    assert {what: each.rows for what, each in kept.items()} == {"public.notes": 2, "public.t.b": 1, "public.t.c": 1}
    rows = connection.execute(f"TABLE {kept['public.notes'].table}".encode()).fetchall()
    assert rows == [(1, "glad"), (2, "sad")]
    assert connection.execute(f"TABLE {kept['public.t.b'].table}".encode()).fetchall() == [(3, "written")]
    readers = (
        "SELECT bool_or(has_table_privilege('public', c.oid, 'SELECT')) FROM pg_class c WHERE relname LIKE 'p1_aside%'"
    )
    assert fetch_value(connection, readers.encode()) is False  # type: ignore[arg-type]


def test_what_a_plan_adds_is_read_from_its_changes() -> None:
    changes: list[dict[str, Any]] = [
        {"kind": "table", "name": "public.n", "relation": None, "effect": "added"},
        {"kind": "table column", "name": 'public."T".b', "relation": 'public."T"', "effect": "added"},
        {"kind": "table column", "name": "public.t.c", "relation": "public.t", "effect": "removed"},
        {"kind": "view", "name": "public.v", "relation": None, "effect": "added"},
    ]
    assert [str(each) for each in find_added(changes)] == ["public.n", 'public."T".b']
