"""What kept rows safe, private, reachable or whole besides constraints, and does so no longer.

No row and no value is lost by these, so the comparison of data cannot see them: a trigger that is gone, rows that
are no longer found through their partitioned table, a table that forgot its grants when it was made anew.
"""

import re
from collections.abc import Iterator

from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.rehearsal.granted import ROUTINES, granted
from pgrehearse.rehearsal.judge import LostGuarantee
from pgrehearse.rehearsal.redefined import find_redefined
from pgrehearse.rehearsal.successors import RELATIONS, TABLES, Successors
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

GRANTED = (*RELATIONS, *ROUTINES, ObjectKind.SEQUENCE, ObjectKind.COLUMN, ObjectKind.SCHEMA)
FILLED_BY = ("default", "identity", "generated")
BREAKS_APPLICATION = (HazardClass.BREAKS_RUNNING_APP,)

_NAMESPACE = re.compile(r'("(?:[^"]|"")*"|[^.]+)\.')
_LABEL = re.compile(r"'(?:[^']|'')*'")


def find_lost_protections(before: Schema, after: Schema) -> Iterator[LostGuarantee]:
    """``after`` is of a clone made by TEMPLATE: the same oid is the same object, else the same name is."""
    found = Successors(before, after)
    yield from _renamed(found)
    yield from _rows_out_of_reach(found)
    yield from _row_security(found)
    yield from _triggers(found)
    yield from _rules(found)
    yield from _unlogged(found)
    yield from _domains(found)
    yield from _relabelled(found)
    yield from _not_filled(found)
    yield from _grants(found)
    yield from _gone(found)
    yield from find_redefined(found)


def _renamed(found: Successors) -> Iterator[LostGuarantee]:
    """Names that the application uses, moved by whatever way: a schema's rename, SET SCHEMA, a DO block."""
    taken = {each.name: each for each in found.after.of_kind(*RELATIONS)}
    schemas = {then.name: now.name for then, now in found.pairs(ObjectKind.SCHEMA)}
    for then, now in found.pairs(ObjectKind.SCHEMA, *RELATIONS):
        if then.name == now.name:
            continue
        if now.kind is not ObjectKind.SCHEMA:
            old, new = (_NAMESPACE.match(each.name) for each in (then, now))
            assert old is not None
            assert new is not None
            same = then.name[old.end() :] == now.name[new.end() :]
            if same and old[1] != new[1] and schemas.get(old[1]) == new[1]:
                continue  # its schema's rename says it
            if then.name in taken and taken[then.name].kind is ObjectKind.VIEW:
                continue
        kind = "schema" if now.kind is ObjectKind.SCHEMA else "table" if now.kind in TABLES else "view"
        yield LostGuarantee(
            relation=then.name if now.kind is not ObjectKind.SCHEMA else None,
            what=f"{then.kind.value} {then.name} is {now.name} now: statements that name {then.name} "
            + ("find another one" if then.name in taken or then.name in schemas.values() else "fail"),
            hazard=f"rename-{kind}",
            level=Level.ERROR,
            remedy="Let the application use both names first, or rename in a release of its own.",
            classes=BREAKS_APPLICATION,
        )
    for then, now in found.pairs(ObjectKind.COLUMN):
        table = found.relation_of(then)
        if then.name != now.name and table is not None and "inherits" not in table.attributes:
            yield LostGuarantee(
                relation=then.relation,
                what=f"column {then.identity} is {now.name} now: statements that name {then.name} fail or find another",
                hazard="rename-column",
                level=Level.ERROR,
                remedy="Add a new column, write both, fill the old rows, and drop the old one later.",
                classes=BREAKS_APPLICATION,
            )


def _rows_out_of_reach(found: Successors) -> Iterator[LostGuarantee]:
    """Partitions and children whose rows were found through a parent and are not any more."""
    tables = {each.name: each for each in found.after.of_kind(*TABLES)}
    tables_before = {each.name: each for each in found.before.of_kind(*TABLES)}
    for then, now in found.pairs(*TABLES):
        above = _ancestors(now, tables)
        for parent in _parents(then):
            successor = found.of(tables_before[parent]) if parent in tables_before else None
            if parent in above or successor is None or successor.name in above:
                continue
            yield LostGuarantee(
                relation=now.name,
                what=f"{now.name} is no longer part of {successor.name}: its rows are not found there any more",
                hazard="detach-partition",
                level=Level.ERROR,
                remedy="If the rows are still read there, attach it again, or move them into what is read.",
            )


def _parents(table: SchemaObject) -> list[str]:
    return [name for name in table.attributes.get("inherits", "").split(", ") if name]


def _ancestors(table: SchemaObject, tables: dict[str, SchemaObject]) -> set[str]:
    seen: set[str] = set()
    waiting = _parents(table)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _parents(tables[name]) if name in tables else []
    return seen


