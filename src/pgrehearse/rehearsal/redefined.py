"""What is named as before and does something else now: for who reads, who writes, or what was kept true.

Nothing is gone, so neither the rows nor a list of what was dropped shows it: a rule of another action, a policy for
other roles, a sequence that will begin again, a trigger's function that does nothing any more.  Pure.
"""

import re
from collections.abc import Iterator

from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.rehearsal.granted import granted
from pgrehearse.rehearsal.judge import LostGuarantee
from pgrehearse.rehearsal.successors import TABLES, Successors
from pgrehearse.schema.schema_object import ObjectKind, SchemaObject

BREAKS_APPLICATION = (HazardClass.BREAKS_RUNNING_APP,)
GUARANTEES = frozenset({"drop-constraint", "drop-trigger", "disable-trigger", "alter-policy", "disable-row-security",
                        "publication-sends-less"})  # fmt: skip
OFF = ("disabled", "replica")  # a trigger that does not run for the application
VIEWS = (ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW)
ROUTINES = (ObjectKind.FUNCTION, ObjectKind.PROCEDURE)
OWNED = (*TABLES, *VIEWS, *ROUTINES, ObjectKind.SEQUENCE, ObjectKind.SCHEMA)
POLICY_PARTS = ("command", "restrictive", "roles")
# What a DELETE of the parent's row does to its children; else it is refused.
DELETES = {
    " ON DELETE CASCADE": "deletes them",
    " ON DELETE SET NULL": "sets them to NULL",
    " ON DELETE SET DEFAULT": "sets them to their default",
}

# Where pg_get_functiondef() ends what it says of a routine and begins with what that does.
_BODY = re.compile(r"^(AS |BEGIN ATOMIC|RETURN )", re.MULTILINE)
_OPTION = re.compile(r"(?<!\S)(STRICT|SECURITY DEFINER)(?!\S)")
_SET = re.compile(r"^ (SET .*)$", re.MULTILINE)


def find_redefined(found: Successors) -> Iterator[LostGuarantee]:
    """Objects that are still there, by oid or name, and of which something that others count on is another."""
    yield from _rules(found)
    yield from _policies(found)
    yield from _triggers(found)
    yield from _views(found)
    yield from _routines(found)
    yield from _tables(found)
    yield from _columns(found)
    yield from _foreign_keys(found)
    yield from _domains(found)
    yield from _sequences(found)
    yield from _publications(found)
    yield from _default_privileges(found)
    yield from _owners(found)


def _rules(found: Successors) -> Iterator[LostGuarantee]:
    for rule, relation in found.lost(ObjectKind.RULE):
        if definition := _definition(rule):
            yield _told(relation, "rule-instead", f"{relation.name} loses rule {rule.name}: {definition}")
    for then, now in found.pairs(ObjectKind.RULE):
        if then.compared("definition") != now.compared("definition"):
            what = f"rule {now.name} of {now.relation} is another: was {_definition(then)}, is {_definition(now)}"
            yield _told(now, "rule-instead", what)
    tables = {each.name: each for each in found.after.of_kind(*TABLES)}
    for rule in found.after.of_kind(ObjectKind.RULE):
        table, definition = tables.get(rule.relation or ""), _definition(rule)
        # With DO INSTEAD it is told by `protections`.
        if table is not None and found.came(rule) and not found.is_new(table) and "DO INSTEAD" not in definition:
            what = f"rule {rule.name} does more with what is written to {rule.relation}: {definition}"
            yield _told(rule, "rule-instead", what)


