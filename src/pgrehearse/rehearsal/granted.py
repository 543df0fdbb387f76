"""Who may do what with an object, as its schema says it."""

import re

from pgrehearse.schema.schema_object import ObjectKind, SchemaObject

ROUTINES = (ObjectKind.FUNCTION, ObjectKind.PROCEDURE, ObjectKind.AGGREGATE)

_GRANT = re.compile(
    r"(?P<grantee>\"(?:[^\"]|\"\")*\"|[^\":]+): (?P<privileges>[A-Z*, ]+) by (?:\"(?:[^\"]|\"\")*\"|[^\";]+)"
)


def granted(found: SchemaObject) -> dict[str, set[str]]:
    """The privileges by the grantee's name; nothing where they are those that such an object begins with."""
    if found.kind in ROUTINES and "grants" not in found.attributes:
        return {"PUBLIC": {"EXECUTE"}}  # what every routine begins with
    granted: dict[str, set[str]] = {}
    for line in _GRANT.finditer(found.attributes.get("grants", "")):
        privileges = {word.strip("* ") for word in line["privileges"].split(",")}
        granted.setdefault(line["grantee"].removeprefix("; "), set()).update(privileges)
    return granted
