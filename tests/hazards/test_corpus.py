"""Lint on the labelled migrations, by their text and by a catalog: no answer gets worse.

``corpus/known_wrong.json`` holds the answers that are wrong by now (`make hazard-score HAZARD_SCORE=--keep` writes it);
a case that is not in it and is told wrongly fails the test.  What the figures are: docs/benchmarks.md.
"""

import json
import os
from collections.abc import Iterable, Iterator

import pytest
from tests.support.hazard_corpus import (
    KNOWN_WRONG,
    LABELS,
    LOCK,
    MAJORS,
    SETTINGS,
    TOLD_ALTHOUGH_HARMLESS,
    Case,
    Score,
    Tally,
    lint_against,
    lint_case,
    lint_verdict,
    load_cases,
    prepare_server,
)

from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.lint import LintResult
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer

CASES = load_cases()
KNOWN = json.loads(KNOWN_WRONG.read_text(encoding="utf-8"))
LEVELS = (Level.ERROR, Level.WARNING)
# On the older server a sample: what is another truth there, and every tenth case.
SAMPLED = tuple(
    case for number, case in enumerate(CASES) if number % 10 == 0 or case.truth[MAJORS[0]] != case.truth[MAJORS[-1]]
)


@pytest.fixture(scope="module", params=MAJORS)
def corpus_connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A session in a server of this major, set up as those on which the labels were measured."""
    with LocalServer.create(require_server(request.param), settings=SETTINGS) as server:
        prepare_server(server)
        with connect(server.conninfo(), verb="test") as connection:
            yield connection


def worse_than_known(answers: Iterable[tuple[Case, LintResult | None]], way: str, major: int) -> list[str]:
    """Wrong answers that are not known yet, as lines."""
    scores = {level: Score() for level in LEVELS}
    for case, result in answers:
        for level, score in scores.items():
            score.add(case.id, lint_verdict(result, level), case.truth[major])
    return [
        f"{way} at level {level.value}: {label} {word}: {case_id}"
        for level, score in scores.items()
        for label, words in score.wrong.items()
        for word, ids in words.items()
        for case_id in ids
        if case_id not in KNOWN[f"{way} {major} {level.value}"].get(label, {}).get(word, [])
    ]


def test_no_answer_by_the_text_gets_worse() -> None:
    assert worse_than_known(((case, lint_case(case)) for case in CASES), "lint", MAJORS[-1]) == []


def test_no_answer_by_a_catalog_gets_worse(corpus_connection: Connection) -> None:
    major = corpus_connection.info.server_version // 10000
    whole = major == MAJORS[-1] or "PGREHEARSE_SOAK" in os.environ
    cases = CASES if whole else SAMPLED
    answers = lint_against(cases, corpus_connection)
    assert worse_than_known(answers, "catalog", major) == []


def test_harmless_files_come_out_with_no_finding_at_the_default_level() -> None:
    told = [
        case.id
        for case in CASES
        if case.is_harmless_on(MAJORS[-1]) and (result := lint_case(case)) and result.reaches(Level.ERROR)
    ]
    assert sorted(set(told) - set(KNOWN[TOLD_ALTHOUGH_HARMLESS])) == []


def test_what_is_known_to_be_wrong_is_a_small_part() -> None:
    """Whatever the file says: what is there is found, and a catalog tells what is not there, too."""
    for way, least in (("lint 18 warning", 0.95), ("catalog 18 warning", 0.98), ("catalog 15 warning", 0.98)):
        by_text = way.startswith("lint")
        # What breaks the application hangs on its statements; what fails, on the rows.
        for label in LABELS if not by_text else ("rewrite", "full_scan_under_lock", "data_loss"):
            if label == "breaks_old_app":
                continue
            wrong = KNOWN[way].get(label, {"missed": [], "false": []})
            there = (
                sum(label in case.truth[int(way.split()[1])].labels for case in CASES) if label != LOCK else len(CASES)
            )
            tally = Tally(there - len(wrong["missed"]), wrong["missed"], wrong["false"])
            assert tally.recall >= least, (way, label)
            assert by_text or tally.precision >= least, (way, label)