def _policies(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(ObjectKind.POLICY):
        for part in POLICY_PARTS:
            if then.attributes.get(part) != now.attributes.get(part):
                was, is_now = then.attributes.get(part, "no"), now.attributes.get(part, "no")
                what = f"policy {now.name} of {now.relation} is another: its {part} was {was}, is {is_now}"
                yield _told(now, "alter-policy", what)
    protected = {now.name for then, now in found.pairs(*TABLES) if _is_protected(then) and _is_protected(now)}
    for policy in found.after.of_kind(ObjectKind.POLICY):
        if policy.relation in protected and found.came(policy):
            shown = "rows that were seen are hidden" if "restrictive" in policy.attributes else "more rows are seen"
            yield _told(policy, "alter-policy", f"{policy.relation} has the new policy {policy.name}: {shown}")


def _is_protected(table: SchemaObject) -> bool:
    return "enabled" in table.attributes.get("row security", "")


def _triggers(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(ObjectKind.TRIGGER):
        if now.attributes.get("enabled") == "replica" and then.attributes.get("enabled") not in OFF:
            yield _told(now, "disable-trigger", f"trigger {now.name} of {now.relation} runs on a replica only")
        if then.compared("definition") != now.compared("definition"):
            what = f"trigger {now.name} of {now.relation} is another: was {_definition(then)}, is {_definition(now)}"
            yield _told(now, "drop-trigger", what)


def _views(found: Successors) -> Iterator[LostGuarantee]:
    """How they read; what they show is asked of the rows, see `data.integrity.views`."""
    for then, now in found.pairs(*VIEWS):
        was, is_now = _options(then), _options(now)
        asked, asks = _is_on(was.get("security_invoker")), _is_on(is_now.get("security_invoker"))
        reads = f"{now.kind.value} {now.name} reads its tables with the rights of"
        if asks and not asked:
            yield _told(now, "revoke", f"{reads} who asks now: it fails for who may not read those, or shows less")
        elif asked and not asks:
            yield _told(
                now, "disable-row-security", f"{reads} its owner now: it shows what those keep back from others"
            )
        if "check_option" in was and is_now.get("check_option") not in (was["check_option"], "cascaded"):
            checks = f"check_option was {was['check_option']}, is {is_now.get('check_option', 'absent')}"
            yield _told(now, "drop-constraint", f"view {now.name} checks what is written through it less: {checks}")


def _options(thing: SchemaObject) -> dict[str, str]:
    pairs = (option.partition("=") for option in thing.attributes.get("options", "").split(", ") if option)
    return {name: value for name, _, value in pairs}


def _is_on(value: str | None) -> bool:
    return value is not None and value.lower() in ("true", "on", "yes", "1")


def _routines(found: Successors) -> Iterator[LostGuarantee]:
    """Body and head apart: what a body gives now is measured where rows or indexes hold it, and told otherwise."""
    uses = [(each, _definition(each)) for each in found.after.of_kind(ObjectKind.TRIGGER)]
    for policy in found.after.of_kind(ObjectKind.POLICY):
        uses.append((policy, " ".join(policy.attributes.get(part, "") for part in ("using", "with check"))))
    for then, now in found.pairs(*ROUTINES):
        if then.compared("definition") == now.compared("definition"):
            continue
        (head, body), (head_now, body_now) = _parts(then), _parts(now)
        if head != head_now:
            what = f"{now.kind.value} {now.name} is another: was {head}, is {head_now}"
            yield _told(now, "function-signature-change", what)
        if body == body_now:
            continue
        called = re.compile(rf"(?<![\w.\"]){re.escape(now.name.partition('(')[0])}\(")
        users = [each for each, text in uses if called.search(text)]
        for user in users:
            hazard = "drop-trigger" if user.kind is ObjectKind.TRIGGER else "alter-policy"
            what = f"{user.kind.value} {user.name} of {user.relation} calls {now.name}, which does something else now"
            yield _told(user, hazard, what)
        if not users:
            what = f"{now.kind.value} {now.name} has another body: what it gives or does is not compared"
            yield _told(now, "query-result-changes", what, level=Level.INFO)


def _parts(routine: SchemaObject) -> tuple[str, str]:
    """How it is called and as whom it runs, and what it does.  Not what only the planner asks."""
    definition = routine.attributes.get("definition", "")
    begins = _BODY.search(definition)
    place = begins.start() if begins is not None else len(definition)
    head, body = definition[:place], definition[place:]
    lines = [line.strip() for line in head.splitlines()]
    said = [lines[0].removeprefix("CREATE OR REPLACE ")] if lines else []
    said += [line for line in lines if line.startswith("RETURNS ")]
    return ", ".join([*said, *_OPTION.findall(head), *_SET.findall(head)]), body


def _tables(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(*TABLES):
        above, parent = now.attributes.get("inherits", ""), found.relation_of(_under(then))
        was, is_now = then.attributes.get("partition bound"), now.attributes.get("partition bound")
        if was and is_now and was != is_now and parent is not None and parent.name == above:
            rows = f"its bound was {was}, is {is_now}; a row that no partition takes cannot be written"
            yield _told(now, "detach-partition", f"partition {now.name} of {above} takes other rows: {rows}")
        if above and is_now is None and "inherits" not in then.attributes:
            what = f"{now.name} inherits from {above} now: who reads that finds its rows too"
            yield _told(now, "query-result-changes", what)
    with_default = {
        each.attributes.get("inherits")
        for each in found.after.of_kind(*TABLES)
        if each.attributes.get("partition bound") == "DEFAULT"
    }
    for table in found.before.of_kind(*TABLES):
        parent = found.relation_of(_under(table))
        if table.attributes.get("partition bound") != "DEFAULT" or parent is None or found.of(table) is not None:
            continue
        if parent.name not in with_default:
            rows = "a row that no other takes cannot be written any more"
            yield _told(parent, "detach-partition", f"{parent.name} loses its default partition {table.name}: {rows}")


def _under(table: SchemaObject) -> SchemaObject:
    """Something that belongs to its parent, to ask what became of that."""
    parent = table.attributes.get("inherits", "").partition(", ")[0]
    return SchemaObject(kind=table.kind, name=table.name, relation=parent)


def _columns(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(ObjectKind.COLUMN):
        if found.relation_of(then) is None:
            continue
        collation, other = then.attributes.get("collation"), now.attributes.get("collation")
        if then.attributes.get("type") == now.attributes.get("type") and collation != other:
            was, is_now = collation or "its type's own", other or "its type's own"
            what = f"{now.relation}.{now.name} is sorted and compared otherwise: its collation was {was}, is {is_now}"
            yield _told(now, "query-result-changes", what)
        if _has_another_default(then, now):
            what = f"{now.relation}.{now.name} has another default: rows that leave it out get another value"
            yield _told(now, "change-default", what, level=Level.INFO)


def _has_another_default(then: SchemaObject, now: SchemaObject) -> bool:
    both = "default" in then.attributes and "default" in now.attributes
    return both and then.compared("default") != now.compared("default")


def _foreign_keys(found: Successors) -> Iterator[LostGuarantee]:
    """A DELETE that was refused, and now takes rows along; also where the constraint was made again."""
    again = {(each.relation, _reference(each)): each for each in found.after.of_kind(ObjectKind.CONSTRAINT)}
    for then in found.before.of_kind(ObjectKind.CONSTRAINT):
        relation, reference = found.relation_of(then), _reference(then)
        if relation is None or reference is None:
            continue
        now = found.of(then) or again.get((relation.name, reference))
        was, is_now = _deletes(then), _deletes(now) if now is not None else ""
        if now is not None and is_now and is_now != was:
            before = f"before, it {was}" if was else "before, it was refused"
            what = f"{now.name}: a DELETE of a row that rows of {now.relation} refer to {is_now} now; {before}"
            yield _told(now, "cascade-delete-elsewhere", what)


def _reference(constraint: SchemaObject) -> str | None:
    text = re.match(r"FOREIGN KEY \(.*?\) REFERENCES .*?\(.*?\)", constraint.attributes.get("definition", ""))
    return text.group() if text else None


def _deletes(constraint: SchemaObject) -> str:
    definition = constraint.attributes.get("definition", "")
    return next((does for words, does in DELETES.items() if words in definition), "")


def _domains(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(ObjectKind.DOMAIN_CONSTRAINT):
        if then.compared("definition") != now.compared("definition"):
            what = f"{now.name} of domain {now.relation} is another: was {_definition(then)}, is {_definition(now)}"
            yield _told(None, "drop-constraint", what)
    for then, now in found.pairs(ObjectKind.DOMAIN):
        if _has_another_default(then, now):
            what = f"domain {now.name} has another default: rows that leave such a column out get another value"
            yield _told(None, "change-default", what, level=Level.INFO)


def _sequences(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(ObjectKind.SEQUENCE):
        owner = now.attributes.get("owned by")
        name = f"{now.name} of {owner.removesuffix(' (identity)')}" if owner is not None else now.name
        if "cycle" in now.attributes and "cycle" not in then.attributes:
            again = "begins again after its last number: it hands out numbers that were given before"
            yield _told(now, "sequence-restart", f"sequence {name} {again}")
        was, is_now = int(then.attributes["increment"]), int(now.attributes["increment"])
        if was != is_now:
            what = f"sequence {name} counts by {is_now} now, and not by {was}"
            yield _told(now, "sequence-restart", what, level=Level.INFO)
        limit = "maximum" if is_now > 0 else "minimum"
        ended, ends = int(then.attributes[limit]), int(now.attributes[limit])
        if ends < ended if limit == "maximum" else ends > ended:
            what = f"sequence {name} ends at {ends:,} now, before at {ended:,}: after that inserts fail"
            yield _told(now, "sequence-exhausted", what)


def _publications(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(ObjectKind.PUBLICATION_RELATION):
        for part in ("where", "columns"):
            if then.compared(part) != now.compared(part) and part in now.attributes:
                what = f"publication {now.name} sends not all of {now.relation} now: {part} {now.attributes[part]}"
                yield _told(now, "publication-sends-less", what)
    for then, now in found.pairs(ObjectKind.PUBLICATION):
        was, is_now = (set(each.attributes.get("publish", "").split(", ")) for each in (then, now))
        if missing := ", ".join(sorted(was - is_now)):
            yield _told(None, "publication-sends-less", f"publication {now.name} sends no {missing} any more")


def _default_privileges(found: Successors) -> Iterator[LostGuarantee]:
    kept = {each.name: each for each in found.after.of_kind(ObjectKind.DEFAULT_PRIVILEGES)}
    for then in found.before.of_kind(ObjectKind.DEFAULT_PRIVILEGES):
        now = granted(kept[then.name]) if then.name in kept else {}
        for grantee, privileges in granted(then).items():
            if missing := ", ".join(sorted(privileges - now.get(grantee, set()))):
                what = f"default privileges {then.name}: {grantee} gets no {missing} on what is made from now on"
                yield _told(None, "lost-grants", what, level=Level.INFO)


def _owners(found: Successors) -> Iterator[LostGuarantee]:
    for then, now in found.pairs(*OWNED):
        was, is_now = then.attributes.get("owner"), now.attributes.get("owner")
        if was != is_now and "owned by" not in now.attributes:  # such a sequence goes with its table
            yield _told(now, "change-owner", f"{now.kind.value} {now.name} is {is_now}'s now, and not {was}'s")


def _definition(thing: SchemaObject) -> str:
    return " ".join(thing.attributes.get("definition", "").split())


def _told(about: SchemaObject | None, hazard: str, what: str, *, level: Level = Level.WARNING) -> LostGuarantee:
    own = about is not None and about.kind in (*TABLES, *VIEWS, ObjectKind.SEQUENCE)
    return LostGuarantee(
        relation=None if about is None else about.name if own else about.relation,
        what=what,
        hazard=hazard,
        level=level,
        remedy="If it is not meant to be another, make it again as it was.",
        classes=(HazardClass.GUARANTEE_LOST,) if hazard in GUARANTEES else BREAKS_APPLICATION,
    )
