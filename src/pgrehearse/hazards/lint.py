"""Lint: what migration files would do, told from their text, or from their text and a database's catalog.

Statement by statement through a `Model` of the schema as the files change it.  Names without a schema are
taken to be where the model finds them, else in ``public``, or where the file's own ``SET search_path`` leads.
"""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from pgrehearse.errors import PgRehearseError
from pgrehearse.hazards.bodies import Inside, look_inside
from pgrehearse.hazards.catalogue import CATALOGUE
from pgrehearse.hazards.changes import apply_statement
from pgrehearse.hazards.finding import Evidence, Finding, Level
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.kinds import why_not_visible
from pgrehearse.hazards.model import Model, Relation
from pgrehearse.hazards.parsed import ParsedFile, ParsedStatement, parse_file
from pgrehearse.hazards.predict import behind_locks, has_rule, predict, predict_file, refused
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.statement_locks import find_locks, locks_are_known
from pgrehearse.hazards.tree import Node
from pgrehearse.hazards.weighing import (
    BY_SIZE,
    as_the_file_leaves_it,
    at_once,
    certain_to_fail,
    kept_of,
    size_text,
    that_remains,
    unless_caught,
)
from pgrehearse.hazards.written import Written
from pgrehearse.migrations.expectations import parse_expectations
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.secrets import redact
from pgrehearse.migrations.statements import DRIZZLE_KINDS, TransactionNeed
from pgrehearse.postgres.locks import LockMode, strongest

