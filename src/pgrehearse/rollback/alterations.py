"""An object that is still there, attribute by attribute from what it is to what it was.

Each function gives statements in the order in which they can run.  What no ALTER can do is said (`Impossible`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from pgrehearse.rollback.ddl import enabling, literal, options, reference, text_of_literals
from pgrehearse.schema.schema_object import ObjectKind, SchemaObject


class When(IntEnum):
    """Where in the way back a statement stands; within one step by the order of the dump."""

    TEAR_DOWN = 0
    BUILD = 1
    AFTER_ROWS = 2


@dataclass(frozen=True, slots=True)
class Impossible:
    """A difference that no statement of ours takes back."""

    sentence: str


Step = tuple[When, str] | Impossible

GENERIC = frozenset({"owner", "comment", "grants"})  # done alike for every kind
# Casting explicitly cuts what is too long for varchar(3); storing, as here, refuses it.
_STORED = (
    frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"}),
    frozenset({"timestamp with time zone", "timestamp without time zone", "date"}),
)
_TEXTUAL = frozenset({"text", "character varying", "character"})


def alter(old: SchemaObject, new: SchemaObject, attribute: str) -> Iterator[Step]:
    """One attribute but the generic ones."""
    match old.kind:
        case ObjectKind.TABLE | ObjectKind.MATERIALIZED_VIEW | ObjectKind.FOREIGN_TABLE:
            yield from _alter_relation(old, new, attribute)
        case ObjectKind.SEQUENCE:
            yield from _alter_sequence(old, new, attribute)
        case ObjectKind.DOMAIN:
            yield from _alter_domain(old, attribute)
        case ObjectKind.EXTENSION:
            yield from _alter_extension(old, attribute)
        case ObjectKind.TRIGGER if attribute == "enabled":
            yield When.AFTER_ROWS, f"ALTER TABLE {old.relation} {enabling(old.attributes)} TRIGGER {old.name};"
        case ObjectKind.RULE if attribute == "enabled":
            yield When.AFTER_ROWS, f"ALTER TABLE {old.relation} {enabling(old.attributes)} RULE {old.name};"
        case ObjectKind.EVENT_TRIGGER if attribute == "enabled":
            yield When.AFTER_ROWS, f"ALTER EVENT TRIGGER {old.name} {enabling(old.attributes)};"
        case ObjectKind.STATISTICS if attribute == "statistics target":
            target = old.attributes.get("statistics target", "-1")
            yield When.AFTER_ROWS, f"ALTER STATISTICS {old.name} SET STATISTICS {target};"
        case ObjectKind.INDEX | ObjectKind.CONSTRAINT if attribute.removeprefix("index ") == "clustered":
            index = old.name.split(".")[-1] if old.kind is ObjectKind.INDEX else old.name
            on = f"CLUSTER ON {index}" if attribute in old.attributes else "SET WITHOUT CLUSTER"
            yield When.AFTER_ROWS, f"ALTER TABLE {old.relation} {on};"
        case ObjectKind.INDEX if attribute == "statistics targets":
            yield from _alter_index_statistics(old, new)
        case ObjectKind.PUBLICATION if attribute == "publish":
            yield (
                When.AFTER_ROWS,
                f"ALTER PUBLICATION {old.name} SET (publish = {literal(old.attributes.get('publish', ''))});",
            )
        case ObjectKind.PUBLICATION if attribute == "via partition root":
            value = "true" if attribute in old.attributes else "false"
            yield When.AFTER_ROWS, f"ALTER PUBLICATION {old.name} SET (publish_via_partition_root = {value});"
        case _:
            yield cannot(old, attribute)


def cannot(old: SchemaObject, attribute: str) -> Impossible:
    return Impossible(f"no statement takes back the change of {attribute} of {old.kind.value} {old.identity}")


def set_options(old: SchemaObject, new: SchemaObject, attribute: str, what: str, *, prefix: str = "") -> Iterator[str]:
    """``what`` is ``ALTER TABLE public.t``: storage parameters and column options alike."""
    wanted = options(old.attributes.get(attribute), prefix=prefix)
    there = options(new.attributes.get(attribute), prefix=prefix)
    if gone := sorted(there.keys() - wanted.keys()):
        yield f"{what} RESET ({', '.join(gone)});"
    if changed := {name: value for name, value in wanted.items() if there.get(name) != value}:
        yield f"{what} SET ({', '.join(f'{name}={_option_value(value)}' for name, value in changed.items())});"


def _option_value(value: str) -> str:
    return value if re.fullmatch(r"[\w.-]+", value) else literal(value)


def _alter_relation(old: SchemaObject, new: SchemaObject, attribute: str) -> Iterator[Step]:
    what = f"ALTER {reference(old)}"
    wanted = old.attributes.get(attribute)
    match attribute:
        case "persistence":
            yield When.BUILD, f"{what} SET {'UNLOGGED' if wanted else 'LOGGED'};"
        case "access method":
            yield When.BUILD, f"{what} SET ACCESS METHOD {wanted or 'heap'};"
        case "options" | "toast options":
            prefix = "toast." if attribute == "toast options" else ""
            for statement in set_options(old, new, attribute, what, prefix=prefix):
                yield When.BUILD, statement
        case "replica identity" if wanted is None or not wanted.startswith("using index"):
            yield When.BUILD, f"{what} REPLICA IDENTITY {(wanted or 'default').upper()};"
        case "row security":
            yield (
                When.AFTER_ROWS,
                f"{what} {'ENABLE' if 'enabled' in (wanted or '') else 'DISABLE'} ROW LEVEL SECURITY;",
            )
            yield When.AFTER_ROWS, f"{what} {'FORCE' if 'forced' in (wanted or '') else 'NO FORCE'} ROW LEVEL SECURITY;"
        case "of type":
            yield When.BUILD, f"{what} {f'OF {wanted}' if wanted else 'NOT OF'};"
        case _:
            yield cannot(old, attribute)


def _alter_sequence(old: SchemaObject, new: SchemaObject, attribute: str) -> Iterator[Step]:
    wanted = old.attributes
    match attribute:
        case "owned by":
            there = new.attributes.get("owned by", "")
            if not there.endswith("(identity)") and not wanted.get("owned by", "").endswith("(identity)"):
                yield When.BUILD, f"ALTER SEQUENCE {old.name} OWNED BY {wanted.get('owned by', 'NONE')};"
        case "persistence":
            yield When.BUILD, f"ALTER SEQUENCE {old.name} SET {'UNLOGGED' if 'persistence' in wanted else 'LOGGED'};"
        case "type" | "start" | "increment" | "minimum" | "maximum" | "cache" | "cycle":
            kind = f" AS {wanted['type']}" if "type" in wanted and wanted["type"] != new.attributes.get("type") else ""
            yield (
                When.BUILD,
                f"ALTER SEQUENCE {old.name}{kind} INCREMENT BY {wanted['increment']} MINVALUE {wanted['minimum']} "
                f"MAXVALUE {wanted['maximum']} START WITH {wanted['start']} CACHE {wanted['cache']} "
                f"{'CYCLE' if 'cycle' in wanted else 'NO CYCLE'};",
            )
        case _:
            yield cannot(old, attribute)


def _alter_domain(old: SchemaObject, attribute: str) -> Iterator[Step]:
    wanted = old.attributes.get(attribute)
    match attribute:
        case "default":
            yield When.BUILD, f"ALTER DOMAIN {old.name} {f'SET DEFAULT {wanted}' if wanted else 'DROP DEFAULT'};"
        case "not null":
            yield When.AFTER_ROWS, f"ALTER DOMAIN {old.name} {'SET' if wanted else 'DROP'} NOT NULL;"
        case _:
            yield cannot(old, attribute)


def _alter_extension(old: SchemaObject, attribute: str) -> Iterator[Step]:
    match attribute:
        case "schema":
            yield When.BUILD, f"ALTER EXTENSION {old.name} SET SCHEMA {old.attributes['schema']};"
        case "version":
            yield When.BUILD, f"ALTER EXTENSION {old.name} UPDATE TO {literal(old.attributes['version'])};"
        case _:
            yield cannot(old, attribute)


def _alter_index_statistics(old: SchemaObject, new: SchemaObject) -> Iterator[Step]:
    def targets(found: SchemaObject) -> dict[str, str]:
        return dict(part.split(": ") for part in found.attributes.get("statistics targets", "").split(", ") if part)

    wanted, there = targets(old), targets(new)
    for column in sorted(wanted.keys() | there.keys()):
        if wanted.get(column) != there.get(column):
            target = wanted.get(column, "-1")
            yield When.AFTER_ROWS, f"ALTER INDEX {old.name} ALTER COLUMN {column} SET STATISTICS {target};"


# --- columns -------------------------------------------------------------------------------------------------------


def alter_column(old: SchemaObject, new: SchemaObject, changed: set[str], *, server_major: int) -> Iterator[Step]:
    """A column of a table: everything of it but its generation expression, its rights and its comment."""
    head = f"ALTER TABLE {old.relation} ALTER COLUMN {old.name}"
    only = f"ALTER TABLE ONLY {old.relation} ALTER COLUMN {old.name}"
    wanted, there = old.attributes, new.attributes
    if "identity" in changed and "identity" not in wanted:
        yield When.TEAR_DOWN, f"{head} DROP IDENTITY;"
    retyped = bool(changed & {"type", "collation"})
    if "default" in there and ("default" in changed or retyped):
        yield When.TEAR_DOWN, f"{only} DROP DEFAULT;"
    if retyped:
        yield When.BUILD, retype(old, new)
    if "default" in wanted and ("default" in changed or retyped):
        # pg_dump too makes a sequence after its table, and the default that uses it last
        when = When.AFTER_ROWS if "nextval(" in wanted["default"] else When.BUILD
        yield when, f"{only} SET DEFAULT {wanted['default']};"
    if "not null" in changed:
        yield from _alter_not_null(old, new, head)
    if "identity" in changed and "identity" in wanted and "identity" in there:
        yield When.BUILD, f"{head} SET GENERATED {wanted['identity'].upper()};"
    if "storage" in changed:
        storage = wanted.get("storage", "default" if server_major >= 16 else _usual_storage(wanted["type"]))
        yield When.BUILD, f"{only} SET STORAGE {storage.upper()};"
    if "compression" in changed:
        yield When.BUILD, f"{only} SET COMPRESSION {wanted.get('compression', 'default')};"
    if "statistics target" in changed:
        yield When.BUILD, f"{only} SET STATISTICS {wanted.get('statistics target', '-1')};"
    if "options" in changed:
        for statement in set_options(old, new, "options", only):
            yield When.BUILD, statement
    known = {
        "type", "collation", "default", "not null", "identity", "storage", "compression", "statistics target",
        "options", "generated", "generation expression",
    }  # fmt: skip
    for attribute in sorted(changed - known - GENERIC):
        yield cannot(old, attribute)


def add_column(old: SchemaObject) -> Iterator[Step]:
    """A column that was dropped; NOT NULL only once its rows are back, and numbers of a sequence last of all."""
    wanted = old.attributes
    collation = f" COLLATE {wanted['collation']}" if "collation" in wanted else ""
    text = f"ALTER TABLE {old.relation} ADD COLUMN {old.name} {wanted['type']}{collation}"
    default = wanted.get("default")
    numbered = default is not None and "nextval(" in default
    if "generated" in wanted:
        text += f" GENERATED ALWAYS AS ({wanted['generation expression']}) {wanted['generated'].upper()}"
    elif default is not None and not numbered:
        text += f" DEFAULT {default}"
    yield When.BUILD, f"{text};"
    only = f"ALTER TABLE ONLY {old.relation} ALTER COLUMN {old.name}"
    for attribute, words in (
        ("storage", "STORAGE"),
        ("compression", "COMPRESSION"),
        ("statistics target", "STATISTICS"),
    ):
        if attribute in wanted:
            yield When.BUILD, f"{only} SET {words} {wanted[attribute]};"
    if "options" in wanted:
        pairs = ", ".join(f"{name}={_option_value(value)}" for name, value in options(wanted["options"]).items())
        yield When.BUILD, f"{only} SET ({pairs});"
    if numbered:
        yield When.AFTER_ROWS, f"{only} SET DEFAULT {default};"
        yield When.AFTER_ROWS, f"UPDATE {old.relation} SET {old.name} = DEFAULT WHERE {old.name} IS NULL;"  # noqa: S608  quoted by the server
    if "not null" in wanted:
        if wanted["not null"] == "yes":
            yield When.AFTER_ROWS, f"ALTER TABLE {old.relation} ALTER COLUMN {old.name} SET NOT NULL;"
        else:
            yield cannot(old, "not null")


def retype(old: SchemaObject, new: SchemaObject, *, through_text: bool = False) -> str:
    """By the conversion that storing a value would use; written out where there may be none."""
    wanted = old.attributes["type"]
    collation = f" COLLATE {old.attributes['collation']}" if "collation" in old.attributes else ""
    text = f"ALTER TABLE {old.relation} ALTER COLUMN {old.name} TYPE {wanted}{collation}"
    if through_text:
        array = "[]" if wanted.endswith("[]") else ""
        return f"{text} USING {old.name}::pg_catalog.text{array}::{wanted};"
    bare, there = _bare(wanted), _bare(new.attributes["type"])
    stored = bare == there or bare in _TEXTUAL or any({bare, there} <= group for group in _STORED)
    return f"{text};" if stored else f"{text} USING {old.name}::{wanted};"


def _bare(kind: str) -> str:
    return re.sub(r"\(\d+(,\s*-?\d+)?\)", "", kind).strip()


def _usual_storage(kind: str) -> str:
    return "main" if _bare(kind) in ("numeric", "inet", "cidr") else "extended"


def _alter_not_null(old: SchemaObject, new: SchemaObject, head: str) -> Iterator[Step]:
    wanted, there = old.attributes.get("not null"), new.attributes.get("not null")
    if wanted is None:
        yield When.BUILD, f"{head} DROP NOT NULL;"
    elif wanted == "yes" and (there is None or there == "yes, not valid"):
        # What an identity needs at once need not wait for rows.
        yield When.BUILD if "identity" in old.attributes else When.AFTER_ROWS, f"{head} SET NOT NULL;"
    else:
        yield cannot(old, "not null")


# --- enums ---------------------------------------------------------------------------------------------------------


def renamed_labels(old: SchemaObject, new: SchemaObject) -> list[str] | None:
    """Statements where only labels were renamed; None where some were added."""
    wanted, there = text_of_literals(old.attributes["labels"]), text_of_literals(new.attributes["labels"])
    if len(wanted) != len(there):
        return None
    changed = [(now, was) for now, was in zip(there, wanted, strict=True) if now != was]
    head = f"ALTER TYPE {old.name} RENAME VALUE"
    aside = [f"{head} {now} TO 'pgrehearse_aside_{number}';" for number, (now, _) in enumerate(changed)]
    return aside + [f"{head} 'pgrehearse_aside_{number}' TO {was};" for number, (_, was) in enumerate(changed)]


def only_added_labels(old: SchemaObject, new: SchemaObject) -> bool:
    return set(text_of_literals(old.attributes["labels"])) <= set(text_of_literals(new.attributes["labels"]))
