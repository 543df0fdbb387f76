"""What the schema promised before and does not promise any more, or does not hold yet."""

import re
from collections.abc import Iterator

from pgrehearse.hazards.finding import Level
from pgrehearse.rehearsal.judge import LostGuarantee
from pgrehearse.rehearsal.protections import find_lost_protections
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject, find_newly_unproved, find_unproved

PROMISES = (ObjectKind.CONSTRAINT, ObjectKind.INDEX)
TRIGGERS_OFF = "foreign key triggers not enabled"
RELATIONS = (ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE)


def find_lost_guarantees(before: Schema, after: Schema) -> tuple[LostGuarantee, ...]:
    """Constraints, unique indexes and NOT NULLs that went, on tables that are still there; and new unproved ones.

    Also whatever else kept rows safe, private and reachable, see `protections`.

    ``after`` is of a clone made by TEMPLATE, so an object that kept its oid is the same one under any name.
    A promise made again in the same words on the same table, as for a table that was created anew, is kept.
    """
    return (
        *_gone(before, after),
        *_switched_off(before, after),
        *_nullable_now(before, after),
        *_unproved(before, after),
        *find_lost_protections(before, after),
    )


def _gone(before: Schema, after: Schema) -> Iterator[LostGuarantee]:
    kept_oids = {(each.kind, each.oid) for each in after.of_kind(*PROMISES) if each.oid is not None}
    made_again = {(each.kind, each.relation, each.compared("definition")) for each in after.of_kind(*PROMISES)}
    tables = _names_before_of_what_remains(before, after)
    keys = {(each.relation, _key_columns(each)) for each in after.of_kind(ObjectKind.CONSTRAINT)}
    references = {(each.relation, _reference(each)) for each in after.of_kind(ObjectKind.CONSTRAINT)}
    for promise in before.of_kind(*PROMISES):
        definition = promise.attributes.get("definition", "")  # as printed; the compared form may be a digest
        if (promise.kind, promise.oid) in kept_oids or promise.relation not in tables:
            continue
        if (promise.kind, promise.relation, promise.compared("definition")) in made_again:
            continue
        if promise.kind is ObjectKind.INDEX and not definition.startswith("CREATE UNIQUE"):
            continue
        if promise.kind is ObjectKind.INDEX and (promise.relation, _key_columns(promise)) in keys:
            continue  # it became a constraint's: ADD CONSTRAINT … USING INDEX
        foreign_key = definition.startswith("FOREIGN KEY")
        if foreign_key and (promise.relation, _reference(promise)) in references:
            continue  # made again with another ON DELETE, as drizzle-kit does to change it
        yield LostGuarantee(
            relation=promise.relation,
            what=f"{promise.relation} loses {_kind_of(promise, definition)} {promise.name}: {definition}",
            hazard="drop-fk" if foreign_key else "drop-constraint",
            level=Level.WARNING,
            remedy=f"If it is not meant to go: {_made_by(promise, definition)};",
        )


def _switched_off(before: Schema, after: Schema) -> Iterator[LostGuarantee]:
    """Promises that are still written down and not kept: NOT ENFORCED (18), disabled foreign key triggers."""
    known = {(each.kind, each.oid): each for each in before.of_kind(ObjectKind.CONSTRAINT, ObjectKind.TABLE)}
    for now in after.of_kind(ObjectKind.CONSTRAINT, ObjectKind.TABLE):
        then = known.get((now.kind, now.oid))
        if then is None:
            continue
        definition = now.attributes.get("definition", "")
        if "NOT ENFORCED" in definition and "NOT ENFORCED" not in then.attributes.get("definition", ""):
            yield LostGuarantee(
                relation=now.relation,
                what=f"{now.relation} no longer enforces {now.name}: {definition}",
                hazard="drop-fk" if definition.startswith("FOREIGN KEY") else "drop-constraint",
                level=Level.WARNING,
                remedy=f"If it is not meant to go: ALTER TABLE {now.relation} ALTER CONSTRAINT {now.name} ENFORCED;",
            )
        if TRIGGERS_OFF in now.attributes and TRIGGERS_OFF not in then.attributes:
            yield LostGuarantee(
                relation=now.name,
                what=f"{now.name} has triggers disabled that enforce its foreign keys: {now.attributes[TRIGGERS_OFF]}",
                hazard="disable-trigger",
                level=Level.WARNING,
                remedy=f"ALTER TABLE {now.name} ENABLE TRIGGER ALL;",
            )


