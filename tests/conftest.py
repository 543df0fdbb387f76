"""Servers for the tests: one per major version that this machine can start, shared by the whole run.

A test marked ``@pytest.mark.pg(">= 15")`` runs once for each started major that fits, and gets it as
the fixture ``server`` (a `LocalServer`) or ``database`` (a fresh, empty database's `Conninfo`).
Majors: 15 (Debian's, with contrib), 16 and 18 (the embedded wheel's).  A parameter marked
``needs("icu")`` is left out where the server is built without it, and the run's last lines say so.
"""

import itertools
import operator
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.support.built_without import BUILT_WITHOUT

from pgrehearse.errors import MissingBinaries
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

MAJORS = (15, 16, 18)
# No autovacuum in the middle of a test: it takes locks, and moves what is counted and seen of rows.
UNDISTURBED = {"autovacuum_naptime": "1d"}
COMPARISONS = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "<": operator.lt, ">": operator.gt}

_servers: dict[int, LocalServer | str] = {}
_uats: dict[int, LocalServer] = {}
_left_out: list[str] = []
_told_by_workers: dict[str, set[str]] = {}  # what every process of a run by several told at its end
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test fails the run (CI)")
    parser.addoption("--pg", default="15,16,18", help="majors to run server tests on, e.g. --pg 18")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(feature): not made for a server that is built without this feature")
    if hasattr(config, "workerinput"):  # such a process ignores Ctrl-C, and its children would inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Cases that cannot exist on a server are no tests there: neither passed nor skipped, but told at the end.

    In a run by several processes, files whose few tests take long come first: each process takes a file at a time, and
    one that got such a file last would keep all others waiting.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (_rank(item), str(item.path)))  # each file's own order stays
    lacking = {item.nodeid: why for item in items if (why := _lacking(item)) is not None}
    _left_out.extend(f"{nodeid} (built without {why})" for nodeid, why in lacking.items())
    items[:] = [item for item in items if item.nodeid not in lacking]


def _rank(item: pytest.Item) -> int:
    room = item.path.relative_to(HERE).parts[0]
    return LONG_FIRST.index(room) if room in LONG_FIRST else len(LONG_FIRST)


def _lacking(item: pytest.Item) -> str | None:
    """What the item needs and its server has not."""
    callspec = getattr(item, "callspec", None)
    lacks = BUILT_WITHOUT.get(callspec.params.get("server_major")) if callspec is not None else None
    if lacks is None:  # no server, or with --pg none that fits
        return None
    needed = {feature for marker in item.iter_markers("needs") for feature in marker.args}
    return ", ".join(sorted(needed & lacks)) or None


HERE = Path(__file__).parent
# Rooms that stand on others which run on every major: here the oldest and the newest, in soak runs all.
ENDS_ONLY = frozenset({"release", "rollback"})
# Rooms with files of few and long tests, the longest first.
LONG_FIRST = ("release", "drizzle", "docs", "cli", "rehearsal", "rollback", "migrations", "clones", "queries", "data")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that need a server run once per fitting major."""
    if "server_major" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("pg")
    wanted = [int(major) for major in metafunc.config.getoption("--pg").split(",")]
    majors = [major for major in MAJORS if major in wanted and (marker is None or _fits(major, *marker.args))]
    room = metafunc.definition.path.relative_to(HERE).parts[0]
    if room in ENDS_ONLY and "PGREHEARSE_SOAK" not in os.environ:
        majors = sorted({majors[0], majors[-1]}) if majors else []
    metafunc.parametrize("server_major", majors, ids=[f"pg{major}" for major in majors], scope="session")


def _fits(major: int, *conditions: str) -> bool:
    parsed = (condition.split() for text in conditions for condition in text.split(","))
    return all(COMPARISONS[sign](major, int(number)) for sign, number in parsed)


@pytest.fixture(scope="session", autouse=True)
def _nobodys_git() -> Iterator[None]:
    """Who rehearses and approves is told by git where it knows somebody: on this machine, in these tests, nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_second_run() -> Iterator[None]:
    """A rehearsal in a test runs its plan beside traffic only where the test asks for it: each would take a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgrehearse.rehearsing.DEFAULT_CONTENTION", "off")
        yield


@pytest.fixture(scope="session")
def server(server_major: int) -> LocalServer:
    """A running private server of this major; a superuser ``postgres``; shared, so make your own databases."""
    if server_major not in _servers:
        try:
            _servers[server_major] = LocalServer.create(require_server(server_major), settings=UNDISTURBED)
        except MissingBinaries as error:
            _servers[server_major] = str(error)
    found = _servers[server_major]
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def uat(server_major: int, server: LocalServer) -> LocalServer:
    """A second server of the same major, to clone onto."""
    if server_major not in _uats:
        _uats[server_major] = LocalServer.create(server.binaries, settings=UNDISTURBED)
    return _uats[server_major]


@pytest.fixture
def database(server: LocalServer) -> Iterator[Conninfo]:
    """A fresh, empty database of the superuser's; dropped afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name}")
    yield server.conninfo(name)
    drop_database(server, name)


def drop_database(server: LocalServer, name: str) -> None:
    """Whoever is in it; the server itself waits only five seconds for those to end."""
    deadline = time.monotonic() + 60
    with connect(server.conninfo(), verb="test") as admin:
        while True:
            try:
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            except psycopg.errors.ObjectInUse:
                if time.monotonic() > deadline:
                    raise
            else:
                return


@pytest.fixture
def connection(database: Conninfo) -> Iterator[Connection]:
    """An autocommit session in ``database``."""
    with connect(database, verb="test") as session:
        yield session


@pytest.fixture(scope="module")
def _module_connection(server: LocalServer) -> Iterator[Connection]:
    name = f"module_{os.getpid()}_{next(_numbers)}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name}")
    with connect(server.conninfo(name), verb="test") as session:
        yield session
    drop_database(server, name)


@pytest.fixture
def rolled_back(_module_connection: Connection) -> Iterator[Connection]:
    """A session in an open transaction, which is rolled back: its database is made once for a file's tests."""
    with _module_connection.transaction(force_rollback=True):
        yield _module_connection


def pytest_sessionfinish(session: pytest.Session) -> None:
    for server in (*_servers.values(), *_uats.values()):
        if isinstance(server, LocalServer):
            server.wipe()
    if hasattr(session.config, "workeroutput"):  # one of several processes: the first one tells
        session.config.workeroutput["told"] = _told()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--fail-on-skip") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of several has ended."""
    for heading, lines in node.workeroutput["told"].items() if hasattr(node, "workeroutput") else ():
        _told_by_workers.setdefault(heading, set()).update(lines)


def _told() -> dict[str, list[str]]:
    """What this process started, could not start, and left out."""
    return {
        "servers": [f"PostgreSQL {major}" for major, found in _servers.items() if isinstance(found, LocalServer)],
        "servers that could not be started": [
            f"PostgreSQL {major}" for major, found in _servers.items() if isinstance(found, str)
        ],
        "no such test on that server": list(_left_out),
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = _told_by_workers or {heading: set(lines) for heading, lines in _told().items()}
    for heading, lines in told.items():
        if lines or heading == "servers":
            terminalreporter.write_line(f"{heading}: {', '.join(sorted(lines)) or 'none'}")
    counts = {kind: len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "failed", "error", "skipped")}
    terminalreporter.write_line("tests: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
