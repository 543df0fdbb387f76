"""What a file drops and makes again in one go: nobody sees that it was away."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pgrehearse.hazards.finding import Evidence, Finding, Level
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.rehearsal.held_predictions import trace_of
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

_VIEWS = (ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW)
_ROUTINES = (ObjectKind.FUNCTION, ObjectKind.PROCEDURE, ObjectKind.AGGREGATE)
# The hazards of things that go, and what they speak of.
KINDS = {
    "drop-view": _VIEWS,
    "replace-view-loses-column": _VIEWS,
    "drop-function": _ROUTINES,
    "function-signature-change": _ROUTINES,
    "drop-trigger": (ObjectKind.TRIGGER,),
    "drop-policy": (ObjectKind.POLICY,),
    "rename-table": (ObjectKind.TABLE, *_VIEWS),
    "rename-view": _VIEWS,
    "rename-column": (ObjectKind.COLUMN,),
}
_REPLACES = frozenset({"function-signature-change", "replace-view-loses-column"})  # of the statement that makes it
_GIVES_A_VALUE = re.compile(r"\bADD\s+GENERATED\b|\bSET\s+DEFAULT\b", re.IGNORECASE)
_DEFAULTS = frozenset({"drop-default", "drop-identity"})
_RENAMES = frozenset({"rename-table", "rename-view"})
# Statements that may drop a thing and make it again by themselves.
_DOES_ANYTHING = frozenset({"DoStmt", "SelectStmt", "CallStmt"})
_MAKES = _DOES_ANYTHING | {
    "ViewStmt", "CreateTableAsStmt", "CreateFunctionStmt", "DefineStmt", "CreateTrigStmt", "CreatePolicyStmt",
    "RenameStmt", "AlterObjectSchemaStmt",
}  # fmt: skip
_LAST_NAME = re.compile(r'([^."]+|"(?:[^"]|"")+")(?:\(.*)?$', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fates:
    """Bare names of what was there before the plan, by kind: what is not there any more, and what is.

    And whether columns that had a value of their own, by a default or an identity, have one still.
    """

    gone: Mapping[ObjectKind, frozenset[str]]
    kept: Mapping[ObjectKind, frozenset[str]]
    renumbered: frozenset[str]  # sequences that were a column's, which has a value of its own still
    filled: Mapping[str, Mapping[str, bool]]  # namespace.relation -> bare column, that had one -> has one still


def find_fates(before: Schema, after: Schema) -> Fates:
    """What is still there as its users know it.

    A view's users know its columns and their types, a function's its arguments and its result, and not how they come
    about.  A table's users know as much of it.  A column, a trigger or a policy is all that it says.
    """
    kinds = tuple(dict.fromkeys(kind for kinds in KINDS.values() for kind in kinds))
    columns_before, columns_after = (_columns_by_relation(schema) for schema in (before, after))
    now = {each.key: each for each in after.of_kind(*kinds)}
    names: dict[bool, dict[ObjectKind, set[str]]] = {kept: {kind: set() for kind in kinds} for kept in (True, False)}
    for then in before.of_kind(*kinds):
        found = now.get(then.key)
        if found is None:
            kept = then.kind in _ROUTINES and any(_takes_its_calls(each, then) for each in now.values())
        elif then.kind in (*_VIEWS, ObjectKind.TABLE):
            kept = columns_before.get(then.name, {}).items() <= columns_after.get(then.name, {}).items()
        else:
            kept = _outside(then) == _outside(found)
        names[kept][then.kind].add(_bare(then.name))
    numbered = {
        f"{column.relation}.{column.name}"
        for column in after.of_kind(ObjectKind.COLUMN)
        if "default" in column.attributes or "identity" in column.attributes
    }
    return Fates(
        gone={kind: frozenset(found) for kind, found in names[False].items()},
        kept={kind: frozenset(found) for kind, found in names[True].items()},
        renumbered=frozenset(
            each.name for each in before.of_kind(ObjectKind.SEQUENCE) if each.attributes.get("owned by") in numbered
        ),
        filled=_find_filled(before, after),
    )


def _filled(schema: Schema) -> Iterator[SchemaObject]:
    """Columns that have a value where an INSERT gives none, and take one that it gives."""
    for column in schema.of_kind(ObjectKind.COLUMN):
        if "default" in column.attributes or column.attributes.get("identity") == "by default":
            yield column


def _find_filled(before: Schema, after: Schema) -> dict[str, dict[str, bool]]:
    still = {each.key for each in _filled(after)}
    found: dict[str, dict[str, bool]] = {}
    for column in before.of_kind(ObjectKind.COLUMN):
        if "default" in column.attributes or "identity" in column.attributes:
            found.setdefault(str(column.relation), {})[_bare(column.name)] = column.key in still
    return found


def hold_against_schema(
    findings: Iterable[Finding], traces: Sequence[StatementTrace], fates: Fates
) -> tuple[Finding, ...]:
    """The predictions, those disproved that speak of something which the same transaction makes again.

    One that is away between two transactions stays a prediction.
    """
    return tuple(_held(finding, traces, fates) for finding in findings)


def _held(finding: Finding, traces: Sequence[StatementTrace], fates: Fates) -> Finding:
    if finding.hazard in KINDS and _is_there_again(finding, traces, fates):
        message = f"{finding.message}; measured: it is there again"
        return replace(finding, message=message, evidence=Evidence.DISPROVED, level=Level.INFO)
    if finding.hazard in _DEFAULTS and _is_filled_again(finding, traces, fates):
        message = f"{finding.message}; measured: it has a value of its own again"
        return replace(finding, message=message, evidence=Evidence.DISPROVED, level=Level.INFO)
    if finding.hazard == "drop-sequence" and finding.relation in fates.renumbered and finding.level is Level.ERROR:
        # Few applications name a column's own sequence; whether this one does is not known.
        message = f"{finding.message}; measured: the column that it was of has a value of its own still"
        return replace(finding, message=message, level=Level.WARNING)
    return finding


def _is_there_again(finding: Finding, traces: Sequence[StatementTrace], fates: Fates) -> bool:
    trace = trace_of(finding, traces)
    if finding.evidence is not Evidence.PREDICTED or trace is None or trace.error is not None:
        return False
    text, kinds = trace.statement.text, KINDS[finding.hazard]
    if trace.transaction is None or any(_names(text, name) for kind in kinds for name in fates.gone[kind]):
        return False
    after = [each for each in traces[traces.index(trace) + 1 :] if each.transaction == trace.transaction]
    makers = [each.statement.text for each in after if each.statement.kind in _MAKES]
    makers += [text] if trace.statement.kind in _DOES_ANYTHING or finding.hazard in _REPLACES else []
    known = {name for kind in kinds for name in fates.kept[kind]}
    if finding.hazard in _RENAMES and finding.relation is not None and _bare(finding.relation) not in known:
        return True  # a name that the plan itself gave
    spoken_of = {name for name in known if _names(text, name)}
    return bool(spoken_of) and all(any(_names(maker, name) for maker in makers) for name in spoken_of)


def _is_filled_again(finding: Finding, traces: Sequence[StatementTrace], fates: Fates) -> bool:
    trace = trace_of(finding, traces)
    if finding.evidence is not Evidence.PREDICTED or trace is None or trace.error is not None:
        return False
    columns = fates.filled.get(str(finding.relation), {})
    named = [still for name, still in columns.items() if _names(trace.statement.text, name)]
    return trace.transaction is not None and bool(named) and all(named) and _is_altered_after(trace, finding, traces)


def _is_altered_after(trace: StatementTrace, finding: Finding, traces: Sequence[StatementTrace]) -> bool:
    """Whether its transaction goes on with an ALTER TABLE of it, or the statement gave the new value itself."""
    if trace.statement.kind in _DOES_ANYTHING or _GIVES_A_VALUE.search(trace.statement.text):
        return True
    name = _bare(str(finding.relation))
    return any(
        each.transaction == trace.transaction
        and each.statement.kind in {"AlterTableStmt", *_DOES_ANYTHING}
        and _names(each.statement.text, name)
        for each in traces[traces.index(trace) + 1 :]
    )


def _columns_by_relation(schema: Schema) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    for column in schema.of_kind(ObjectKind.COLUMN):
        found.setdefault(str(column.relation), {})[column.name] = column.attributes.get("type")
    return found


def _outside(found: SchemaObject) -> object:
    if found.kind not in _ROUTINES:
        return {name: found.compared(name) for name in found.attributes}
    # pg_get_functiondef: name, arguments with their defaults, result; then the language and the body.
    return found.attributes.get("definition", "").partition("\n LANGUAGE ")[0], found.attributes.get("aggregate")


def _takes_its_calls(new: SchemaObject, old: SchemaObject) -> bool:
    """Whether it has the old one's arguments and result, and further arguments that all have a default."""
    if new.kind is not old.kind:
        return False
    (start, result), (start_before, result_before) = (
        each.attributes.get("definition", "").partition("\n LANGUAGE ")[0].rpartition(")\n RETURNS ")[::2]
        for each in (new, old)
    )
    more = start.removeprefix(f"{start_before}, ") if start_before.partition("(")[2] else ""
    return result == result_before and more not in ("", start) and all(" DEFAULT " in each for each in more.split(", "))


def _bare(name: str) -> str:
    """``f`` of ``public.f(a integer)``."""
    outside = name.partition("(")[0]
    found = _LAST_NAME.search(outside)
    return (found[1] if found is not None else outside).strip('"').replace('""', '"')


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None
