"""Watches a promotion: what production does is held against the receipt before each COMMIT, never afterwards."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pgrehearse.errors import GateClosed, NotAsRehearsed
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.migrations.expectations import parse_expectations
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.observer import Running
from pgrehearse.migrations.secrets import redact
from pgrehearse.migrations.segments import PendingFile, Segment
from pgrehearse.migrations.statements import Statement, split_file
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.rehearsal.commits import CommitEvidence, CommitRecorder, StatementRows
from pgrehearse.release.memberships import Memberships
from pgrehearse.release.rows import Declared, RowsDiffer, compare_rows, remedy_for
from pgrehearse.release.touched import (
    Touched,
    differences_between_commits,
    differences_where_touched,
    find_touched,
    made_by_plan,
)
from pgrehearse.schema.catalog_evidence import CatalogEvidence, RelationEvidence, compare_evidence, read_evidence
from pgrehearse.schema.diff import Change
from pgrehearse.schema.packed import unpack
from pgrehearse.schema.schema_object import ObjectKind, Schema
from pgrehearse.schema.snapshot import read_schema

MOST_SHOWN = 20
TRACK_COUNTS = "SELECT pg_catalog.current_setting('track_counts')"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementCompared:
    """One statement, as the rehearsal predicted it and as it went."""

    file: str
    line: int
    sql: str
    rows: tuple[int | None, int | None]  # predicted, actual
    duration_ms: tuple[float | None, float]
    locks: tuple[Mapping[str, str] | None, Mapping[str, str]]
    locks_sampled: bool  # it ran outside transactions: the actual locks are a lower bound

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line,
            "sql": self.sql,
            "rows": {"predicted": self.rows[0], "actual": self.rows[1]},
            "duration_ms": {"predicted": self.duration_ms[0], "actual": round(self.duration_ms[1], 3)},
            "locks": {"predicted": self.locks[0], "actual": dict(self.locks[1]), "sampled": self.locks_sampled},
        }


class Rehearsed:
    """A receipt as a promotion needs it: what was predicted for each statement and each commit."""

    def __init__(self, document: Mapping[str, Any], migrations: Sequence[Migration]) -> None:
        self.document = document
        self.migrations = tuple(migrations)
        self.statements: dict[str, tuple[Statement, ...]] = {
            each.version: split_file(each.content, path=each.path, kind=each.kind) for each in migrations
        }
        self.expectations = tuple(
            found for each in migrations for found in parse_expectations(each, self.statements[each.version])
        )
        self.kinds = {  # parse nodes
            (version, statement.index): statement.kind
            for version, statements in self.statements.items()
            for statement in statements
        }
        if "commits" not in document["receipt"]:
            raise GateClosed(
                f"the receipt was made by version {document['receipt']['tool_version']}, which did not yet record what "
                "a promotion is held against",
                remedy="Rehearse again with this version.",
            )
        self.commits = {commit.last: commit for commit in map(CommitEvidence.from_json, document["receipt"]["commits"])}
        self.rows = {statement.key: statement for commit in self.commits.values() for statement in commit.statements}
        objects = document["receipt"]["schema_objects"]
        self.before: Schema = unpack(objects["before"])
        self.after: Schema = unpack(objects["after"])
        texts = [statement.text for found in self.statements.values() for statement in found]
        self.touched: Touched = find_touched(document, self.before, self.after, texts)
        self._by_place = self._statements_by_place()

    def _statements_by_place(self) -> dict[tuple[str, int], Mapping[str, Any]]:
        """The document's statements by version and index: it has their lines, and several may stand on one."""
        versions = {file["path"]: file["version"] for file in self.document["receipt"]["files"]}
        on_line: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
        for statement in self.document["statements"]:
            on_line[versions.get(statement["file"], ""), statement["line"]].append(statement)
        found = {}
        for version, statements in self.statements.items():
            for statement in statements:
                waiting = on_line[version, statement.line]
                if waiting:
                    found[version, statement.index] = waiting.pop(0)
        return found

    def predicted(self, key: tuple[str, int]) -> Mapping[str, Any] | None:
        """The receipt's statement: duration, locks."""
        return self._by_place.get(key)

    def may_draw_from(self, sequence: str, owner: str | None) -> bool:
        """Whether the plan may move it; ``owner`` is the table that it belongs to."""
        return owner in self.touched.relations or self.touched.has(ObjectKind.SEQUENCE, None, sequence)

    def evidence_of(self, pending: Sequence[PendingFile]) -> CatalogEvidence:
        """What the commits that are done by now left behind, as the rehearsal saw it."""
        left = {file.migration.version: file.statements_done for file in pending}
        relations: dict[str, RelationEvidence | None] = {}
        others: dict[str, str | None] = {}
        for (version, index), commit in self.commits.items():
            if version not in left or index < left[version]:
                relations |= commit.catalog.relations
                others |= commit.catalog.others
        return CatalogEvidence(relations=relations, others=others)


