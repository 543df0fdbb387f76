"""Lint, lint with a catalog, rehearsal and squawk on the labelled migrations of tests/hazards/corpus: right and wrong.

    make squawk-peer
    .venv/bin/python -m benchmarks.hazard_score [--pg 15|18] [--explain] [--rehearse] [--keep] [--only TOOL]

Per label: right, missed, missed but said to be not visible, false alarms; recall (without the third) and precision.
`error` scores what lint says at its default level, `warning` what it says beside matters of taste; `info` (by the
text alone) all of it, so also what it only notes because rows or the catalog decide: how much of what fails is at least
spoken of, and at what price.  squawk runs as its
users run it, with --assume-in-transaction where the migration's tool wraps the file; RULES says which of its rules
speaks of which label, and its lock is the one that its lock_timeout rule names.  `--explain` lists the wrong answers by
case; `--rehearse` rehearses every case on a real clone, too (an hour).
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.hazard_corpus import (
    KNOWN_WRONG,
    LABELS,
    MAJORS,
    SETTINGS,
    TOLD_ALTHOUGH_HARMLESS,
    Case,
    Score,
    Verdict,
    lint_against,
    lint_case,
    lint_verdict,
    load_cases,
    prepare_server,
)
from tests.support.rehearsed_corpus import rehearsal_verdict, rehearse_case, start_servers

from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.lint import LintResult
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.postgres.locks import LockMode

SQUAWK = Path(__file__).parents[1] / ".peers" / "squawk" / "bin" / "squawk"
TOOLS = ("lint error", "lint warning", "lint info", "catalog error", "catalog warning", "rehearsal", "squawk")
REWRITES = ("rewrite", "full_scan_under_lock")
SCANS = ("full_scan_under_lock",)
DESTROYS = ("data_loss", "breaks_old_app")
BREAKS = ("breaks_old_app",)
FAILS = ("fails",)
# By what each rule's own page says.  Rules of taste, and the two about timeouts, speak of no label.
RULES = {
    "adding-field-with-default": REWRITES,
    "changing-column-type": (*REWRITES, *BREAKS),
    "prefer-repack": REWRITES,
    "adding-foreign-key-constraint": SCANS,
    "constraint-missing-not-valid": SCANS,
    "adding-not-nullable-field": SCANS,
    "adding-serial-primary-key-field": SCANS,
    "disallowed-unique-constraint": SCANS,
    "require-concurrent-index-creation": SCANS,
    "require-concurrent-reindex": SCANS,
    "ban-alter-domain-with-add-constraint": SCANS,
    "ban-drop-column": DESTROYS,
    "ban-drop-table": DESTROYS,
    "ban-drop-schema": DESTROYS,
    "ban-drop-database": DESTROYS,
    "ban-drop-domain": DESTROYS,
    "ban-drop-type": DESTROYS,
    "ban-truncate-cascade": ("data_loss",),
    "adding-required-field": (*FAILS, *BREAKS),
    "renaming-column": BREAKS,
    "renaming-table": BREAKS,
    "renaming-object": BREAKS,
    "ban-set-schema": BREAKS,
    "ban-drop-default": BREAKS,
    "ban-drop-not-null": BREAKS,
    "ban-drop-constraint": BREAKS,
    "ban-drop-function": BREAKS,
    "ban-drop-view": BREAKS,
    "ban-drop-sequence": BREAKS,
    "ban-drop-generated-expression": BREAKS,
    "ban-alter-identity": BREAKS,
    "ban-concurrent-index-creation-in-transaction": FAILS,
    "transaction-nesting": FAILS,
    "ban-uncommitted-transaction": FAILS,
    "ban-duplicate-column-assignments": FAILS,
    "syntax-error": FAILS,
}
LOCK = re.compile(r"requires: ([A-Z ]+) lock")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pg", type=int, choices=MAJORS, default=MAJORS[-1])
    parser.add_argument("--explain", action="store_true", help="list the wrong answers")
    parser.add_argument("--rehearse", action="store_true", help="rehearse every case, too")
    parser.add_argument("--keep", action="store_true", help=f"write lint's wrong answers to {KNOWN_WRONG.name}")
    parser.add_argument("--only", choices=TOOLS, action="append", help="show these tools alone")
    arguments = parser.parse_args()
    cases = load_cases()
    scores = {tool: Score() for tool in TOOLS}
    alarms: dict[str, set[str]] = {tool: set() for tool in TOOLS}
    for tool, case, verdict, said_anything in _answers(cases, arguments.pg, rehearse=arguments.rehearse):
        scores[tool].add(case.id, verdict, case.truth[arguments.pg])
        if said_anything and case.is_harmless_on(arguments.pg):
            alarms[tool].add(case.id)
    shown = [tool for tool in arguments.only or TOOLS if arguments.rehearse or tool != "rehearsal"]
    _print_table(scores, alarms, shown, sum(case.is_harmless_on(arguments.pg) for case in cases))
    if arguments.keep:
        _keep(scores, alarms, arguments.pg)
    if arguments.explain:
        for tool in shown:
            _explain(tool, scores[tool], alarms[tool])


def _answers(cases: tuple[Case, ...], major: int, *, rehearse: bool) -> Iterator[tuple[str, Case, Verdict, bool]]:
    for case in cases:
        yield from _lint_answers("lint", case, lint_case(case))
    with LocalServer.create(require_server(major), settings=SETTINGS) as server:
        prepare_server(server)
        with connect(server.conninfo(), verb="score") as connection:
            for number, (case, result) in enumerate(lint_against(cases, connection), 1):
                yield from _lint_answers("catalog", case, result)
                _progress("catalog", number, len(cases))
    for case, verdict, said_anything in _squawk(cases, major):
        yield "squawk", case, verdict, said_anything
    if rehearse:
        with start_servers(major) as servers:
            for number, case in enumerate(cases, 1):
                with TemporaryDirectory() as folder:
                    receipt = rehearse_case(case, servers, Path(folder))
                yield "rehearsal", case, rehearsal_verdict(receipt), receipt.verdict != "clean"
                _progress("rehearsal", number, len(cases))


def _lint_answers(way: str, case: Case, result: LintResult | None) -> Iterator[tuple[str, Case, Verdict, bool]]:
    for level in (Level.ERROR, Level.WARNING, *([Level.INFO] if way == "lint" else [])):
        yield f"{way} {level.value}", case, lint_verdict(result, level), result is None or result.reaches(level)


def _squawk(cases: Iterable[Case], major: int) -> Iterator[tuple[Case, Verdict, bool]]:
    """One run for each transaction mode, as squawk's users would set it."""
    by_mode: dict[TransactionMode, list[Case]] = {}
    for case in cases:
        by_mode.setdefault(case.mode, []).append(case)
    for mode, group in by_mode.items():
        with TemporaryDirectory() as folder:
            files = {Path(folder) / f"{case.id}.sql": case for case in group}
            for path, case in files.items():
                path.write_bytes(case.migration.encode())
            wrapped = ["--assume-in-transaction"] if mode is TransactionMode.FILE else []
            command = [str(SQUAWK), "--reporter", "json", "--pg-version", str(major), *wrapped, *map(str, files)]
            answer = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
        for path, case in files.items():
            said = [each for each in answer if each["file"] == str(path)]
            labels = {label for each in said for label in RULES.get(each["rule_name"], ())}
            locks = [LOCK.search(each["help"] or "") for each in said if each["rule_name"] == "require-lock-timeout"]
            modes = [LockMode[lock[1].replace(" ", "_")] for lock in locks if lock is not None]
            lock = max(modes, key=lambda mode: mode.strength, default=None)
            yield case, Verdict(labels=frozenset(labels), lock=lock), bool(said)


