"""One digest for the shape of a whole database."""

import hashlib
import json

from pgrehearse.schema.schema_object import Schema

FINGERPRINT_RECIPE = "pgrehearse-schema-1"


def fingerprint(schema: Schema) -> str:
    """SHA-256 as hex, equal for a database and its dumped-and-restored clone, different when any attribute differs.

    Recipe ``pgrehearse-schema-1``: compact ASCII JSON of ``[recipe, server major, objects]``; the objects sorted by
    kind, relation and name, each ``[kind, relation, name, position,
    [[attribute, normal form], …]]`` with sorted attributes.
    The major version takes part, because majors print differently: across majors it is never equal.
    Cost: about 5 µs per object.
    """
    objects = [
        [*found.key, found.position, [[name, found.compared(name)] for name in sorted(found.attributes)]]
        for found in sorted(schema.objects, key=lambda found: found.key)
    ]
    text = json.dumps([FINGERPRINT_RECIPE, schema.server_major, objects], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
