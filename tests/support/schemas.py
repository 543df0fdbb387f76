"""Answers held against their published schemas."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource


def validate_answer(name: str, answer: Any) -> None:
    """Raise unless the answer is what ``NAME.schema.json`` says."""
    _validator(name).validate(answer)


@cache
def _validator(name: str) -> Draft202012Validator:
    schemas = {
        entry.name: json.loads(entry.read_text(encoding="utf-8"))
        for entry in files("pgrehearse.answers").iterdir()
        if entry.name.endswith(".schema.json")
    }
    resources = [(content["$id"], Resource.from_contents(content)) for content in schemas.values() if "$id" in content]
    return Draft202012Validator(schemas[f"{name}.schema.json"], registry=Registry().with_resources(resources))