class Watch(CommitRecorder):
    """Raises `NotAsRehearsed` wherever production is not what the receipt says: under the lock and before each COMMIT.

    ``tell`` gets what differs and stops nobody, ``differs`` the counts among it, before the COMMIT.
    """

    def __init__(
        self,
        rehearsed: Rehearsed,
        look: Callable[[], Connection],
        *,
        ignored: frozenset[str],
        tell: Callable[[str], None],
        differs: Callable[[RowsDiffer], None] = lambda _: None,
    ) -> None:
        super().__init__(look, ignored=ignored)
        self._differs = differs
        self._rehearsed = rehearsed
        self._tell = tell
        self._declared = Declared(
            rehearsed.expectations,
            document=rehearsed.document,
            rehearsed=rehearsed.rows,
            kinds=rehearsed.kinds,
        )
        self._memberships = Memberships(lambda: self._look)

    def under_lock(self, session: Connection, pending: Sequence[PendingFile]) -> None:
        """Plan and schema once more, now that nobody else migrates."""
        planned = {entry["version"]: entry["sha256"] for entry in self._rehearsed.document["plan"]}
        for file in pending:
            if planned.get(file.migration.version) != file.migration.sha256:
                raise NotAsRehearsed(f"{file.migration.path} is not the file that was rehearsed")
        if not pending:
            return
        done = self._rehearsed.evidence_of(pending)
        begun = len(pending) < len(planned) or any(file.statements_done for file in pending)
        if begun:
            self._refuse(compare_evidence(done, self._read(done)).differences, "what is applied already")
        schema = read_schema(session, ignore_relations=self._ignored)
        touched = self._rehearsed.touched
        is_made: Callable[[Change], bool] | None = None
        if begun:  # what the commits that are done have changed was compared just now
            changed = done.relations.keys() | {name.partition(" ")[2] for name in done.others}
            made = {name for kind, _relation, name in touched.made if kind == ObjectKind.PUBLICATION.value}
            touched = Touched(
                relations=touched.relations - changed - made,
                named=frozenset(key for key in touched.named if key[2] not in changed and key[1] not in changed),
                made=frozenset(),
            )
            living = {name for name, found in done.relations.items() if found is not None}
            texts = [statement.text for found in self._rehearsed.statements.values() for statement in found]
            between = differences_between_commits(
                self._rehearsed.before, self._rehearsed.after, schema, relations=living, texts=texts
            )
            self._refuse(between, "what was rehearsed, beside what is applied already")
            is_made = made_by_plan(self._rehearsed.before, self._rehearsed.after, texts)
        self._refuse(
            differences_where_touched(self._rehearsed.before, schema, touched, is_to_run=True, but=is_made),
            "the schema that it was rehearsed on",
        )
        self._memberships.remember(self._rehearsed.touched.relations)

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        writes = any(rows.written for rows in self._rehearsed.rows.values())
        if writes and fetch_value(session, TRACK_COUNTS) != "on":
            raise NotAsRehearsed(
                "track_counts is off in production, so the rows that statements write cannot be held against the "
                "rehearsal's",
                remedy="Switch track_counts on for the role that migrates, and promote again.",
            )
        super().transaction_begun(session, segment)

    def _names_to_read(self) -> Sequence[str]:
        commit = self._commit_of(self._open.statements[-1]) if self._open is not None else None
        return tuple(commit.catalog.relations) if commit is not None else ()

    def _commit_of(self, statement: StatementRows) -> CommitEvidence | None:
        return self._rehearsed.commits.get(statement.key)

    def _saw_statement(self, running: Running, statement: StatementRows) -> None:
        self._compare_rows(running.migration, running.statement, statement)

    def _compare_rows(self, migration: Migration, written: Statement, statement: StatementRows) -> None:
        place = f"{migration.path}:{written.line}"
        rehearsed = self._rehearsed.rows.get(statement.key)
        if rehearsed is None:
            raise NotAsRehearsed(f"{place}: the rehearsal did not commit this statement")
        refused, told = compare_rows(
            rehearsed,
            statement,
            kind=written.kind,
            keys=(statement.key,),
            declared=self._declared,
        )
        for differs in told:
            self._tell(f"{place}: {differs}")
            self._differs(differs)
        if refused:
            raise NotAsRehearsed("\n".join(f"{place}: {differs}" for differs in refused), remedy=remedy_for(refused))

    def _finish(self, session: Connection, found: CommitEvidence) -> None:
        last = found.statements[-1]
        rehearsed = self._commit_of(last)
        if rehearsed is None or rehearsed.outside != found.outside:
            raise NotAsRehearsed(
                f"{last.version}, line {last.line}: the rehearsal did not commit here, so there is nothing to compare"
            )
        if found.outside:
            migration = next(each for each in self._rehearsed.migrations if each.version == last.version)
            self._compare_rows(migration, self._rehearsed.statements[last.version][last.index], last)
        refused, told = compare_rows(
            replace(last, rows=None, written=rehearsed.at_commit),
            replace(last, rows=None, written=found.at_commit),
            kind="",
            keys=tuple(statement.key for statement in found.statements),
            declared=self._declared,
        )
        for differs in told:
            self._tell(f"deferred triggers: {differs}")
            self._differs(differs)
        self._refuse(
            [str(differs) for differs in refused],
            "as rehearsed in what deferred triggers did",
            remedy=remedy_for(refused),
        )
        compared = compare_evidence(rehearsed.catalog, found.catalog)
        for line in compared.told:
            self._tell(line)
        self._refuse(compared.differences, "what the rehearsal left")
        if not found.outside:
            self._refuse(self._memberships.find_changed(session), "as it was under the lock")

    def transaction_ended(self, *, committed: bool) -> None:
        self._memberships.ended(committed=committed)
        super().transaction_ended(committed=committed)

    def _look_before_outside(self, running: Running) -> None:
        """Its commit is compared by the names that the rehearsal saw changing."""
        self._refuse(self._memberships.find_changed_outside(), "as it was under the lock")

    def _look_after_outside(self, statement: StatementRows) -> CatalogEvidence:
        self._memberships.ran_outside()
        rehearsed = self._commit_of(statement)
        if rehearsed is None:
            return CatalogEvidence(relations={}, others={})
        return self._read(rehearsed.catalog)

    def _read(self, wanted: CatalogEvidence) -> CatalogEvidence:
        found = read_evidence(self._look, wanted.relations, others=bool(wanted.others))
        return CatalogEvidence(
            relations=found.relations, others={name: found.others.get(name) for name in wanted.others}
        )

    @staticmethod
    def _refuse(differences: Sequence[str], what: str, *, remedy: str | None = None) -> None:
        if differences:
            shown = [f"  {line}" for line in differences[:MOST_SHOWN]]
            rest = [f"  and {len(differences) - MOST_SHOWN} more"] if len(differences) > MOST_SHOWN else []
            raise NotAsRehearsed("\n".join([f"production is not {what}:", *shown, *rest]), remedy=remedy)


def compare_statements(rehearsed: Rehearsed, traces: Sequence[StatementTrace]) -> tuple[StatementCompared, ...]:
    """Predicted and actual, side by side, of the statements that this run executed."""
    compared = []
    for trace in traces:
        key = (trace.migration.version, trace.statement.index)
        predicted = rehearsed.predicted(key)
        rows = rehearsed.rows.get(key)
        compared.append(
            StatementCompared(
                file=trace.migration.path,
                line=trace.statement.line,
                sql=redact(trace.statement.text, trace.statement.kind),
                rows=(rows.rows if rows is not None else None, trace.rows_affected),
                duration_ms=(predicted["duration_ms"] if predicted is not None else None, trace.duration_ms),
                locks=(
                    predicted["locks"] if predicted is not None else None,
                    {
                        name: mode.value
                        for name, mode in trace.locks.items()
                        if not name.startswith("pgrehearse_quarantine.")
                    },
                ),
                locks_sampled=trace.sampled,
            )
        )
    return tuple(compared)
