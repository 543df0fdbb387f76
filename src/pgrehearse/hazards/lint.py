"""Lint: what migration files would do, told without a database.

Small on purpose: it knows the hazards of `catalogue.py` and nothing of the tables' present shape, so a
type change that PostgreSQL gets for free is told as one that may rewrite.  Names without a schema are
taken to be in ``public``, or where the file's own ``SET search_path`` leads.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pglast import ast, parse_sql

from pgrehearse.errors import UnreadableSql
from pgrehearse.hazards.catalogue import CATALOGUE
from pgrehearse.hazards.earlier import Earlier
from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level
from pgrehearse.hazards.not_visible import find_hidden
from pgrehearse.hazards.predict import Hit, predict
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.statement_locks import find_locks
from pgrehearse.migrations.expectations import parse_expectations
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.secrets import redact
from pgrehearse.migrations.statements import DRIZZLE_KINDS, Statement, TransactionNeed, split_file
from pgrehearse.postgres.locks import LockMode

_PSQL_LINE = re.compile(rb"^[ \t]*\\[^\r\n]*", re.MULTILINE)
_TRANSACTION_COMMANDS = frozenset({TransactionNeed.BEGINS, TransactionNeed.COMMITS, TransactionNeed.ROLLS_BACK})


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedStatement:
    """One statement and the locks that its text makes certain."""

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
            "not_visible": [{"file": each.file, "line": each.line, "reason": each.reason} for each in self.not_visible],
        }


def lint_files(migrations: Iterable[Migration], *, one_plan: bool = False) -> LintResult:
    """Judge each file in the order given; cost: 1 to 2 s per MB.

    `one_plan`: the files are known to be all pending, so what one makes is new to the others too.
    psql's backslash commands are passed over and told as not visible.  Raises `UnreadableSql` (exit 2)
    for what the parser cannot read, and for a line `-- pgrehearse: expect …` that cannot be read.
    """
    files: list[str] = []
    findings: list[Finding] = []
    statements: list[LintedStatement] = []
    not_visible: list[NotVisible] = []
    earlier = Earlier()
    for migration in migrations:
        files.append(migration.path)
        earlier.begin_file(forget=not one_plan)
        split, passed_over = _split(migration)
        not_visible.extend(passed_over)
        if not passed_over:
            parse_expectations(migration, split)  # one that cannot be read is a mistake, as SQL would be
        found: list[Finding] = []
        if migration.kind in DRIZZLE_KINDS:
            found.extend(_nested_transaction(migration, split))
        views: set[str] = set()
        for statement in split:
            node = parse_sql(statement.text)[0].stmt
            locks = {
                earlier.qualified(name): mode
                for name, mode in find_locks(node).items()
                if earlier.qualified(name) not in earlier.made
            }
            sql = redact(statement.text, statement.kind)
            statements.append(LintedStatement(file=migration.path, line=statement.line, sql=sql, locks=locks))
            reason = find_hidden(node, statement.text)
            if reason is not None:
                not_visible.append(NotVisible(file=migration.path, line=statement.line, reason=reason))
            hits = [hit for hit in predict(node, statement.text, earlier) if _concerns_anybody(hit, earlier)]
            found.extend(_finding(hit, migration, statement, earlier) for hit in hits)
            if isinstance(node, ast.ViewStmt):
                views.add(earlier.qualified(RelationName.of_range(node.view)))
            if statement.need is TransactionNeed.ROLLS_BACK:
                earlier.forget_made()
            earlier.note(node)
        findings.extend(finding for finding in found if not _bridged(finding, views))
    return LintResult(
        files=tuple(files),
        findings=tuple(findings),
        statements=tuple(statements),
        not_visible=tuple(not_visible),
    )


def _split(migration: Migration) -> tuple[tuple[Statement, ...], list[NotVisible]]:
    try:
        return split_file(migration.content, path=migration.path, kind=migration.kind), []
    except UnreadableSql:
        commands = list(_PSQL_LINE.finditer(migration.content))
        if not commands:
            raise
    passed_over = [
        NotVisible(
            file=migration.path,
            line=migration.content.count(b"\n", 0, command.start()) + 1,
            reason=f"{command.group().split()[0].decode(errors='replace')} is a command of psql, not SQL",
        )
        for command in commands
    ]
    # Blanks of the same length: lines and columns stay where the user's editor shows them.
    content = _PSQL_LINE.sub(lambda match: b" " * len(match.group()), migration.content)
    return split_file(content, path=migration.path, kind=migration.kind), passed_over


def _concerns_anybody(hit: Hit, earlier: Earlier) -> bool:
    """Nobody uses what the same file made; what it perhaps made may hold rows, but that it is busy is not likely."""
    if hit.relation is None:
        return True
    relation = earlier.qualified(hit.relation)
    if relation in earlier.made or relation in earlier.indexes_on_made:
        return False
    return relation not in earlier.perhaps_made or HazardClass.DATA_LOSS in CATALOGUE[hit.hazard].classes


def _bridged(finding: Finding, views: set[str]) -> bool:
    """A view under the old name keeps the running application's statements working."""
    return finding.hazard == "rename-table" and finding.relation in views


def _nested_transaction(migration: Migration, statements: Iterable[Statement]) -> list[Finding]:
    """The file's first transaction command; the others belong to it."""
    first = next((each for each in statements if each.need in _TRANSACTION_COMMANDS), None)
    if first is None:
        return []
    names = {"command": " ".join(first.text.split()).upper()}
    return [_finding(Hit(hazard="nested-transaction", relation=None, names=names), migration, first, Earlier())]


def _finding(hit: Hit, migration: Migration, statement: Statement, earlier: Earlier) -> Finding:
    hazard = CATALOGUE[hit.hazard]
    return Finding(
        hazard=hazard.id,
        classes=hazard.classes,
        level=hazard.level,
        file=migration.path,
        line=statement.line,
        column=statement.column,
        message=hazard.effect.format_map(hit.names),
        remedy=hazard.remedy.format_map(hit.names),
        evidence=Evidence.PREDICTED,
        relation=earlier.qualified(hit.relation) if hit.relation is not None else None,
    )
