"""A database and its dumped-and-restored clone have one fingerprint, whatever the server prints for it."""

import pytest

from pgrehearse.postgres.connect import connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.schema.diff import diff
from pgrehearse.schema.fingerprint import fingerprint
from pgrehearse.schema.schema_object import ObjectKind, Schema
from pgrehearse.schema.snapshot import read_schema

from .conftest import Databases, read


@pytest.fixture(scope="session")
def generations(databases: Databases, zoo: Conninfo, tmp_path_factory: pytest.TempPathFactory) -> list[Conninfo]:
    """The zoo, its restored copy, and the copy's restored copy."""
    first = databases.restored(zoo, tmp_path_factory.mktemp("first"))
    return [zoo, first, databases.restored(first, tmp_path_factory.mktemp("second"))]


def test_the_zoo_keeps_its_fingerprint_through_two_dumps_and_restores(generations: list[Conninfo]) -> None:
    origin, once, twice = (read(database) for database in generations)
    assert [str(change) for change in diff(origin, once)] == []
    assert [str(change) for change in diff(once, twice)] == []
    assert fingerprint(origin) == fingerprint(once) == fingerprint(twice)


def test_the_server_does_print_the_restored_zoo_otherwise(generations: list[Conninfo]) -> None:
    """Else the test above would prove nothing about normal forms."""
    origin, once = read(generations[0]), read(generations[1])
    otherwise = [
        (old.kind, attribute)
        for old, new in zip(origin.objects, once.objects, strict=True)
        for attribute in old.attributes
        if old.attributes[attribute] != new.attributes.get(attribute)
    ]
    assert {kind for kind, _ in otherwise} >= {
        ObjectKind.TABLE, ObjectKind.COLUMN, ObjectKind.CONSTRAINT, ObjectKind.DOMAIN_CONSTRAINT, ObjectKind.INDEX,
        ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW, ObjectKind.RULE, ObjectKind.TRIGGER, ObjectKind.POLICY,
        ObjectKind.FUNCTION, ObjectKind.STATISTICS,
    }  # fmt: skip


def test_every_object_has_a_key_of_its_own(zoo: Conninfo) -> None:
    keys = [found.key for found in read(zoo).objects]
    assert len(keys) == len(set(keys))


def test_the_zoo_has_every_kind_of_object(zoo: Conninfo) -> None:
    assert set(ObjectKind) == {found.kind for found in read(zoo).objects}


def test_an_ordinary_role_sees_the_superusers_fingerprint(databases: Databases, zoo: Conninfo) -> None:
    with connect(databases.server.conninfo(), verb="test") as admin:
        admin.execute("DROP ROLE IF EXISTS schema_reader")
        admin.execute("CREATE ROLE schema_reader LOGIN PASSWORD 'only here'")
    with connect(zoo.replaced(user="schema_reader", password="only here"), verb="test") as session:
        assert fetch_value(session, "SELECT pg_catalog.has_schema_privilege('My Schema', 'USAGE')") is False
        assert fingerprint(read_schema(session)) == fingerprint(read(zoo))


def test_the_sessions_settings_do_not_reach_the_fingerprint(zoo: Conninfo) -> None:
    with connect(zoo, verb="test") as session:
        session.execute(
            "SELECT set_config(name, value, false) FROM (VALUES ('search_path', 'public, \"My Schema\"'),"
            " ('DateStyle', 'German'), ('IntervalStyle', 'iso_8601'), ('TimeZone', 'Asia/Tokyo'),"
            " ('extra_float_digits', '-5'), ('bytea_output', 'escape'),"
            " ('quote_all_identifiers', 'on'), ('standard_conforming_strings', 'off')) AS s (name, value)"
        )
        assert fingerprint(read_schema(session)) == fingerprint(read(zoo))
        assert fetch_value(session, "SELECT current_setting('TimeZone')") == "Asia/Tokyo"


def test_the_fingerprint_holds_the_major_version(zoo: Conninfo) -> None:
    schema = read(zoo)
    elsewhere = Schema(server_major=schema.server_major + 1, objects=schema.objects)
    assert fingerprint(elsewhere) != fingerprint(schema)
