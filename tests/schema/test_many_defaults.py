"""Defaults are read as of no table: the same text, and not the work of reading all columns again for each."""

import os

import pytest

from pgrehearse.postgres.connect import Connection
from pgrehearse.schema.catalog_evidence import read_all_evidence
from pgrehearse.schema.schema_object import ObjectKind
from pgrehearse.schema.snapshot import read_schema

SOAK = "PGREHEARSE_SOAK" in os.environ
COLUMNS = 1600 if SOAK else 100
DEFAULTS = """
CREATE SCHEMA "Odd"; CREATE SEQUENCE "Odd"."Seq"; CREATE TYPE "Odd".mood AS ENUM ('fine', 'it''s');
CREATE FUNCTION "Odd".f(int, text DEFAULT 'x') RETURNS text LANGUAGE sql AS 'SELECT $2';
CREATE TABLE t (
    a int DEFAULT nextval('"Odd"."Seq"'), b "Odd".mood DEFAULT 'it''s', c text DEFAULT "Odd".f(1),
    d date DEFAULT CURRENT_DATE + 1, e text DEFAULT session_user, f int[] DEFAULT ARRAY[1, NULL],
    g text DEFAULT CASE WHEN now() > '2020-01-01' THEN 'late' ELSE NULL END COLLATE "C", h numeric(5,2) DEFAULT 1.5,
    i jsonb DEFAULT '{"a": 1}', j int GENERATED ALWAYS AS (h + 1) STORED, k boolean DEFAULT (1, 2) < (3, 4)
)
"""
PRINTED = """
SELECT a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
"""


@pytest.mark.pg(">= 15")
def test_a_default_reads_as_the_server_prints_it_with_its_table(connection: Connection) -> None:
    connection.execute(DEFAULTS)
    read = {
        found.name: found.attributes.get("default") or found.attributes["generation expression"]
        for found in read_schema(connection).of_kind(ObjectKind.COLUMN)
    }
    connection.execute("SET search_path = ''")
    assert read == dict(connection.execute(PRINTED).fetchall())


@pytest.mark.pg(">= 15" if SOAK else "== 18")
def test_a_table_of_nothing_but_defaults_is_read_at_once(connection: Connection) -> None:
    """Before 18 the 1,600 of the long form take half a minute with their table, and less than a second without."""
    columns = ", ".join(f"c{number} int DEFAULT {number}" for number in range(COLUMNS))
    connection.execute(f"CREATE TABLE t ({columns})".encode())
    connection.execute("SET statement_timeout = '15s'")  # only the long form can fail by it
    defaults = {found.attributes["default"] for found in read_schema(connection).of_kind(ObjectKind.COLUMN)}
    assert defaults == set(map(str, range(COLUMNS)))
    digests = read_all_evidence(connection).relations["public.t"]
    assert digests is not None
    assert len(set(digests.objects.values())) == COLUMNS + 1  # each default another, and the table itself