_CONTROL = frozenset({TransactionNeed.BEGINS, TransactionNeed.COMMITS, TransactionNeed.ROLLS_BACK})
_YOUNGER_GRAMMAR = frozenset({"NOT ENFORCED", "GENERATED … VIRTUAL"})
_PLACEHOLDER = "what its placeholder stands for"
_MAKES_ANYTHING = frozenset({"CreateExtensionStmt", "DefineStmt", "ImportForeignSchemaStmt", "LoadStmt"})
_NO_DDL = frozenset({
    "SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CopyStmt", "TransactionStmt",
    "VariableSetStmt", "ConstraintsSetStmt",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedStatement:
    """One statement and the locks that it takes."""

    file: str
    line: int
    sql: str  # passwords masked
    locks: Mapping[str, LockMode]  # by namespace.relation; only relations that the same file did not make


@dataclass(frozen=True, slots=True, kw_only=True)
class NotVisible:
    """Something that a reader of the text cannot judge."""

    file: str
    line: int
    reason: str
    fault: bool = False  # lint itself failed there: what it would have said is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class LintResult:
    """What the files would do."""

    files: tuple[str, ...]
    findings: tuple[Finding, ...]
    statements: tuple[LintedStatement, ...]
    not_visible: tuple[NotVisible, ...]

    def reaches(self, level: Level) -> bool:
        """Whether any finding is at or over this level."""
        return any(finding.level.reaches(level) for finding in self.findings)

    @property
    def faults(self) -> tuple[NotVisible, ...]:
        """Where lint itself failed: the answer is no clean one then, whatever the findings."""
        return tuple(each for each in self.not_visible if each.fault)

    def as_json(self) -> dict[str, Any]:
        """As `lint.schema.json` has it."""
        return {
            "format": 1,
            "findings": [finding.as_json() for finding in self.findings],
            "statements": [
                {
                    "file": statement.file,
                    "line": statement.line,
                    "sql": statement.sql,
                    "locks": {relation: mode.value for relation, mode in statement.locks.items()},
                }
                for statement in self.statements
            ],
            "not_visible": [
                {"file": each.file, "line": each.line, "reason": each.reason, "fault": each.fault}
                for each in self.not_visible
            ],
        }


def lint_files(
    migrations: Iterable[Migration],
    *,
    one_plan: bool = False,
    model: Model | None = None,
    transaction: TransactionMode | None = None,
    as_executed: bool = False,
) -> LintResult:
    """Judge each file in the order given; cost: some 2 s per MB.

    `one_plan`: the files are known to be all pending, so what one makes is new to the others too; a `model` that
    was read from a database implies it.  `transaction`: how the files are wrapped, `auto` where not known.
    `as_executed`: nothing that a tool would leave out (its way back, psql's commands) is left out.
    What a rule of ours fails on is told as not visible (`NotVisible.fault`), and the rest is judged all the same.
    Raises `UnreadableSql` (exit 2) for what the parser cannot read, and for a line `-- pgrehearse: expect …`
    that cannot be read.
    """
    model = model if model is not None else Model()
    situation = Situation(
        model=model,
        one_plan=one_plan or model.complete,
        search_path=model.search_path,
        default_search_path=model.search_path,
    )
    reader = _Reader(situation, transaction or TransactionMode.AUTO, as_executed=as_executed)
    for migration in migrations:
        try:
            parsed = parse_file(migration, as_executed=as_executed)
            if parsed.plain:
                # One that cannot be read is a mistake, as SQL would be.
                parse_expectations(migration, tuple(each.statement for each in parsed.statements))
            reader.read(migration, parsed)
        except PgRehearseError:
            raise
        except Exception as fault:
            reader.give_up(migration, 1, fault)
    return LintResult(
        files=tuple(reader.files),
        findings=tuple(reader.findings),
        statements=tuple(reader.statements),
        not_visible=tuple(reader.not_visible),
    )


class _Reader:
    """What was found so far."""

    def __init__(self, situation: Situation, mode: TransactionMode, *, as_executed: bool) -> None:
        self.situation = situation
        self.mode = mode
        self.as_executed = as_executed
        self.files: list[str] = []
        self.findings: list[Finding] = []
        self.statements: list[LintedStatement] = []
        self.not_visible: list[NotVisible] = []
        self._transactions: list[int] = []  # of this file's hits, in their order
        self._failed: set[int] = set()  # transactions of this file that are certain to fail, or roll back
        self._undone: set[int] = set()  # hits of this file, by their place, that a ROLLBACK TO takes back

    def read(self, migration: Migration, parsed: ParsedFile) -> None:
        """One file."""
        situation = self.situation
        self.files.append(migration.path)
        situation.begin_file()
        for line, reason in parsed.passed_over:
            self.not_visible.append(NotVisible(file=migration.path, line=line, reason=reason))
        mode = TransactionMode.STATEMENT if parsed.refuses_transaction else self.mode
        as_written = any(each.statement.need in _CONTROL for each in parsed.statements)
        rolls_back = any(each.statement.need is TransactionNeed.ROLLS_BACK for each in parsed.statements)
        wrapped = mode in (TransactionMode.FILE, TransactionMode.PLAN) or migration.kind in DRIZZLE_KINDS
        situation.begin(in_block=wrapped or (mode is TransactionMode.AUTO and not as_written))
        situation.tool_wraps = situation.wrapped = mode in (TransactionMode.FILE, TransactionMode.PLAN)
        if rolls_back:
            situation.remember()
        found: list[tuple[Hit, ParsedStatement]] = []
        seen: list[Written] = []
        self._failed.clear()
        self._undone.clear()
        self._transactions.clear()
        savepoints: dict[str, int] = {}  # how many hits there were
        for each in parsed.statements:
            self._enter(each, mode, as_written=as_written, rolls_back=rolls_back)
            try:
                tree = each.tree
            except RecursionError:
                situation.means_as_read = False
                self.not_visible.append(
                    NotVisible(file=migration.path, line=each.statement.line, reason="it nests too deeply to be read")
                )
                continue
            written = Written(
                kind=each.kind,
                tree=tree,
                text=each.text,
                first_byte=each.first_byte,
                need=each.statement.need,
            )
            seen.append(written)
            if written.kind == "TransactionStmt":
                self._keep_savepoint(tree, savepoints, len(found))
            told = len(found)
            commits = mode is not TransactionMode.PLAN and migration.kind not in DRIZZLE_KINDS
            situation.last_of_file = each is parsed.statements[-1] and commits
            named = any(placeholder in written.text for placeholder in parsed.placeholders)
            try:
                with situation.by_the_text() if named else nullcontext():
                    locks = self._statement(written, found, each, migration)
            except Exception as fault:
                del found[told:], self._transactions[told:]  # half an answer is none
                locks = {}
                self.give_up(migration, each.statement.line, fault)
            self.statements.append(
                LintedStatement(
                    file=migration.path,
                    line=each.statement.line,
                    sql=redact(each.text, each.kind),
                    locks={name.written: mode for name, mode in locks.items()},
                )
            )
        found = [
            (kept, at)
            for number, ((hit, at), transaction) in enumerate(zip(found, self._transactions, strict=True))
            if (kept := that_remains(hit) if transaction in self._failed or number in self._undone else hit) is not None
        ]
        if all(each.kind in _NO_DDL for each in seen):
            found = [each for each in found if each[0].hazard != "dml-in-migration"]
        try:
            found.extend((hit, parsed.statements[at]) for hit, at in predict_file(seen, situation, migration))
            self.findings.extend(
                self._finding(kept, migration, at)
                for hit, at in found
                if (kept := as_the_file_leaves_it(hit, situation)) is not None
            )
        except Exception as fault:
            self.give_up(migration, 1, fault)

    def give_up(self, migration: Migration, line: int, fault: Exception) -> None:
        """A mistake of ours: it costs neither the other statements nor the other files their answer.

        What the statement would have changed is not known, so names are not missed from here on, nor rows asked.
        """
        import traceback  # only here: it takes as long as a small file

        at = traceback.extract_tb(fault.__traceback__)[-1]
        where = f"{PurePath(at.filename).name}:{at.lineno}"
        reason = f"fault in lint ({type(fault).__name__} at {where}), please report it; the rehearsal sees what it does"
        self.not_visible.append(NotVisible(file=migration.path, line=line, reason=reason, fault=True))
        self.situation.blind = True
        self.situation.model.data = None

    def _keep_savepoint(self, tree: Node, savepoints: dict[str, int], hits: int) -> None:
        """SAVEPOINT, and what a ROLLBACK TO takes back."""
        name = tree.get("savepoint_name", "")
        if tree["kind"] == "TRANS_STMT_SAVEPOINT":
            savepoints[name] = hits
            self.situation.set_savepoint(name)
        elif tree["kind"] == "TRANS_STMT_ROLLBACK_TO" and name in savepoints:
            self._undone.update(range(savepoints[name], hits))
            self.situation.roll_back_to(name)

    def _enter(self, each: ParsedStatement, mode: TransactionMode, *, as_written: bool, rolls_back: bool) -> None:
        """Where the statement stands to its transaction."""
        situation = self.situation
        match each.statement.need:
            case TransactionNeed.BEGINS:
                if not situation.opened_by_file:
                    situation.begin(in_block=True)
                situation.opened_by_file = True
                if rolls_back:
                    situation.remember()
            case TransactionNeed.COMMITS | TransactionNeed.ROLLS_BACK:
                if each.statement.need is TransactionNeed.ROLLS_BACK:
                    self._failed.add(situation.transaction)
                    situation.roll_back()
                situation.begin(in_block=False)
                situation.opened_by_file = situation.wrapped = False
            case TransactionNeed.REFUSES if not situation.opened_by_file and not situation.wrapped:
                situation.begin(in_block=False)
            case _ if as_written and not situation.opened_by_file and not situation.wrapped:
                situation.begin(in_block=False)
            case _ if mode is TransactionMode.STATEMENT and not situation.opened_by_file:
                situation.begin(in_block=False)
            case _ if not situation.in_block:  # the one before it refused a transaction
                situation.begin(in_block=True)

    def _statement(
        self, written: Written, found: list[tuple[Hit, ParsedStatement]], at: ParsedStatement, migration: Migration
    ) -> dict[RelationName, LockMode]:
        """Judge one statement and what it makes run, then let it change the model."""
        situation = self.situation
        if situation.model.data is not None:  # its driver is loaded already
            from pgrehearse.hazards.rows_in_the_way import note_touched, settle
        inside = look_inside(written.kind, written.tree, written.text, situation)
        for reason in inside.blind:
            self.not_visible.append(NotVisible(file=migration.path, line=at.statement.line, reason=reason))
        situation.blind = situation.blind or bool(inside.blind) or written.kind in _MAKES_ANYTHING
        taken: dict[RelationName, LockMode] = {}
        parts = [
            *(
                Written(
                    kind=kind,
                    tree=tree,
                    text=text,
                    inside=True,
                    conditional=inside.conditional,
                    caught=inside.caught,
                    branched=inside.branched,
                )
                for kind, tree, text in inside.statements
            ),
            written,
        ]
        told: set[tuple[str, RelationName | None, str]] = set()
        for kind in dict.fromkeys(part.kind for part in parts):
            why = why_not_visible(kind, judged=has_rule(kind) or locks_are_known(kind))
            if why is not None:
                self.not_visible.append(NotVisible(file=migration.path, line=at.statement.line, reason=why))
        for part in parts:
            locks = {} if refused(part, situation) else find_locks(part.kind, part.tree, situation)
            hits = list(predict(part, situation))
            if situation.model is situation.by_placeholder:
                hits = [hit if hit.certain else replace(hit, unsure=_PLACEHOLDER) for hit in hits]
            if not part.caught:
                hits = at_once(hits, situation)
            if any(hit.names.get("command") in _YOUNGER_GRAMMAR for hit in hits if hit.hazard == "statement-refused"):
                locks = {}  # a syntax error there
            if situation.model.data is not None and part.text:
                hits = unless_caught(hits, settle(hits, part.text, situation, inside=part.inside), part)
            if situation.in_block and not part.conditional and certain_to_fail(hits, situation):
                self._failed.add(situation.transaction)
            hits += behind_locks(part, situation, locks)
            for hit in hits:
                if hit.relation is not None and hit.relation != (resolved := situation.resolve(hit.relation)):
                    hit = replace(hit, relation=resolved)  # now: what it names may change with search_path
                key = (hit.hazard, hit.relation, str(hit.names))
                if key not in told and (kept := kept_of(hit, situation)) is not None:
                    told.add(key)
                    found.append((kept, at))
                    self._transactions.append(situation.transaction)
            situation.take(locks)
            for name, mode in locks.items():
                taken[name] = strongest(taken.get(name), mode)
            if situation.model.data is not None and part.text:
                note_touched(part.text, situation, may_do_anything=bool(inside.blind))
            perhaps = part.conditional or part.caught
            apply_statement(part.kind, part.tree, situation, part.text, perhaps=perhaps)
        situation.means_as_read = situation.means_as_read and _keeps_meaning(written, inside, situation)
        return taken

    def _finding(self, hit: Hit, migration: Migration, at: ParsedStatement) -> Finding:
        hazard = CATALOGUE[hit.hazard]
        statement = at.statement
        message = hazard.message(hit.names)
        level = hit.level or hazard.level
        if not hit.certain:
            message += self._doubt(hit)
            level = Level.WARNING if level is Level.ERROR else level
        line, column = statement.line, statement.column
        if hit.place is not None:
            line, column = statement.place(hit.place + 1)
        measured = dict(hit.measured)
        if (relation := self._known(hit)) is not None and relation.size_bytes is not None:
            measured.setdefault("size_bytes", relation.size_bytes)
            if relation.rows is not None:
                measured.setdefault("rows", relation.rows)
            message += f" ({size_text(relation)})"
        return Finding(
            hazard=hazard.id,
            classes=hit.classes or hazard.classes,
            level=level,
            file=migration.path,
            line=line,
            column=column,
            message=message,
            remedy=hazard.safe_way(hit.names),
            evidence=Evidence.PREDICTED,
            relation=self.situation.resolve(hit.relation).written if hit.relation is not None else None,
            measured=measured,
        )

    def _doubt(self, hit: Hit) -> str:
        if self.as_executed:  # whoever runs them sees what no text and no catalog tells
            return f" (not known beforehand: {hit.unsure})" if hit.unsure is not None else " (not known beforehand)"
        return f" ({hit.unsure or 'only a catalog can tell'}: lint with --against tells)"

    def _known(self, hit: Hit) -> Relation | None:
        if hit.relation is None or not BY_SIZE & set(hit.classes or CATALOGUE[hit.hazard].classes):
            return None
        return self.situation.sizes.get(self.situation.resolve(hit.relation))


def _keeps_meaning(written: Written, inside: Inside, situation: Situation) -> bool:
    data = situation.model.data
    if data is None:
        return False
    from pgrehearse.hazards.analysed_by_server import keeps_meaning  # its driver is loaded already

    return keeps_meaning(written.kind, written.tree, inside, situation, data)