def _row_security(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(*TABLES):
        was, is_now = then.attributes.get("row security", ""), now.attributes.get("row security", "")
        if "enabled" in was and "enabled" not in is_now:
            yield LostGuarantee(
                relation=now.name,
                what=f"{now.name} loses row-level security: every role that may read it sees all rows",
                hazard="disable-row-security",
                level=Level.ERROR,
                remedy=f"ALTER TABLE {now.name} ENABLE ROW LEVEL SECURITY;",
            )
        elif "forced" in was and "forced" not in is_now:
            yield LostGuarantee(
                relation=now.name,
                what=f"{now.name} no longer forces row-level security on its owner",
                hazard="disable-row-security",
                level=Level.WARNING,
                remedy=f"ALTER TABLE {now.name} FORCE ROW LEVEL SECURITY;",
            )
        if "enabled" in is_now and "enabled" not in was:
            policies = [each for each in found.after.of_kind(ObjectKind.POLICY) if each.relation == now.name]
            yield LostGuarantee(
                relation=now.name,
                what=f"{now.name} has row-level security now"
                + ("" if policies else " and no policy: to all but its owner it looks empty"),
                hazard="enable-row-security",
                level=Level.WARNING if policies else Level.ERROR,
                remedy="Create the policies that the application's roles need in the same migration.",
                classes=BREAKS_APPLICATION,
            )
    for policy, relation in found.lost(ObjectKind.POLICY):
        if "enabled" in relation.attributes.get("row security", ""):
            restrictive = "restrictive" in policy.attributes
            yield LostGuarantee(
                relation=relation.name,
                what=f"{relation.name} loses policy {policy.name}: "
                f"{'rows that it hid are seen' if restrictive else 'rows that it showed are hidden'}",
                hazard="drop-policy",
                level=Level.WARNING,
                remedy="If it is not meant to go, create it again.",
            )
    for then, now in found.pairs(ObjectKind.POLICY):
        for part in ("using", "with check"):
            if then.compared(part) != now.compared(part):
                yield LostGuarantee(
                    relation=now.relation,
                    what=f"policy {now.name} of {now.relation} is another: its {part} was "
                    f"{then.attributes.get(part, 'absent')}, is {now.attributes.get(part, 'absent')}",
                    hazard="alter-policy",
                    level=Level.WARNING,
                    remedy="Look at who sees and who may write which rows now.",
                )


def _triggers(found: Successors) -> Iterator[LostGuarantee]:
    for trigger, relation in found.lost(ObjectKind.TRIGGER):
        if definition := trigger.attributes.get("definition"):
            yield LostGuarantee(
                relation=relation.name,
                what=f"{relation.name} loses trigger {trigger.name}: {definition}",
                hazard="drop-trigger",
                level=Level.WARNING,
                remedy=f"If it is not meant to go: {definition};",
            )
    for then, now in found.pairs(ObjectKind.TRIGGER):
        if now.attributes.get("enabled") == "disabled" != then.attributes.get("enabled"):
            yield LostGuarantee(
                relation=now.relation,
                what=f"trigger {now.name} of {now.relation} is disabled",
                hazard="disable-trigger",
                level=Level.WARNING,
                remedy=f"ALTER TABLE {now.relation} ENABLE TRIGGER {now.name};",
            )
    for then, now in found.pairs(ObjectKind.EVENT_TRIGGER):
        if now.attributes.get("enabled") == "disabled" != then.attributes.get("enabled"):
            yield LostGuarantee(
                relation=None,
                what=f"event trigger {now.name} is disabled",
                hazard="disable-trigger",
                level=Level.WARNING,
                remedy=f"ALTER EVENT TRIGGER {now.name} ENABLE;",
            )


def _rules(found: Successors) -> Iterator[LostGuarantee]:
    tables = {each.name: each for each in found.after.of_kind(*TABLES)}
    for rule in found.after.of_kind(ObjectKind.RULE):
        table = tables.get(rule.relation or "")
        definition = rule.attributes.get("definition", "")
        if found.is_new(rule) and table is not None and not found.is_new(table) and "DO INSTEAD" in definition:
            yield LostGuarantee(
                relation=rule.relation,
                what=f"rule {rule.name} sends what is written to {rule.relation} elsewhere: {definition}",
                hazard="rule-instead",
                level=Level.WARNING,
                remedy=f"If it is not meant to stay: DROP RULE {rule.name} ON {rule.relation};",
                classes=BREAKS_APPLICATION,
            )


def _unlogged(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(ObjectKind.TABLE):
        if "persistence" in now.attributes and "persistence" not in then.attributes:
            yield LostGuarantee(
                relation=now.name,
                what=f"{now.name} is unlogged now: a crash empties it, and no replica or backup of the WAL has it",
                hazard="set-unlogged",
                level=Level.ERROR,
                remedy=f"ALTER TABLE {now.name} SET LOGGED;",
            )


def _domains(found: Successors) -> Iterator[LostGuarantee]:
    kept = {
        (each.relation, each.compared("definition")) for each in found.after.of_kind(ObjectKind.DOMAIN_CONSTRAINT)
    }  # fmt: skip
    for promise, domain in found.lost(ObjectKind.DOMAIN_CONSTRAINT):
        if (domain.name, promise.compared("definition")) not in kept:
            definition = promise.attributes.get("definition", "")
            yield LostGuarantee(
                relation=None,
                what=f"domain {domain.name} loses {promise.name}: {definition}",
                hazard="drop-constraint",
                level=Level.WARNING,
                remedy=f"If it is not meant to go: "
                f"ALTER DOMAIN {domain.name} ADD CONSTRAINT {promise.name} {definition};",
            )
    for then, now in found.pairs(ObjectKind.DOMAIN):
        if "not null" in then.attributes and "not null" not in now.attributes:
            yield LostGuarantee(
                relation=None,
                what=f"domain {now.name} may be NULL now",
                hazard="drop-not-null",
                level=Level.WARNING,
                remedy=f"If readers are not ready for NULL: ALTER DOMAIN {now.name} SET NOT NULL;",
            )


def _relabelled(found: Successors) -> Iterator[LostGuarantee]:
    """An enum's labels cannot be dropped or reordered, so one that is gone, or stands elsewhere, was renamed."""
    for then, now in found.pairs(ObjectKind.TYPE):
        if then.oid != now.oid or "labels" not in then.attributes:
            continue
        was, is_now = (_LABEL.findall(each.attributes.get("labels", "")) for each in (then, now))
        if [label for label in is_now if label in was] == was:
            continue
        gone = [label for label in was if label not in is_now]
        yield LostGuarantee(
            relation=None,
            what=f"enum {now.name} had the labels {', '.join(was)}, and has {', '.join(is_now)}: rows show other values"
            + (f", and statements that name {', '.join(gone)} fail" if gone else ""),
            hazard="rename-enum-value",
            level=Level.ERROR,
            remedy="Add the new label, let the application write and read both, then update the rows.",
            classes=BREAKS_APPLICATION,
        )


def _not_filled(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(ObjectKind.COLUMN):
        how = next((name for name in FILLED_BY if name in then.attributes), None)
        if how is None or any(name in now.attributes for name in FILLED_BY):
            continue
        required = "not null" in now.attributes
        yield LostGuarantee(
            relation=now.relation,
            what=f"{now.relation}.{now.name} has no {how if how != 'generated' else 'generation expression'} any more: "
            + ("inserts that leave it out fail" if required else "inserts that leave it out give NULL"),
            hazard="drop-default",
            level=Level.WARNING if required or how == "generated" else Level.INFO,
            remedy="If the application relies on it, keep it until no statement leaves the column out.",
            classes=BREAKS_APPLICATION,
        )


def _grants(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(*GRANTED):
        if now.attributes.get("owned by", "").endswith("(identity)"):
            continue  # whoever may INSERT may use it
        for grantee, privileges in granted(then).items():
            missing = sorted(privileges - granted(now).get(grantee, set()))
            if missing and grantee not in (then.attributes.get("owner"), now.attributes.get("owner")):
                yield LostGuarantee(
                    relation=now.name if now.kind in RELATIONS else now.relation,
                    what=f"{now.kind.value} {now.identity}: {grantee} loses {', '.join(missing)}",
                    hazard="lost-grants",
                    level=Level.WARNING,
                    remedy=f"If {grantee} still needs them, GRANT them again in the same migration.",
                    classes=BREAKS_APPLICATION,
                )


def _gone(found: Successors) -> Iterator[LostGuarantee]:
    for view in found.before.of_kind(ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW):
        if found.of(view) is None and not any(each.name == view.name for each in found.after.of_kind(*RELATIONS)):
            yield LostGuarantee(
                relation=view.name,
                what=f"{view.kind.value} {view.name} is gone: statements that name it fail",
                hazard="drop-view",
                level=Level.WARNING,
                remedy="Drop it once no running application names it.",
                classes=BREAKS_APPLICATION,
            )
    for member, relation in found.lost(ObjectKind.PUBLICATION_RELATION):
        yield LostGuarantee(
            relation=relation.name,
            what=f"publication {member.name} no longer holds {relation.name}: its subscribers get no more changes",
            hazard="publication-loses-table",
            level=Level.WARNING,
            remedy=f"ALTER PUBLICATION {member.name} ADD TABLE {relation.name};",
        )
