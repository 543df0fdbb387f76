"""The catalogue's records: one spelling, texts that can be filled in, levels that follow from the harm."""

import ast
import re
from pathlib import Path

import pytest

import pgrehearse
from pgrehearse.data.integrity.told import HAZARDS
from pgrehearse.hazards.catalogue import CATALOGUE, SECTIONS
from pgrehearse.hazards.catalogue.observed import OBSERVED
from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.rehearsal.application_findings import PREPARED_HAZARD
from pgrehearse.rehearsal.intent import BEYOND, NOT_MET

PACKAGE = Path(pgrehearse.__file__).parent

STANDARD_NAMES = frozenset(
    """table column type new object constraint definition statement index_columns check referenced copy aside
    aside_qualified new_qualified oid command kind schema sequence label size column_first deferrable""".split()  # noqa: SIM905 - quoted one by one they are harder to read
)
LOSS = frozenset({HazardClass.DATA_LOSS})


def test_no_id_stands_in_two_sections() -> None:
    assert sum(map(len, SECTIONS.values())) == len(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_ids_are_spelled_one_way(name: str) -> None:
    assert CATALOGUE[name].id == name
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", name)


@pytest.mark.parametrize("name", CATALOGUE)
def test_texts_ask_for_standard_names_alone(name: str) -> None:
    assert CATALOGUE[name].names <= STANDARD_NAMES


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_name_that_nobody_gave_is_a_gap_and_no_error(name: str) -> None:
    hazard = CATALOGUE[name]
    assert "{" not in hazard.message({}) + hazard.safe_way({})


@pytest.mark.parametrize("name", CATALOGUE)
def test_loss_is_an_error_and_style_is_not(name: str) -> None:
    hazard = CATALOGUE[name]
    assert hazard.classes
    if LOSS & set(hazard.classes):
        assert hazard.level is Level.ERROR
    assert (hazard.classes == (HazardClass.STYLE,)) <= (hazard.level is Level.INFO)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_hazard_names_its_source_and_servers_that_are_supported(name: str) -> None:
    hazard = CATALOGUE[name]
    assert hazard.source
    assert hazard.since is None or 14 < hazard.since <= 18
    assert hazard.until is None or 14 <= hazard.until < 18


def _named_in_code() -> set[str]:
    """Ids that some finding is given outside of lint: constants behind ``hazard=``, and tables of such."""
    found = {PREPARED_HAZARD, BEYOND, NOT_MET, *HAZARDS.values()}
    for file in PACKAGE.rglob("*.py"):
        if file.is_relative_to(PACKAGE / "hazards"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "hazard":
                found |= {
                    each.value
                    for each in ast.walk(node.value)
                    if isinstance(each, ast.Constant) and isinstance(each.value, str) and "-" in each.value
                }
    return {each for each in found if not each.endswith("-")}  # the beginning of an f-string


def test_what_a_rehearsal_tells_has_a_record_too() -> None:
    named = _named_in_code()
    assert len(named) > 40
    assert named <= CATALOGUE.keys()
    assert {f"rename-{kind}" for kind in ("table", "view", "schema")} <= CATALOGUE.keys()


def test_every_record_of_a_rehearsal_is_told_by_one() -> None:
    assert {hazard.id for hazard in OBSERVED} <= _named_in_code()
