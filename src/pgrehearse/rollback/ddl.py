"""The words of DDL for each kind of object: how it is named, dropped, commented, and given its rights again.

Every name here is the server's own text, quoted by it (`SchemaObject`), and is never quoted a second time; what
comes out is SQL as text, because a receipt keeps it and a person reads it before anybody runs it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from pgrehearse.schema.schema_object import ObjectKind, SchemaObject

IDENTIFIER = r'(?:"(?:[^"]|"")*"|[^\s".,()]+)'
_QUALIFIED = re.compile(rf"({IDENTIFIER})\.({IDENTIFIER})(.*)", re.DOTALL)
_ARGUMENT = re.compile(r"\(.*\)\Z", re.DOTALL)
_GRANT = re.compile(rf"({IDENTIFIER}): ([A-Z, *]+) by ({IDENTIFIER})(?:; |\Z)")

WORDS: Mapping[ObjectKind, str] = {
    ObjectKind.TRANSFORM: "TRANSFORM",
    **{kind: kind.value.upper().replace("-", " ") for kind in ObjectKind if kind is not ObjectKind.TRANSFORM},
    ObjectKind.COLUMN: "COLUMN",
    ObjectKind.CONSTRAINT: "CONSTRAINT",
    ObjectKind.DOMAIN_CONSTRAINT: "CONSTRAINT",
    ObjectKind.STATISTICS: "STATISTICS",
    ObjectKind.FOREIGN_DATA_WRAPPER: "FOREIGN DATA WRAPPER",
}
ON_RELATION = frozenset({ObjectKind.TRIGGER, ObjectKind.POLICY, ObjectKind.RULE})
RELATIONS = frozenset(
    {ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE, ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW, ObjectKind.SEQUENCE}
)
ROUTINES = frozenset({ObjectKind.FUNCTION, ObjectKind.PROCEDURE, ObjectKind.AGGREGATE})
PUBLIC_RIGHTS = {
    ObjectKind.FUNCTION: "EXECUTE",
    ObjectKind.PROCEDURE: "EXECUTE",
    ObjectKind.AGGREGATE: "EXECUTE",
    ObjectKind.TYPE: "USAGE",
    ObjectKind.DOMAIN: "USAGE",
    ObjectKind.LANGUAGE: "USAGE",
}


def split_name(name: str) -> tuple[str, str, str]:
    """``namespace``, ``name`` and what follows it (a function's arguments); the namespace is "" where there is none."""
    match = _QUALIFIED.fullmatch(name)
    return (match[1], match[2], match[3]) if match else ("", name, "")


def reference(found: SchemaObject) -> str:
    """The object as COMMENT ON and DROP name it, with its kind: ``TRIGGER t ON public.orders``."""
    word, name = WORDS[found.kind], found.name
    if found.kind in ON_RELATION or found.kind is ObjectKind.CONSTRAINT:
        return f"{word} {name} ON {found.relation}"
    if found.kind is ObjectKind.DOMAIN_CONSTRAINT:
        return f"{word} {name} ON DOMAIN {found.relation}"
    if found.kind is ObjectKind.COLUMN:
        return f"{word} {found.relation}.{name}"
    if found.kind is ObjectKind.AGGREGATE and name.endswith("()"):
        return f"{word} {name[:-1]}*)"
    return f"{word} {name}"


def drop(found: SchemaObject) -> str:
    """Never CASCADE: what nobody knew to depend on it must stop us, not go with it."""
    match found.kind:
        case ObjectKind.COLUMN | ObjectKind.CONSTRAINT:
            return f"ALTER TABLE {found.relation} DROP {WORDS[found.kind]} {found.name};"
        case ObjectKind.DOMAIN_CONSTRAINT:
            return f"ALTER DOMAIN {found.relation} DROP CONSTRAINT {found.name};"
        case ObjectKind.PUBLICATION_RELATION:
            return f"ALTER PUBLICATION {found.name} DROP TABLE ONLY {found.relation};"
        case _:
            return f"DROP {reference(found)};"


def enabling(attributes: Mapping[str, str]) -> str:
    """What ALTER … says for the state of a trigger or rule; absent, it fires as usual."""
    words = {"disabled": "DISABLE", "replica": "ENABLE REPLICA", "always": "ENABLE ALWAYS"}
    return words.get(attributes.get("enabled", ""), "ENABLE")


def comment(found: SchemaObject, text: str | None) -> str:
    return f"COMMENT ON {reference(found)} IS {'NULL' if text is None else literal(text)};"


def owner(found: SchemaObject, role: str) -> str:
    return f"ALTER {reference(found)} OWNER TO {identifier(role)};"


def literal(text: str) -> str:
    """A string as SQL writes it."""
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def identifier(name: str) -> str:
    """A name that the server gave unquoted (a role's)."""
    return '"' + name.replace('"', '""') + '"'


def text_of_literals(text: str) -> list[str]:
    """The literals of ``'a', 'b'`` as they stand, with their quotes."""
    return re.findall(r"E?'(?:[^'\\]|''|\\.)*'", text)


def options(text: str | None, *, prefix: str = "") -> dict[str, str]:
    """``fillfactor=70, autovacuum_enabled=off`` by name."""
    pairs = (part.partition("=") for part in (text or "").split(", ") if part)
    return {f"{prefix}{name}": value for name, _, value in pairs}


# --- rights --------------------------------------------------------------------------------------------------------


def grants(found: SchemaObject, *, had: str | None, bystanders: Iterable[str] = ()) -> Iterator[str]:
    """Take all rights away, then give those of ``found`` back; absent, they are what CREATE gives.

    ``had`` are the rights as they stand; ``bystanders`` may have got some by default privileges.  A right that
    another role than the owner granted cannot be granted again in its name, and is left out: the comparison tells.
    """
    is_column = found.kind is ObjectKind.COLUMN
    target = _grant_target(found)
    wanted = found.attributes.get("grants")
    owned_by = None if is_column else found.attributes.get("owner")
    everybody = {grantee for grantee, _, _ in parse_grants(had)} | {grantee for grantee, _, _ in parse_grants(wanted)}
    everybody |= set(bystanders) | ({"PUBLIC"} if not is_column else set())
    if owned_by is not None:
        everybody.add(identifier(owned_by))
    column = f" ({found.name})" if is_column else ""
    seen = {name.strip('"'): name for name in sorted(everybody)}  # a role's name may come quoted and not
    if seen:
        yield f"REVOKE ALL{column} ON {target} FROM {', '.join(seen.values())} CASCADE;"
    if wanted is None:
        if owned_by is not None:
            yield f"GRANT ALL ON {target} TO {identifier(owned_by)};"
        if found.kind in PUBLIC_RIGHTS:
            yield f"GRANT {PUBLIC_RIGHTS[found.kind]} ON {target} TO PUBLIC;"
        return
    for grantee, privileges, grantor in parse_grants(wanted):
        if owned_by is not None and grantor.strip('"') != owned_by:
            continue
        plain = [right for right in privileges if not right.endswith("*")]
        passing = [right.removesuffix("*") for right in privileges if right.endswith("*")]
        for rights, ending in ((plain, ""), (passing, " WITH GRANT OPTION")):
            if rights:
                yield f"GRANT {', '.join(right + column for right in rights)} ON {target} TO {grantee}{ending};"


def parse_grants(text: str | None) -> list[tuple[str, list[str], str]]:
    """Each grantee, as SQL writes it, with its privileges (``*``: may pass it on) and who granted them."""
    return [(match[1], match[2].split(", "), match[3]) for match in _GRANT.finditer(text or "")]


def default_privileges(found: SchemaObject, *, before: str | None, after: str | None) -> Iterator[str]:
    """``of ROLE on tables in schema S``: from what they are to what they were."""
    match = re.fullmatch(rf"of ({IDENTIFIER}) on ([a-z ]+?)(?: in schema ({IDENTIFIER}))?", found.name)
    if match is None:
        return
    role, kind, namespace = match.groups()
    head = f"ALTER DEFAULT PRIVILEGES FOR ROLE {role}" + (f" IN SCHEMA {namespace}" if namespace else "")
    kind = kind.upper()
    everybody = {grantee for text in (before, after) for grantee, _, _ in parse_grants(text)}
    if not namespace and kind in ("FUNCTIONS", "TYPES"):
        everybody.add("PUBLIC")
    for grantee in sorted(everybody):
        yield f"{head} REVOKE ALL ON {kind} FROM {grantee};"
    for grantee, privileges, _ in parse_grants(before):
        plain = [right for right in privileges if not right.endswith("*")]
        passing = [right.removesuffix("*") for right in privileges if right.endswith("*")]
        for rights, ending in ((plain, ""), (passing, " WITH GRANT OPTION")):
            if rights:
                yield f"{head} GRANT {', '.join(rights)} ON {kind} TO {grantee}{ending};"
    if before is None and not namespace:
        yield f"{head} GRANT ALL ON {kind} TO {role};"
        if kind in ("FUNCTIONS", "TYPES"):
            yield f"{head} GRANT {'EXECUTE' if kind == 'FUNCTIONS' else 'USAGE'} ON {kind} TO PUBLIC;"


def _grant_target(found: SchemaObject) -> str:
    match found.kind:
        case ObjectKind.COLUMN:
            return f"TABLE {found.relation}"
        case ObjectKind.SEQUENCE | ObjectKind.SCHEMA | ObjectKind.LANGUAGE | ObjectKind.FOREIGN_DATA_WRAPPER:
            return f"{WORDS[found.kind]} {found.name}"
        case ObjectKind.SERVER:
            return f"FOREIGN SERVER {found.name}"
        case ObjectKind.TYPE | ObjectKind.DOMAIN:
            return f"TYPE {found.name}"
        case ObjectKind.FUNCTION | ObjectKind.AGGREGATE:
            return f"FUNCTION {found.name.replace(' ORDER BY ', ', ')}"  # an ordered-set aggregate, by its arguments
        case ObjectKind.PROCEDURE:
            return f"PROCEDURE {found.name}"
        case _:
            return f"TABLE {found.name}"
