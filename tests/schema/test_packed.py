"""A packed schema says again everything that it was given."""

import base64
import zlib

import pytest

from pgrehearse.errors import SchemaUnreadable
from pgrehearse.postgres.connect import Connection
from pgrehearse.schema.diff import diff
from pgrehearse.schema.fingerprint import fingerprint
from pgrehearse.schema.packed import pack, unpack
from pgrehearse.schema.snapshot import read_schema

SHOP = """
CREATE TYPE mood AS ENUM ('fine', 'bad');
CREATE TABLE "Odd ""name"" x" (id int PRIMARY KEY, m mood DEFAULT 'fine', größe numeric(9, 2) CHECK (größe IN (1, 2)));
CREATE VIEW v AS SELECT id, m FROM "Odd ""name"" x" WHERE größe IN (1, 2)
"""


@pytest.mark.pg(">= 15")
def test_unpacked_is_the_same_schema(connection: Connection) -> None:
    connection.execute(SHOP)
    schema = read_schema(connection)
    again = unpack(pack(schema))
    assert fingerprint(again) == fingerprint(schema)
    assert diff(schema, again) == ()
    assert pack(again) == pack(schema)
    connection.execute('ALTER TABLE "Odd ""name"" x" ALTER m SET DEFAULT \'bad\'')
    (change,) = diff(again, read_schema(connection))
    assert (change.attribute, change.before, change.after) == ("default", "'fine'::public.mood", "'bad'::public.mood")


@pytest.mark.parametrize(
    "text", ["", "e30=", "%", base64.b64encode(b"x").decode(), base64.b64encode(zlib.compress(b"[]")).decode()]
)
def test_a_damaged_text_is_an_error(text: str) -> None:
    with pytest.raises(SchemaUnreadable):
        unpack(text)
