"""What a plan touches or depends on, and how production's schema differs from the one that it was rehearsed on."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from pgrehearse.release.gate import Reason, ReasonKind
from pgrehearse.rollback.names import split_name
from pgrehearse.schema.diff import ORDER, Change, Effect, diff
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

# Grants move on their own, and no statement of a migration that succeeds does something else because of them:
# the role's own rights are what the rehearsal and the server check.  Default privileges are another matter: what the
# plan makes gets other rights by them than it got in the rehearsal.
MOVES_ON_ITS_OWN = frozenset({"grants", "statistics target", "statistics targets", "clustered", "comment"})
INHERITS = "inherits"
ALWAYS = frozenset({ObjectKind.EVENT_TRIGGER, ObjectKind.CAST})  # they act without being named
# Of a relation, and nothing of them is in `CatalogEvidence`; by the word that a statement about them holds.
NOT_IN_EVIDENCE = {ObjectKind.PUBLICATION_RELATION: "publication", ObjectKind.STATISTICS: "statistics"}
MADE_AS = {  # the word for it in ALTER DEFAULT PRIVILEGES
    ObjectKind.TABLE: "tables",
    ObjectKind.FOREIGN_TABLE: "tables",
    ObjectKind.VIEW: "tables",
    ObjectKind.MATERIALIZED_VIEW: "tables",
    ObjectKind.SEQUENCE: "sequences",
    ObjectKind.FUNCTION: "functions",
    ObjectKind.PROCEDURE: "functions",
    ObjectKind.AGGREGATE: "functions",
    ObjectKind.TYPE: "types",
    ObjectKind.DOMAIN: "types",
    ObjectKind.SCHEMA: "schemas",
}
# What the evidence of a commit holds as such; the rest of a schema's kinds a half-done plan may have changed unseen.
IN_EVIDENCE = frozenset(
    {
        ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE, ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW, ObjectKind.COLUMN,
        ObjectKind.CONSTRAINT, ObjectKind.INDEX, ObjectKind.SEQUENCE, ObjectKind.TRIGGER, ObjectKind.POLICY,
        ObjectKind.RULE, ObjectKind.FUNCTION, ObjectKind.PROCEDURE, ObjectKind.AGGREGATE, ObjectKind.TYPE,
        ObjectKind.DOMAIN, ObjectKind.SCHEMA, ObjectKind.EXTENSION,
    }
)  # fmt: skip
_WORD = re.compile(r"\w+")
_DEFAULT_PRIVILEGES = re.compile(r'of ("(?:[^"]|"")*"|[^" ]+) on (\w+(?: objects)?)(?: in schema (.+))?')


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """The objects of a schema that decide what a plan does there.

    ``relations`` are what its statements locked or changed; ``named`` are views, functions, types and the
    like whose names occur in those or in the plan's own text, and so on from there.  A name that only looks
    alike counts too: too strict rather than too lax.
    """

    relations: frozenset[str]  # namespace.relation, before the plan and after it
    named: frozenset[tuple[str, str, str]]  # `SchemaObject.key`
    made: frozenset[tuple[str, str, str]]  # what the plan creates
    made_by: frozenset[tuple[str, str, str]] = frozenset()  # of that: by which role, `MADE_AS`, in which namespace

    def has(self, kind: ObjectKind, relation: str | None, name: str) -> bool:
        key = (kind.value, relation or "", name)
        return (
            kind in ALWAYS
            or relation in self.relations
            or (relation is None and name in self.relations)
            or key in self.named
            or key in self.made
        )

    def is_made_by(self, default_privileges: str) -> bool:
        """Whether these, named as in a `Schema`, decide the rights to something that the plan makes."""
        if (found := _DEFAULT_PRIVILEGES.fullmatch(default_privileges)) is None:
            return False
        (role,), what = split_name(found[1]), found[2]
        namespaces = split_name(found[3]) if found[3] is not None else None
        return any(
            (by, made) == (role, what) and (namespaces is None or (namespace,) == namespaces)
            for by, made, namespace in self.made_by
        )


def find_touched(document: Mapping[str, Any], before: Schema, after: Schema, texts: Iterable[str]) -> Touched:
    """From a receipt, its schemas, and the text of its statements.  Cost: a few µs per object and word."""
    relations = {name for statement in document["statements"] for name in statement["locks"]}
    relations |= {
        table["name"] for table in document["tables"] if table["name"] is not None and table["verdict"] != "unchanged"
    }
    for change in document["schema"]["changes"]:
        relations.add(change["relation"] if change["relation"] is not None else change["name"])
    known = {found.key for found in before.objects}
    made = [found for found in after.objects if found.key not in known]
    named = _find_named(before, relations, texts)
    relations |= {found.name for found in made if found.relation is None}
    return Touched(
        relations=frozenset(relations),
        named=named,
        made=frozenset(found.key for found in made),
        made_by=frozenset(_made_by(made, document["role"])),
    )


def _made_by(made: Iterable[SchemaObject], role: str) -> Iterator[tuple[str, str, str]]:
    for found in made:
        if found.kind in MADE_AS:
            # It may have been given away since it was made, or been made under SET ROLE.
            for by in {role, found.attributes.get("owner", role)}:
                yield by, MADE_AS[found.kind], split_name(found.name.split("(")[0])[0]


def _find_named(schema: Schema, relations: Set[str], texts: Iterable[str]) -> frozenset[tuple[str, str, str]]:
    """Objects outside of the relations that are named by them, by the plan, or by one another."""
    words = {word for text in texts for word in _words(text)}
    candidates: list[SchemaObject] = []
    members: dict[str, list[SchemaObject]] = {}  # of relations that are not touched, views above all
    for found in schema.objects:
        if (found.relation or found.name) in relations:
            words |= _words_of(found)
        elif found.relation is None:
            candidates.append(found)
        else:
            members.setdefault(found.relation, []).append(found)
    named: set[tuple[str, str, str]] = set()
    while True:
        fresh = [found for found in candidates if _bare_name(found) in words]
        if not fresh:
            return frozenset(named)
        candidates = [found for found in candidates if _bare_name(found) not in words]
        for found in fresh:
            named.add(found.key)
            words |= _words_of(found)
            for member in members.get(found.name, []):
                named.add(member.key)
                words |= _words_of(member)


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}


def _words_of(found: SchemaObject) -> set[str]:
    return {word for text in found.attributes.values() for word in _words(text)}


def _bare_name(found: SchemaObject) -> str:
    """The last word of the name, without namespace, quotes and arguments: ``public.total(integer)`` is total."""
    name = found.name.split("(")[0]
    words = _WORD.findall(name)
    return words[-1].lower() if words else name


def judge_state(before: Schema, now: Schema, touched: Touched) -> tuple[list[Reason], list[str]]:
    """Reasons for what differs where the plan touches or depends on it; everything else is told as drift.

    Partitions and heirs that came or went, grants and statistics targets of what it touches are told: they move on
    their own, and what a plan does to them is compared before each COMMIT.
    """
    strict: list[str] = []
    drift: list[str] = []
    own: list[str] = []
    if before.server_major != now.server_major:
        strict.append(f"the schema was read on PostgreSQL {before.server_major}, now it is {now.server_major}")
    partitions = _partitions(before) | _partitions(now)
    heirs = _heirs(touched.relations, before, now)
    for change in diff(before, now):
        if _decides(change, touched):
            strict.append(f"{change}; what the plan makes gets other rights by it")
        elif change.attribute == INHERITS and change.name in heirs:
            strict.append(f"{change}; what the plan does to the parent it does to its heirs")
        elif touched.has(change.kind, change.relation, change.name):
            (own if _moves_on_its_own(change, partitions) else strict).append(str(change))
        else:
            (own if change.name in heirs and change.effect is not Effect.CHANGED else drift).append(str(change))
    reasons = []
    if strict:
        reasons.append(
            Reason(
                kind=ReasonKind.STATE,
                message="production's schema is not the one that the plan was rehearsed on",
                remedy="Rehearse again; production has changed where the plan touches it.",
                details=tuple(strict),
            )
        )
    return reasons, [
        *(
            f"drift since the rehearsal on what the plan touches, and by itself no reason against it: {text}"
            for text in own
        ),
        *(f"drift since the rehearsal, which the plan does not touch: {text}" for text in drift),
    ]


def differences_where_touched(
    expected: Schema,
    now: Schema,
    touched: Touched,
    *,
    in_any_order: bool = False,
    is_to_run: bool = False,
    but: Callable[[Change], bool] | None = None,
) -> tuple[str, ...]:
    """What differs from the rehearsed state where the plan touches it; empty when production is as rehearsed.

    ``in_any_order``: a table's columns may stand in another order, as they do once a dropped one has come back.
    ``is_to_run``: the plan has yet to make its objects, so default privileges count too.
    ``but``: changes that are no difference; see `made_by_plan`.
    """
    partitions = _partitions(expected) | _partitions(now)
    return tuple(
        str(change)
        for change in diff(expected, now)
        if not (but is not None and but(change))
        and (
            (is_to_run and _decides(change, touched))
            or (
                touched.has(change.kind, change.relation, change.name)
                and not _moves_on_its_own(change, partitions)
                and not (in_any_order and change.attribute == ORDER)
            )
        )
    )


def made_by_plan(before: Schema, after: Schema, texts: Iterable[str]) -> Callable[[Change], bool]:
    """Whether a half-done plan may have made a change by itself, of the kinds that are not `IN_EVIDENCE`.

    Of an object that it leaves otherwise than it was, or that its text names, the receipt does not say how far it is.
    What becomes of it in the end is compared with the receipt's *after*.
    """
    own = {(change.kind, change.relation, change.name) for change in diff(before, after)}
    words = {word for text in texts for word in _words(text)}

    def is_made(change: Change) -> bool:
        if change.kind in IN_EVIDENCE or change.kind in NOT_IN_EVIDENCE:
            return False
        named = _words(change.kind.value) | _words(change.name.split("(")[0].rpartition(".")[2])
        return (change.kind, change.relation, change.name) in own or named <= words

    return is_made


def differences_between_commits(
    before: Schema, after: Schema, now: Schema, *, relations: Set[str], texts: Iterable[str]
) -> tuple[str, ...]:
    """What a half-done plan meets on these relations, which it has written: of the kinds `NOT_IN_EVIDENCE`.

    Only of objects that the plan leaves as they were: how far it is with another the receipt does not say.  Neither
    of those that its text names, which it may drop and make again.
    """
    words = {word for text in texts for word in _words(text)}
    relations = relations & {found.name for found in after.objects if found.relation is None}

    def of(schema: Schema) -> Schema:
        objects = (found for found in schema.of_kind(*NOT_IN_EVIDENCE) if found.relation in relations)
        return replace(schema, objects=tuple(objects))

    def is_named(change: Change) -> bool:
        own_name = _words(change.name.removesuffix(f" on {change.relation}").rpartition(".")[2])
        return {NOT_IN_EVIDENCE[change.kind], *own_name} <= words

    own = {(change.kind, change.relation, change.name) for change in diff(of(before), of(after))}
    partitions = _partitions(after) | _partitions(now)
    return tuple(
        str(change)
        for change in diff(of(before), of(now))
        if (change.kind, change.relation, change.name) not in own
        and not is_named(change)
        and not _moves_on_its_own(change, partitions)
    )


def _decides(change: Change, touched: Touched) -> bool:
    return change.kind is ObjectKind.DEFAULT_PRIVILEGES and touched.is_made_by(change.name)


def _partitions(schema: Schema) -> set[str]:
    return {found.name for found in schema.of_kind(ObjectKind.TABLE) if "partition bound" in found.attributes}


def _heirs(relations: Set[str], *schemas: Schema) -> set[str]:
    """Tables that inherit from one of these in one of the schemas, partitions among them, at whatever depth."""
    parents = [
        (found.name, set(found.attributes[INHERITS].split(", ")))
        for schema in schemas
        for found in schema.of_kind(ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE)
        if INHERITS in found.attributes
    ]
    heirs: set[str] = set()
    while fresh := {name for name, above in parents if not above.isdisjoint(relations | heirs)} - heirs:
        heirs |= fresh
    return heirs


def _moves_on_its_own(change: Change, partitions: Set[str]) -> bool:
    """Grants and the like, and a whole partition with everything on it, added or removed."""
    if change.effect in (Effect.ADDED, Effect.REMOVED):
        return (change.relation or change.name) in partitions
    return change.attribute in MOVES_ON_ITS_OWN
