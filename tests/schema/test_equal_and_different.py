"""Pairs and mutations as data; pg_dump's text must agree with every verdict, or the case says why not."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

import pytest

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.schema.diff import Change, diff
from pgrehearse.schema.fingerprint import fingerprint
from pgrehearse.schema.schema_object import Schema

from .conftest import HERE, Databases, read, run_script

PAIRS: list[dict[str, Any]] = tomllib.loads((HERE / "pairs.toml").read_text(encoding="utf-8"))["pair"]
MUTATIONS: list[dict[str, Any]] = tomllib.loads((HERE / "mutations.toml").read_text(encoding="utf-8"))["mutation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Two states of one case, by our fingerprint and by pg_dump."""

    fingerprints: tuple[str, str]
    changes: tuple[Change, ...]
    dumps: tuple[list[str], list[str]]


class Comparison:
    """Two whole databases, looked at one case's namespace at a time."""

    def __init__(
        self, databases: Databases, before: Schema, after: Schema, dump_before: list[str], dump_after: list[str]
    ) -> None:
        self.major = databases.server.major
        self.before, self.after = before, after
        self.dump_before, self.dump_after = dump_before, dump_after

    def of(self, namespace: str) -> Sides:
        its = re.compile(rf"(?<![a-z0-9]){namespace}(?![0-9])")
        before, after = (
            Schema(
                server_major=self.major,
                objects=tuple(
                    found for found in schema.objects if its.search(found.identity) or its.search(found.relation or "")
                ),
            )
            for schema in (self.before, self.after)
        )
        dumps = tuple(
            sorted(entry for entry in dump if its.search(entry)) for dump in (self.dump_before, self.dump_after)
        )
        return Sides(
            fingerprints=(fingerprint(before), fingerprint(after)),
            changes=diff(before, after),
            dumps=(dumps[0], dumps[1]),
        )


def written_for(namespace: str, text: str) -> str:
    return re.sub(r"(?<![a-z])ns\b", namespace, text)


def run_case(session: Connection, namespace: str, script: str) -> None:
    session.execute("SELECT pg_catalog.set_config('search_path', %s, false)", (f"{namespace}, public",))
    run_script(session, script)


@pytest.fixture(scope="session")
def pairs(databases: Databases) -> Comparison:
    sides = [databases.create(), databases.create()]
    for database, side in zip(sides, ("first", "second"), strict=True):
        with connect(database, verb="test") as session:
            for number, pair in enumerate(PAIRS):
                run_case(session, f"p{number}", f"CREATE SCHEMA p{number}; {pair[side]}")
    first, second = sides
    return Comparison(
        databases, read(first), read(second), databases.dump_entries(first), databases.dump_entries(second)
    )


@pytest.fixture(scope="session")
def mutations(databases: Databases) -> Comparison:
    database = databases.create()
    fitting = [
        (f"m{number}", case) for number, case in enumerate(MUTATIONS) if case.get("needs", 0) <= databases.server.major
    ]
    with connect(database, verb="test") as session:
        for namespace, case in fitting:
            run_case(session, namespace, written_for(namespace, f"CREATE SCHEMA ns; {case['setup']}"))
    before, dump_before = read(database), databases.dump_entries(database)
    with connect(database, verb="test") as session:
        for namespace, case in fitting:
            run_case(session, namespace, written_for(namespace, case["change"]))
    return Comparison(databases, before, read(database), dump_before, databases.dump_entries(database))


@pytest.mark.parametrize("number", range(len(PAIRS)), ids=[pair["name"] for pair in PAIRS])
def test_two_ways_of_making_the_same_thing_are_equal(pairs: Comparison, number: int) -> None:
    pair = PAIRS[number]
    sides = pairs.of(f"p{number}")
    equal = pair.get("equal", True)
    assert (sides.fingerprints[0] == sides.fingerprints[1]) is equal, sides.changes
    assert (sides.changes == ()) is equal
    if pair.get("dump", True):
        assert (sides.dumps[0] == sides.dumps[1]) is equal, sides.dumps
    else:
        assert pair["because"]


@pytest.mark.parametrize(
    "number", range(len(MUTATIONS)), ids=[f"{case['object']} {case['change'][:50]}" for case in MUTATIONS]
)
def test_one_changed_attribute_changes_the_fingerprint_and_names_the_object(mutations: Comparison, number: int) -> None:
    case = MUTATIONS[number]
    if case.get("needs", 0) > mutations.major:
        assert mutations.of(f"m{number}").changes == ()  # this major cannot express it, so there is nothing to see
        return
    namespace = f"m{number}"
    sides = mutations.of(namespace)
    assert sides.fingerprints[0] != sides.fingerprints[1]
    assert (case["kind"], written_for(namespace, case["object"])) in {
        (change.kind.value, change.name) for change in sides.changes
    }
    if case.get("dump", True):
        assert sides.dumps[0] != sides.dumps[1]
    else:
        assert case["because"]
        assert sides.dumps[0] == sides.dumps[1]


def test_the_lists_are_long_enough() -> None:
    assert sum(pair.get("equal", True) for pair in PAIRS) >= 15
    assert len(MUTATIONS) >= 60