def _nullable_now(before: Schema, after: Schema) -> Iterator[LostGuarantee]:
    columns = {(each.oid, each.number): each for each in after.of_kind(ObjectKind.COLUMN)}
    by_name = {(each.relation, each.name): each for each in after.of_kind(ObjectKind.COLUMN)}
    for column in before.of_kind(ObjectKind.COLUMN):
        if "not null" not in column.attributes:
            continue
        now = columns.get((column.oid, column.number)) or by_name.get((column.relation, column.name))
        if now is not None and "not null" not in now.attributes:
            yield LostGuarantee(
                relation=now.relation,
                what=f"{now.relation}.{now.name} may be NULL now",
                hazard="drop-not-null",
                level=Level.WARNING,
                remedy=f"If readers are not ready for NULL: ALTER TABLE {now.relation} "
                f"ALTER COLUMN {now.name} SET NOT NULL;",
            )


def _unproved(before: Schema, after: Schema) -> Iterator[LostGuarantee]:
    newly = find_newly_unproved(before, after)
    for promise in find_unproved(after):
        if promise.kind is ObjectKind.INDEX and promise not in newly:
            yield LostGuarantee(
                relation=promise.relation,
                what=f"index {promise.identity} is INVALID, and was so before: it is maintained and never used",
                hazard="invalid-index",
                level=Level.WARNING,  # not the plan's doing, though its IF NOT EXISTS may count on it
                remedy=f"DROP INDEX CONCURRENTLY {promise.name}; and create it again.",
            )
    for promise in newly:
        if promise.kind is ObjectKind.INDEX:
            yield LostGuarantee(
                relation=promise.relation,
                what=f"index {promise.identity} is INVALID: it is maintained and never used",
                hazard="invalid-index",
                level=Level.ERROR,
                remedy=f"DROP INDEX CONCURRENTLY {promise.name}; and create it again.",
            )
        else:
            yield LostGuarantee(
                relation=promise.relation,
                what=f"{promise.kind.value} {promise.identity} is NOT VALID: it holds for new rows only",
                hazard="constraint-not-validated",
                level=Level.INFO,
                remedy=f"Later, while readers and writers go on: "
                f"ALTER TABLE {promise.relation} VALIDATE CONSTRAINT {promise.name};",
            )


def _key_columns(promise: SchemaObject) -> str | None:
    """``(a, b)`` of a plain unique index or a unique or primary key constraint; None of anything else."""
    definition = promise.attributes.get("definition", "")
    found = re.fullmatch(r"(?:UNIQUE|PRIMARY KEY|CREATE UNIQUE INDEX .* USING btree) (\([^()]*\))", definition)
    return found.group(1) if found else None


def _reference(promise: SchemaObject) -> str | None:
    """``FOREIGN KEY (a) REFERENCES public.p(id)``, whatever happens to the row when its parent goes."""
    definition = promise.attributes.get("definition", "")
    found = re.match(r"FOREIGN KEY \(.*?\) REFERENCES .*?\(.*?\)", definition)
    return found.group() if found and "NOT ENFORCED" not in definition else None


def _names_before_of_what_remains(before: Schema, after: Schema) -> set[str]:
    """Tables that are still there, under whatever name, or that were created anew under their old one."""
    oids = {each.oid for each in after.of_kind(*RELATIONS)}
    names = {each.name for each in after.of_kind(*RELATIONS)}
    return {each.name for each in before.of_kind(*RELATIONS) if each.oid in oids or each.name in names}


def _made_by(promise: SchemaObject, definition: str) -> str:
    if promise.kind is ObjectKind.INDEX:
        return definition
    return f"ALTER TABLE {promise.relation} ADD CONSTRAINT {promise.name} {definition}"


def _kind_of(promise: SchemaObject, definition: str) -> str:
    if promise.kind is ObjectKind.INDEX:
        return "unique index"
    first = definition.split("(")[0].strip().lower()
    return first if first in ("foreign key", "primary key", "unique", "check") else "constraint"
