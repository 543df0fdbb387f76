"""The published schemas are frozen: closed at every level, and what they admitted once they admit still."""

import copy
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pgrehearse.cli.main import error_document
from pgrehearse.errors import GuardRefused, NotMeasured, PgRehearseError
from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level
from pgrehearse.postgres.locks import LockMode

ANSWERS = files("pgrehearse.answers")
NAMES = sorted(entry.name for entry in ANSWERS.iterdir() if entry.name.endswith(".schema.json"))


def schema(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((ANSWERS / f"{name}.schema.json").read_text(encoding="utf-8"))
    return parsed


def objects_within(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") == "object" or "properties" in node:
            yield node
        for child in node.values():
            yield from objects_within(child)
    elif isinstance(node, list):
        for child in node:
            yield from objects_within(child)


def every_error() -> list[type[PgRehearseError]]:
    found = [PgRehearseError]
    for each in found:
        found.extend(each.__subclasses__())
    return found[1:]


FINDING = {
    "hazard": "drop-column",
    "classes": ["data-loss", "breaks-running-app"],
    "level": "error",
    "file": "drizzle/0007_drop.sql",
    "line": 3,
    "column": 1,
    "message": "drops users.nick",
    "remedy": "CREATE TABLE users_nick_kept AS SELECT * FROM users;",
    "evidence": "predicted",
    "relation": "public.users",
    "measured": {},
}
LINT = {
    "format": 1,
    "findings": [FINDING],
    "statements": [
        {
            "file": "drizzle/0007_drop.sql",
            "line": 3,
            "sql": "ALTER TABLE users DROP COLUMN nick",
            "locks": {"public.users": "AccessExclusiveLock"},
        }
    ],
    "not_visible": [{"file": "drizzle/0007_drop.sql", "line": 5, "reason": "a DO block", "fault": False}],
    "suppressed": [{"finding": FINDING, "by": "comment", "reason": "nothing reads it"}],
    "unused_allows": [{"file": "drizzle/0007_drop.sql", "line": 1, "hazard": "truncate", "reason": "none left"}],
}
ERROR = {
    "format": 1,
    "error": {"code": "same-database", "exit_code": 2, "message": "uat is prd", "remedy": "Point elsewhere."},
}


@pytest.mark.parametrize("name", NAMES)
def test_every_published_schema_is_valid_and_closed(name: str) -> None:
    content = json.loads((ANSWERS / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(content)
    assert content["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for node in objects_within(content):
        if node.get("maxProperties") == 0:
            continue
        assert "additionalProperties" in node, node
        if node["additionalProperties"] is not False:  # a map by name: closed in what its values may be
            assert isinstance(node["additionalProperties"], dict)
            assert node["additionalProperties"], node
            assert "properties" not in node
        if "properties" in node:
            assert set(node["required"]) == set(node["properties"]), "nothing is optional: absent is null or empty"


@pytest.mark.parametrize(("name", "document"), [("lint", LINT), ("error", ERROR)])
def test_the_frozen_documents_validate(name: str, document: dict[str, Any]) -> None:
    Draft202012Validator(schema(name)).validate(document)


@pytest.mark.parametrize(("name", "document"), [("lint", LINT), ("error", ERROR)])
def test_an_unknown_or_missing_key_does_not_validate(name: str, document: dict[str, Any]) -> None:
    validator = Draft202012Validator(schema(name))
    places = [path for path in _paths_to_objects(document) if path[-1:] not in (["measured"], ["locks"])]
    assert places
    for path in places:
        added = copy.deepcopy(document)
        _at(added, path)["surprise"] = 1
        assert not validator.is_valid(added), path
        for key in _at(document, path):
            removed = copy.deepcopy(document)
            del _at(removed, path)[key]
            assert not validator.is_valid(removed), (path, key)


def _paths_to_objects(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[list[str | int]]:
    if isinstance(node, dict):
        yield list(path)
        for key, child in node.items():
            yield from _paths_to_objects(child, (*path, key))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _paths_to_objects(child, (*path, index))


def _at(node: Any, path: list[str | int]) -> dict[str, Any]:
    for step in path:
        node = node[step]
    assert isinstance(node, dict)
    return node


def test_a_finding_prints_as_the_frozen_one() -> None:
    finding = Finding(
        hazard="drop-column",
        classes=(HazardClass.DATA_LOSS, HazardClass.BREAKS_RUNNING_APP),
        level=Level.ERROR,
        file="drizzle/0007_drop.sql",
        line=3,
        column=1,
        message="drops users.nick",
        remedy="CREATE TABLE users_nick_kept AS SELECT * FROM users;",
        evidence=Evidence.PREDICTED,
        relation="public.users",
    )
    assert finding.as_json() == FINDING


def test_the_schema_and_the_enums_name_the_same_things() -> None:
    definitions = schema("lint")["$defs"]
    properties = definitions["finding"]["properties"]
    assert properties["classes"]["items"]["enum"] == [each.value for each in HazardClass]
    assert properties["level"]["enum"] == [each.value for each in Level]
    assert properties["evidence"]["enum"] == [each.value for each in Evidence]
    assert definitions["lock_mode"]["enum"] == [mode.value for mode in LockMode]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_error_makes_a_valid_document_and_says_what_to_do(error: type[PgRehearseError]) -> None:
    document = error_document(error("what was found"))
    Draft202012Validator(schema("error")).validate(document)
    assert error.__doc__
    # A remedy that depends on the case is given where the error is raised; these two are families.
    assert error.default_remedy or error in (GuardRefused, NotMeasured)


def test_lint_and_run_share_the_finding() -> None:
    assert schema("run")["$defs"]["finding"] == schema("lint")["$defs"]["finding"]


def test_levels_are_ordered() -> None:
    assert Level.ERROR.reaches(Level.WARNING)
    assert Level.WARNING.reaches(Level.WARNING)
    assert not Level.INFO.reaches(Level.WARNING)