def _print_table(scores: dict[str, Score], alarms: dict[str, set[str]], tools: list[str], harmless: int) -> None:
    print("right/missed/not visible/false, recall precision")
    print(f"{'':22}" + "".join(f"{tool:>24}" for tool in tools))
    for label in LABELS:
        cells = []
        for tool in tools:
            tally = scores[tool].tallies[label]
            wrong = (tally.false_negatives, tally.not_visible, tally.false_positives)
            counts = "/".join([str(tally.true_positives), *(str(len(ids)) for ids in wrong)])
            cells.append(f"{counts:>12} {tally.recall:5.0%} {tally.precision:5.0%}")
        print(f"{label:22}" + "".join(f"{cell:>24}" for cell in cells))
    print(f"{f'of {harmless} harmless, told':22}" + "".join(f"{len(alarms[tool]):>24}" for tool in tools))


def _keep(scores: dict[str, Score], alarms: dict[str, set[str]], major: int) -> None:
    """The test of the corpus allows these, and no more."""
    known = json.loads(KNOWN_WRONG.read_text(encoding="utf-8")) if KNOWN_WRONG.exists() else {}
    for tool, score in scores.items():
        way, _, level = tool.partition(" ")
        if way in ("lint", "catalog") and level != "info":
            known[f"{way} {major} {level}"] = score.wrong
    known[TOLD_ALTHOUGH_HARMLESS] = sorted(alarms["lint error"])
    KNOWN_WRONG.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _explain(tool: str, score: Score, alarms: set[str]) -> None:
    print(f"\n{tool}")
    for label, tally in score.tallies.items():
        for word, ids in (
            ("missed", tally.false_negatives),
            ("not visible", tally.not_visible),
            ("false", tally.false_positives),
        ):
            if ids:
                print(f"  {label} {word}: {' '.join(ids)}")
    if alarms:
        print(f"  harmless, yet told: {' '.join(sorted(alarms))}")


def _progress(what: str, number: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what} {number}/{of} ", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
