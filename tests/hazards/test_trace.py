"""What the tracer sees against labels that were measured without it.

`trace_cases/cases.jsonl`: setup, migration, and what it did on 18.4 (``expect_pg15``: where 15.18 differs), read
from `pg_locks` of the backend at the end of each statement, or of a session that it waited for.
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pgrehearse.errors import MigrationFailed
from pgrehearse.hazards.trace import StatementTrace, Tracer
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.limits import Limits, TransactionMode
from pgrehearse.migrations.migration import Migration, Plan, SourceKind
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "trace_cases" / "cases.jsonl").read_text(encoding="utf-8").splitlines()
]
MODES = {"tx": TransactionMode.FILE, "auto": TransactionMode.STATEMENT}
# As the labels were measured: parallel workers' reads do not reach the session's own counters.
SETTINGS = {
    "allow_in_place_tablespaces": "on", "timezone": "UTC",
    "max_parallel_workers_per_gather": "0", "max_parallel_maintenance_workers": "0",
}  # fmt: skip
LIMITS = Limits(attempts=1, max_block_s=None, lock_timeout_ms=5000)

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def corpus_servers() -> Iterator[dict[int, LocalServer]]:
    """One server of each major, set up as those on which the labels were measured."""
    with ExitStack() as stack:
        servers = {}
        for major in (15, 18):
            servers[major] = stack.enter_context(LocalServer.create(require_server(major), settings=SETTINGS))
            with connect(servers[major].conninfo(), verb="test") as admin:
                admin.execute("CREATE ROLE app_user")
                admin.execute("CREATE ROLE app_owner")
                admin.execute("CREATE TABLESPACE ts_fast LOCATION ''")
        yield servers


@pytest.fixture
def corpus_server(corpus_servers: dict[int, LocalServer], major: int) -> LocalServer:
    return corpus_servers[major]


def trace(conninfo: Conninfo, text: str, mode: TransactionMode) -> tuple[list[StatementTrace], bool]:
    """Apply the text as one file; what was seen, and whether it failed."""
    migration = Migration(version="1", name="m", path="m.sql", kind=SourceKind.SQL_FOLDER, content=text.encode())
    tracer = Tracer(lambda: connect(conninfo, verb="watch"))
    failed = False
    try:
        apply(
            lambda verb: connect(conninfo, verb=verb),
            Plan.of([migration]),
            ledger=OwnLedger(kind=SourceKind.SQL_FOLDER),
            mode=mode,
            limits=LIMITS,
            observer=tracer,
            beyond_allowed=True,
        )
    except MigrationFailed:
        failed = True
    finally:
        tracer.close()
    return tracer.statements, failed


def prepare(admin: Connection, server: LocalServer, setup: str) -> Conninfo:
    name = f"case_{next(_numbers)}"
    admin.execute(f"CREATE DATABASE {name}")
    conninfo = server.conninfo(name)
    with connect(conninfo, verb="test") as session:
        session.execute(setup.encode())
        session.execute("GRANT CREATE, USAGE ON SCHEMA public TO app_user, app_owner")
        session.execute("ANALYZE")
    return conninfo


def is_run_on(case: dict[str, Any], major: int) -> bool:
    """All on 18; on 15 those that differ there and a third of the rest, to keep the run short."""
    return major == 18 or bool(case["expect_pg15"]) or CASES.index(case) % 3 == 0


@pytest.mark.parametrize(
    ("major", "case"),
    [
        pytest.param(major, case, id=f"pg{major}-{case['id']}")
        for major in (15, 18)
        for case in CASES
        if is_run_on(case, major)
    ],
)
def test_locks_rewrites_and_scans_are_what_was_measured(corpus_server: LocalServer, case: dict[str, Any]) -> None:
    expected = case["expect"] | (case["expect_pg15"] if corpus_server.major < 18 else {})
    with connect(corpus_server.conninfo(), verb="test") as admin:
        conninfo = prepare(admin, corpus_server, case["setup"])
        traces, failed = trace(conninfo, case["migration"], MODES[case["mode"]])
        admin.execute(f"DROP DATABASE {conninfo.database} WITH (FORCE)")
    assert failed == expected["fails"]
    modes = [mode for each in traces for mode in each.locks.values()]
    strongest = max(modes, key=lambda mode: mode.strength).value if modes else None
    seen = {
        "lock": strongest,
        "rewrite": any(each.rewrites for each in traces),
        "full_scan_under_lock": any(each.scans_under_lock for each in traces),
    }
    if not failed:
        assert seen == {key: expected[key] for key in seen}


@pytest.mark.parametrize("major", [15, 18])
def test_names_are_those_before_the_plan_and_new_relations_are_left_out(corpus_server: LocalServer) -> None:
    with connect(corpus_server.conninfo(), verb="test") as admin:
        conninfo = prepare(admin, corpus_server, 'CREATE TABLE "Odd ""t" (id int); CREATE TABLE plain (id int)')
        text = (
            'ALTER TABLE "Odd ""t" RENAME TO calm; ALTER TABLE calm ADD c int; CREATE TABLE new (); DROP TABLE plain;'
        )
        traces, _ = trace(conninfo, text, TransactionMode.FILE)
    locks = [{name: mode.value for name, mode in each.locks.items()} for each in traces]
    assert locks == [
        {'public."Odd ""t"': "AccessExclusiveLock"},  # the second statement strengthens nothing
        {},
        {},
        {"public.plain": "AccessExclusiveLock"},
    ]


@pytest.mark.parametrize("major", [15, 18])
def test_a_lock_that_is_strengthened_is_told_at_the_statement_that_did_it(corpus_server: LocalServer) -> None:
    with connect(corpus_server.conninfo(), verb="test") as admin:
        conninfo = prepare(admin, corpus_server, "CREATE TABLE t (id int)")
        text = "SELECT count(*) FROM t; INSERT INTO t VALUES (1); SELECT 1; LOCK TABLE t IN SHARE MODE; DROP TABLE t;"
        traces, _ = trace(conninfo, text, TransactionMode.FILE)
    assert [each.locks.get("public.t") and each.locks["public.t"].value for each in traces] == [
        "AccessShareLock", "RowExclusiveLock", None, "ShareLock", "AccessExclusiveLock",
    ]  # fmt: skip
