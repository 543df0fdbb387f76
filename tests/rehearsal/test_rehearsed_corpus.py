"""The labelled migrations through whole rehearsals: what was measured is what the labels say.

A few by default; all 236 with PGREHEARSE_SOAK=1 and --pg 15,18, the majors that the labels were measured on (an hour).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.hazard_corpus import MAJORS, Case, load_cases
from tests.support.rehearsed_corpus import Servers, rehearsal_verdict, rehearse_case, start_servers

SOAK = "PGREHEARSE_SOAK" in os.environ
# One for each way of measuring: the application's rows, a failed statement's locks, an index that no dump has.
SHORT = ("drop-default", "add-unique-duplicates", "cic-if-not-exists-over-invalid")
# The label was entered by hand: every value is another one, and the mapping loses nothing.  That is for people to say.
ALSO_TOLD = {"enum-replace-dance": {"data_loss"}}
CASES = [case for case in load_cases() if SOAK or case.id in SHORT]


@pytest.fixture(scope="module")
def servers(server_major: int) -> Iterator[Servers]:
    with start_servers(server_major) as started:
        yield started


@pytest.mark.slow
@pytest.mark.pg(">= 15" if SOAK else "== 18")
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_what_was_measured_is_what_the_labels_say(
    case: Case, servers: Servers, server_major: int, tmp_path: Path
) -> None:
    truth = case.truth[max(major for major in MAJORS if major <= server_major)]
    receipt = rehearse_case(case, servers, tmp_path)
    told = rehearsal_verdict(receipt)
    assert told.labels - ALSO_TOLD.get(case.id, set()) == truth.labels
    assert told.lock is truth.lock, receipt.document["statements"]
