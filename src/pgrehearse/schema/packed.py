"""A whole schema as one short text, for a receipt: what it was held against can be looked at again later."""

import base64
import json
import zlib
from typing import Any

from pgrehearse.errors import SchemaUnreadable
from pgrehearse.schema.fingerprint import FINGERPRINT_RECIPE
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True)


def pack(schema: Schema) -> str:
    """Base64 of zlib of JSON; about 15 bytes per object.  Oids and what was left out do not travel.

    Equal schemas give equal texts, and `fingerprint` of what `unpack` returns is the original's.
    """
    objects = [
        [found.kind.value, found.name, found.relation, found.position, dict(found.attributes), dict(found.normal_forms)]
        for found in sorted(schema.objects, key=lambda found: found.key)
    ]
    body = {"recipe": FINGERPRINT_RECIPE, "server_major": schema.server_major, "objects": objects}
    return base64.b64encode(zlib.compress(ENCODER.encode(body).encode("ascii"), 6)).decode("ascii")


def unpack(text: str) -> Schema:
    """The schema that `pack` was given.  Raises `SchemaUnreadable` for a text of another recipe or none."""
    try:
        body: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        if body["recipe"] != FINGERPRINT_RECIPE:
            raise SchemaUnreadable(
                f"the receipt's schema was read by recipe {body['recipe']}, this version reads by {FINGERPRINT_RECIPE}",
                remedy="Rehearse again with this version.",
            )
        return Schema(
            server_major=body["server_major"],
            objects=tuple(
                SchemaObject(
                    kind=ObjectKind(kind),
                    name=name,
                    relation=relation,
                    position=position,
                    attributes=attributes,
                    normal_forms=normal_forms,
                )
                for kind, name, relation, position, attributes, normal_forms in body["objects"]
            ),
        )
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise SchemaUnreadable(
            "the schema in the receipt cannot be read", remedy="Rehearse again; the receipt is damaged."
        ) from error
