"""What is said of the old application: findings, one check, and what was not measured."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.queries.application import ApplicationStatement
from pgrehearse.queries.planning import Refusal
from pgrehearse.rehearsal.application import ApplicationFound, BrokenStatement
from pgrehearse.rehearsal.checks import CheckResult, CheckVerdict
from pgrehearse.rehearsal.judge import Unmeasured

SHOWN_STATEMENTS = 3
SHOWN_WIDTH = 160
MOST_REASONS = 20
PREPARED_HAZARD = "select-star-prepared-plan"
WEIGHTY = {HazardClass.DATA_LOSS, HazardClass.FAILS}  # that an application's statements say nothing about
INSUFFICIENT_PRIVILEGE = "42501"
# Statements that change rows and nothing else break none by themselves, unless no other can have.
WRITES_ROWS = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CopyStmt"})

DEPLOY_FIRST = (
    "Deploy an application that does not send it any more before this migration, "
    "or keep what it needs (the old column, a default, a view under the old name) until then."
)
GRANT_IT = (
    "Give {role} the right in the same file: GRANT … TO {role}; or ALTER DEFAULT PRIVILEGES for what comes later."
)
RECONNECT = (
    "Reconnect the application's sessions right after the migration (restart it, or its pooler's server connections). "
    "Where columns are only added, naming columns instead of SELECT * avoids it."
)


def find_application_findings(found: ApplicationFound | None, traces: Sequence[StatementTrace]) -> tuple[Finding, ...]:
    """One finding for each answer of the server and statement of the plan that probably is its cause."""
    if found is None:
        return ()
    return (*_broken(found, traces), *_prepared(found))


def held_against_application(
    findings: Sequence[Finding], found: ApplicationFound | None, traces: Sequence[StatementTrace]
) -> tuple[Finding, ...]:
    """The findings, those predictions that an application breaks held against what became of its statements.

    Confirmed where the plan's statement is the probable cause of one that broke.  An error about nothing else is a
    warning where statements that name its relation were tried and all still work: the file may not have every one.
    """
    if found is None or found.problem is not None:
        return tuple(findings)
    causes = [cause for each in found.broken if (cause := find_cause(each, traces)) is not None]
    held = [_held(finding, found, causes) for finding in findings]
    levels = list(Level)
    return tuple(sorted(held, key=lambda each: (levels.index(each.level), each.evidence is Evidence.DISPROVED)))


def _held(finding: Finding, found: ApplicationFound, causes: Sequence[StatementTrace]) -> Finding:
    if finding.evidence is Evidence.OBSERVED:
        return finding
    name = None if finding.relation is None else _bare(finding.relation)
    if finding.hazard == PREPARED_HAZARD:
        asked = found.prepared_problem is None and any(name in each.relations for each in found.prepared)
        refused = any(name in each.relations for each, _ in found.prepared_broken)
        return replace(finding, evidence=_seen(refused)) if asked else finding
    if HazardClass.BREAKS_RUNNING_APP not in finding.classes:
        return finding
    broken = sum(_is_at(finding, cause) for cause in causes)
    if broken:
        measured = {**finding.measured, "statements": broken}
        return replace(finding, evidence=Evidence.CONFIRMED, level=Level.ERROR, measured=measured)
    if finding.level is not Level.ERROR or finding.evidence is not Evidence.PREDICTED or set(finding.classes) & WEIGHTY:
        return finding
    naming = [each for each in found.working if name in each.relations]
    if not naming or any(name in each.statement.relations for each in found.broken):
        return finding
    message = f"{finding.message}; of {found.file} {_count(len(naming))} on it tried, and none broke"
    return replace(finding, level=Level.WARNING, message=message)


def _seen(happened: bool) -> Evidence:
    return Evidence.CONFIRMED if happened else Evidence.DISPROVED


def _is_at(finding: Finding, cause: StatementTrace) -> bool:
    """Whether the finding speaks of this statement of the plan."""
    if finding.file != cause.migration.path or finding.line is None:
        return False
    first = (cause.statement.line, cause.statement.column)
    last = cause.statement.place(len(cause.statement.text))
    return first <= (finding.line, finding.column or 1) <= last


def application_check(found: ApplicationFound) -> CheckResult:
    """How many statements were held against the plan."""
    counted = f"{_count(found.statements)} of {found.file} as {found.role}"
    if found.problem is not None:
        verdict, detail = CheckVerdict.UNMEASURED, f"{counted}: {found.problem}"
    else:
        verdict = CheckVerdict.FAILED if found.broken else CheckVerdict.PASSED
        not_measured = found.statements - len(found.working) - len(found.broken)
        detail = f"{counted}: {len(found.working)} work before and after, {len(found.broken)} only before"
        detail += f", {not_measured} not measured" if not_measured else ""
    return CheckResult(name="the old application", verdict=verdict, detail=detail)


def find_unmeasured_application(found: ApplicationFound | None) -> Iterator[Unmeasured]:
    """What of it was not looked at; all of it decides, for somebody named it."""
    if found is None:
        return
    if found.problem is not None:
        yield Unmeasured(what="the old application", reason=found.problem, decisive=True)
        return
    by_reason: dict[str, list[ApplicationStatement]] = {}
    for statement, reason in found.not_tried:
        by_reason.setdefault(reason, []).append(statement)
    for reason, statements in list(by_reason.items())[:MOST_REASONS]:
        what = f"{_count(len(statements))} of {found.file}: {_listed(statements)}"
        yield Unmeasured(what=what, reason=reason, decisive=False)
    if rest := sum(map(len, list(by_reason.values())[MOST_REASONS:])):
        yield Unmeasured(what=f"{_count(rest)} more of {found.file}", reason="for other reasons", decisive=False)
    if found.prepared_problem is not None:
        what = "what open sessions of the application have prepared"
        yield Unmeasured(what=what, reason=found.prepared_problem, decisive=False)
    if not found.role_given:
        what = "whether the application keeps its rights"
        reason = f"nobody named its role (--application-role), so that its statements were tried as {found.role}"
        yield Unmeasured(what=what, reason=reason, decisive=False)


def _broken(found: ApplicationFound, traces: Sequence[StatementTrace]) -> Iterator[Finding]:
    groups: dict[tuple[str, int | None], tuple[StatementTrace | None, list[BrokenStatement]]] = {}
    for each in found.broken:
        cause = find_cause(each, traces)
        groups.setdefault((str(each.refusal), id(cause)), (cause, []))[1].append(each)
    for cause, several in groups.values():
        first = several[0]
        place = "" if cause is None else f"; most likely by {cause.migration.path}:{cause.statement.line}"
        fails = "cannot be committed" if first.at_commit else "fails" if len(several) == 1 else "fail"
        refused = first.refusal.sqlstate == INSUFFICIENT_PRIVILEGE
        yield Finding(
            hazard="query-breaks",
            classes=(HazardClass.BREAKS_RUNNING_APP,),
            level=Level.ERROR,
            file=None if cause is None else cause.migration.path,
            line=None if cause is None else cause.statement.line,
            column=None if cause is None else cause.statement.column,
            message=f"{_count(len(several))} of {found.file}, sent as {found.role}, worked before and {fails} after: "
            f"{first.refusal}{_told_names(first)}: {_listed([each.statement for each in several])}{place}",
            remedy=GRANT_IT.format(role=found.role) if refused else DEPLOY_FIRST,
            evidence=Evidence.OBSERVED,
            measured={"statements": len(several), "sqlstate": first.refusal.sqlstate},
        )


def _prepared(found: ApplicationFound) -> Iterator[Finding]:
    by_error: dict[str, list[ApplicationStatement]] = {}
    refusals: dict[str, Refusal] = {}
    for statement, refusal in found.prepared_broken:
        by_error.setdefault(str(refusal), []).append(statement)
        refusals[str(refusal)] = refusal
    for error, statements in by_error.items():
        yield Finding(
            hazard=PREPARED_HAZARD,
            classes=(HazardClass.BREAKS_RUNNING_APP,),
            # Whoever connects anew meets nothing of it.
            level=Level.WARNING,
            message=f"{_count(len(statements))} of {found.file} {'fails' if len(statements) == 1 else 'fail'} in "
            f"sessions that prepared {'it' if len(statements) == 1 else 'them'} before, until they reconnect: {error}: "
            f"{_listed(statements)}",
            remedy=RECONNECT,
            evidence=Evidence.OBSERVED,
            measured={"statements": len(statements), "sqlstate": refusals[error].sqlstate},
        )


# --- which statement of the plan it was -------------------------------------------------------------------------------


def find_cause(broken: BrokenStatement, traces: Sequence[StatementTrace]) -> StatementTrace | None:
    """The plan's statement that probably broke it: the last of those that name the most of what the server's answer
    names, else the last that names a table of the application's statement, or locked it; None where nothing tells.
    """
    ran = [trace for trace in traces if trace.error is None]
    changing = [trace for trace in ran if trace.statement.kind not in WRITES_ROWS]
    for candidates in (changing, ran):
        ranked = [(_named(trace, broken.names), place, trace) for place, trace in enumerate(candidates)]
        best = max(ranked, key=lambda each: each[:2], default=None)
        if best is not None and best[0] > 0:
            return best[2]
        for trace in reversed(candidates):
            locked = {_bare(name) for name, mode in trace.locks.items() if mode.blocks_writes}
            relations = frozenset(broken.statement.relations)
            if locked & relations or _named(trace, relations):
                return trace
    return changing[0] if len(changing) == 1 else None


def _named(trace: StatementTrace, names: frozenset[str]) -> int:
    return sum(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", trace.statement.text) is not None for name in names)


def _bare(name: str) -> str:
    """The relation's name without its namespace and quotes."""
    return name.rpartition(".")[2].strip('"')


def _told_names(broken: BrokenStatement) -> str:
    """Columns and constraints that the server told beside a message which could quote a row's values."""
    untold = sorted(name for name in broken.names if name not in broken.refusal.message)
    return f" of {', '.join(untold)}" if untold else ""


def _listed(statements: Sequence[ApplicationStatement]) -> str:
    shown = [
        each.shown if len(each.shown) <= SHOWN_WIDTH else each.shown[: SHOWN_WIDTH - 1] + "…"
        for each in statements[:SHOWN_STATEMENTS]
    ]
    rest = len(statements) - len(shown)
    return " | ".join(shown) + (f" and {rest:,} more" if rest > 0 else "")


def _count(number: int) -> str:
    return f"{number:,} statement{'' if number == 1 else 's'}"
