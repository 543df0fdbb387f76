"""Findings as SARIF 2.1.0 (OASIS), for code scanning; and as the workflow commands of GitHub Actions."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from pgrehearse import __version__
from pgrehearse.hazards.catalogue import CATALOGUE
from pgrehearse.hazards.finding import Finding, Level
from pgrehearse.hazards.suppress import Judged, Silencer

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
HOME = "https://github.com/pgrehearse/pgrehearse"
_LEVELS = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "note"}
_COMMANDS = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "notice"}


def as_sarif(judged: Judged) -> dict[str, Any]:
    """The whole answer as one SARIF log of one run.

    What was accepted is there too, as suppressed results; what lint cannot see, as notifications of the tool.
    """
    told = [*judged.result.findings, *(each.finding for each in judged.suppressed)]
    rules = {hazard: index for index, hazard in enumerate(sorted({finding.hazard for finding in told}))}
    results = [_result(finding, rules) for finding in judged.result.findings]
    for each in judged.suppressed:
        suppression = {"kind": "inSource" if each.by is Silencer.COMMENT else "external"}
        suppression["justification"] = each.reason or f"accepted by {each.by.value}"
        results.append({**_result(each.finding, rules), "suppressions": [suppression]})
    driver = {
        "name": "pgrehearse",
        "version": __version__,
        "informationUri": HOME,
        "rules": [_rule(hazard) for hazard in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not judged.result.faults,
                "toolExecutionNotifications": list(_notifications(judged)),
            }
        ],
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def as_github(judged: Judged) -> Iterator[str]:
    """One workflow command a line: GitHub shows each beside the line of the pull request that it is about."""
    for finding in judged.result.findings:
        place = _github_place(finding.file, finding.line, finding.column, finding.hazard)
        text = f"{finding.message}\n{finding.remedy}"
        yield f"::{_COMMANDS[finding.level]} {place}::{_escaped(text)}"
    for hidden in judged.result.not_visible:
        place = _github_place(hidden.file, hidden.line, None, "not visible to lint")
        yield f"::{'error' if hidden.fault else 'notice'} {place}::{_escaped(hidden.reason)}"
    for allow in judged.unused_allows:
        place = _github_place(allow.file, allow.line, None, "unused allow")
        yield f"::warning {place}::{_escaped(f'allows {allow.hazard}, which is not found there')}"


def _rule(hazard: str) -> dict[str, Any]:
    record = CATALOGUE[hazard]
    effect = record.message({})
    return {
        "id": hazard,
        "shortDescription": {"text": effect},
        "help": {"text": record.safe_way({})},
        "helpUri": f"{HOME}/blob/main/docs/hazards/{hazard}.md",
        "defaultConfiguration": {"level": _LEVELS[record.level]},
        "properties": {"tags": [each.value for each in record.classes]},
    }


def _result(finding: Finding, rules: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.hazard,
        "ruleIndex": rules[finding.hazard],
        "level": _LEVELS[finding.level],
        "message": {"text": f"{finding.message}\n\n{finding.remedy}"},
        "properties": {
            "classes": [each.value for each in finding.classes],
            "evidence": finding.evidence.value,
            "relation": finding.relation,
            "measured": dict(finding.measured),
        },
    }
    if finding.file is not None:
        result["locations"] = [_location(finding.file, finding.line, finding.column)]
    return result


def _notifications(judged: Judged) -> Iterator[dict[str, Any]]:
    for hidden in judged.result.not_visible:
        text = f"not visible to lint: {hidden.reason}"
        level = "error" if hidden.fault else "note"
        yield {"level": level, "message": {"text": text}, "locations": [_location(hidden.file, hidden.line, None)]}
    for allow in judged.unused_allows:
        text = f"allows {allow.hazard}, which is not found there"
        yield {"level": "warning", "message": {"text": text}, "locations": [_location(allow.file, allow.line, None)]}


def _location(file: str, line: int | None, column: int | None) -> dict[str, Any]:
    path = PurePath(file)
    artifact: dict[str, Any] = {"uri": path.as_uri() if path.is_absolute() else quote(path.as_posix())}
    physical: dict[str, Any] = {"artifactLocation": artifact}
    if line is not None:
        physical["region"] = {"startLine": line, **({"startColumn": column} if column is not None else {})}
    return {"physicalLocation": physical}


def _github_place(file: str | None, line: int | None, column: int | None, title: str) -> str:
    parts = {"file": file, "line": line, "col": column, "title": title}
    return ",".join(f"{key}={_escaped(str(value), more=':,')}" for key, value in parts.items() if value is not None)


def _escaped(text: str, *, more: str = "") -> str:
    """As GitHub's own toolkit escapes a command's message and, with ``:`` and ``,``, its properties."""
    for letter in "%\r\n" + more:
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text
