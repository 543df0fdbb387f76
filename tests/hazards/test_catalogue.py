"""The catalogue's records: one spelling, texts that can be filled in, levels that follow from the harm."""

import re

import pytest

from pgrehearse.hazards.catalogue import CATALOGUE, SECTIONS
from pgrehearse.hazards.finding import HazardClass, Level

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
