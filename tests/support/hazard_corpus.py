"""The labelled migrations of tests/hazards/corpus, and how an answer is held against their labels.

A case's truth was measured by running it; ``tests/hazards/corpus/README.md`` tells its fields.
"""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from pgrehearse.errors import UnreadableSql
from pgrehearse.hazards.against import read_catalog
from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.hazards.lint import LintResult, lint_files
from pgrehearse.hazards.model import Model
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.postgres.locks import LockMode

FOLDER = Path(__file__).parents[1] / "hazards" / "corpus"
KNOWN_WRONG = FOLDER / "known_wrong.json"  # answers of lint that are wrong; `make hazard-score HAZARD_SCORE=--keep`
TOLD_ALTHOUGH_HARMLESS = "told although harmless"  # a key of that file
MAJORS = (15, 18)  # on which the labels were measured
MODES = {"tx": TransactionMode.FILE, "auto": TransactionMode.STATEMENT}
# As the labels were measured: parallel workers' reads do not reach the session's own counters.
SETTINGS = {
    "allow_in_place_tablespaces": "on", "timezone": "UTC",
    "max_parallel_workers_per_gather": "0", "max_parallel_maintenance_workers": "0",
}  # fmt: skip
LOCK = "lock"
CLASSES = {
    "rewrite": HazardClass.REWRITES_TABLE,
    "full_scan_under_lock": HazardClass.SCANS_UNDER_LOCK,
    "data_loss": HazardClass.DATA_LOSS,
    "breaks_old_app": HazardClass.BREAKS_RUNNING_APP,
    "fails": HazardClass.FAILS,
}
LABELS = (LOCK, *CLASSES)
GRANTS = """
    GRANT USAGE ON SCHEMA {schema} TO app_user, app_owner;
    GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO app_user;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO app_user;
"""
ANALYSE = """
    SELECT pg_catalog.format('ANALYZE %I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
NAMESPACES = "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One labelled migration."""

    id: str
    group: str
    mode: TransactionMode
    setup: str
    migration: str  # as a team would commit it
    executed: str  # what its tool really runs of it
    application: tuple[str, ...]
    truth: Mapping[int, "Verdict"]  # by major

    def is_harmless_on(self, major: int) -> bool:
        """Nothing happens there that a team would want to be stopped for."""
        return not self.truth[major].labels

    def as_migration(self) -> Migration:
        """The file as its own tool would read it."""
        content = self.migration.encode()
        return Migration(version=self.id, name=self.id, path=self.id, kind=SourceKind.SQL_FOLDER, content=content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a migration does, measured or told by a tool."""

    labels: frozenset[str]  # of CLASSES
    lock: LockMode | None  # the strongest on a relation that existed before; None: none, or the tool says nothing
    is_blind: bool = False  # the tool says that it cannot see it all


def load_cases() -> tuple[Case, ...]:
    """All cases, in the order of the file."""
    lines = (FOLDER / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(_case(json.loads(line)) for line in lines)


def _case(row: Mapping[str, Any]) -> Case:
    return Case(
        id=row["id"],
        group=row["group"],
        mode=MODES[row["mode"]],
        setup=row["setup"],
        migration=row["migration"],
        executed=row.get("executed", row["migration"]),
        application=tuple(row["app"]),
        truth={15: _truth(row["expect"] | row.get("expect_pg15", {})), 18: _truth(row["expect"])},
    )


def _truth(expect: Mapping[str, Any]) -> Verdict:
    lock = LockMode(expect["lock"]) if expect["lock"] is not None else None
    return Verdict(labels=frozenset(label for label in CLASSES if expect[label]), lock=lock)


def lint_verdict(result: LintResult | None, level: Level) -> Verdict:
    """What the findings at or over this level, and the statements' locks, say; None: it cannot even be read."""
    if result is None:
        return Verdict(labels=frozenset({"fails"}), lock=None)
    told = {each for finding in result.findings if finding.level.reaches(level) for each in finding.classes}
    if HazardClass.REWRITES_TABLE in told:  # which reads it all
        told.add(HazardClass.SCANS_UNDER_LOCK)
    modes = [mode for statement in result.statements for mode in statement.locks.values()]
    return Verdict(
        labels=frozenset(label for label, hazard_class in CLASSES.items() if hazard_class in told),
        lock=max(modes, key=lambda mode: mode.strength, default=None),
        is_blind=bool(result.not_visible),
    )


def lint_case(case: Case, model: Model | None = None) -> LintResult | None:
    """The file judged by its text, and by a model if there is one; None: PostgreSQL's parser refuses it."""
    try:
        return lint_files([case.as_migration()], model=model, transaction=case.mode)
    except UnreadableSql:
        return None


def lint_against(cases: Iterable[Case], connection: Connection) -> Iterator[tuple[Case, LintResult | None]]:
    """The files judged by the catalog of their tables, on this session's server; nothing remains of them.

    Many cases have the same tables: these are made and read once.
    """
    by_setup: dict[str, list[Case]] = {}
    for case in cases:
        by_setup.setdefault(case.setup, []).append(case)
    for setup, alike in by_setup.items():
        with set_up(connection, setup):
            model = read_catalog(connection)
            data, model.data = model.data, None  # bound to the session: not to be copied
            for case in alike:
                own = copy.deepcopy(model)
                own.data = data
                yield case, lint_case(case, own)


@dataclass(slots=True)
class Tally:
    """Right and wrong answers about one label; the ids of the wrong ones."""

    true_positives: int = 0
    false_negatives: list[str] = field(default_factory=list)
    false_positives: list[str] = field(default_factory=list)
    not_visible: list[str] = field(default_factory=list)  # missed, and the tool said that it cannot see it all

    @property
    def recall(self) -> float:
        """Found of all that is there, but for what was said to be not visible; 1 where nothing is."""
        there = self.true_positives + len(self.false_negatives)
        return self.true_positives / there if there else 1.0

    @property
    def precision(self) -> float:
        """Right of all that was said; 1 where nothing was."""
        said = self.true_positives + len(self.false_positives)
        return self.true_positives / said if said else 1.0


class Score:
    """One tool's answers, label by label.

    A lock is right when it is the very mode; a weaker one counts as missed, a stronger one as a false alarm.
    """

    def __init__(self) -> None:
        self.tallies = {label: Tally() for label in LABELS}

    def add(self, case_id: str, told: Verdict, truth: Verdict) -> None:
        for label in CLASSES:
            self._add(label, case_id, told, says_so=label in told.labels, is_so=label in truth.labels)
        said, real = (-1 if mode is None else mode.strength for mode in (told.lock, truth.lock))
        self._add(LOCK, case_id, told, says_so=said >= real and said >= 0, is_so=real >= said and real >= 0)

    @property
    def wrong(self) -> dict[str, dict[str, list[str]]]:
        """The ids of the wrong answers, by label."""
        return {
            label: {"missed": tally.false_negatives, "false": tally.false_positives}
            for label, tally in self.tallies.items()
            if tally.false_negatives or tally.false_positives
        }

    def _add(self, label: str, case_id: str, told: Verdict, *, says_so: bool, is_so: bool) -> None:
        tally = self.tallies[label]
        if says_so and is_so:
            tally.true_positives += 1
        elif is_so and told.is_blind:
            tally.not_visible.append(case_id)
        elif is_so:
            tally.false_negatives.append(case_id)
        elif says_so:
            tally.false_positives.append(case_id)


def prepare_server(server: LocalServer) -> None:
    """Make the roles and the tablespace that the cases expect."""
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute("CREATE ROLE app_user")
        admin.execute("CREATE ROLE app_owner")
        admin.execute("CREATE TABLESPACE ts_fast LOCATION ''")


@contextmanager
def set_up(connection: Connection, setup: str) -> Iterator[None]:
    """The case's tables within one transaction, which is rolled back: a database for each takes ten times as long."""
    with connection.transaction(force_rollback=True):
        run_setup(connection, setup)
        yield


def run_setup(connection: Connection, setup: str) -> None:
    """The case's tables, with the rights of the running application, and analysed."""
    connection.execute(setup.encode())
    for (namespace,) in connection.execute(NAMESPACES).fetchall():
        grants = psycopg.sql.SQL(GRANTS).format(schema=psycopg.sql.Identifier(namespace))
        connection.execute(grants)
    connection.execute("GRANT CREATE ON SCHEMA public TO app_user, app_owner")
    for analyse in connection.execute(ANALYSE).fetchall():  # of the whole database: mostly the catalogs
        connection.execute(*analyse)
