"""Findings that the team knows and accepts: by a comment with its reason, by configuration, by a baseline file.

They are not thrown away: the answer tells them under ``suppressed``, with what silenced them and why.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from pgrehearse.hazards.allow import Allow, covered, read_allows
from pgrehearse.hazards.baseline import Baseline
from pgrehearse.hazards.finding import Finding, Level
from pgrehearse.hazards.lint import LintResult
from pgrehearse.migrations.migration import Migration


class Silencer(Enum):
    """What a finding was silenced by."""

    COMMENT = "comment"
    CONFIGURATION = "configuration"
    BASELINE = "baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """A finding that counts for nothing, and why."""

    finding: Finding
    by: Silencer
    reason: str | None  # a comment's; the others give none

    def as_json(self) -> dict[str, Any]:
        """As `lint.schema.json` has it."""
        return {"finding": self.finding.as_json(), "by": self.by.value, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What the configuration says of single hazards."""

    ignore: frozenset[str] = frozenset()
    levels: Mapping[str, Level] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What the team accepts beside its comments: the same for `lint` and for what a rehearsal predicts."""

    weights: Weights = field(default_factory=Weights)
    baseline: Baseline | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A lint's result without what is accepted, and what that was."""

    result: LintResult
    suppressed: tuple[Suppressed, ...] = ()
    unused_allows: tuple[Allow, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As `lint.schema.json` has it."""
        unused = [
            {"file": allow.file, "line": allow.line, "hazard": allow.hazard, "reason": allow.reason}
            for allow in self.unused_allows
        ]
        suppressed = [each.as_json() for each in self.suppressed]
        return {**self.result.as_json(), "suppressed": suppressed, "unused_allows": unused}


def without_accepted(
    result: LintResult,
    migrations: Iterable[Migration],
    accepted: Accepted | None = None,
) -> Judged:
    """Take out what is accepted.  Pure.  Raises `MalformedAllow` (exit 2) for a comment that cannot be read."""
    accepted = accepted or Accepted()
    weights, baseline = accepted.weights, accepted.baseline
    allows = read_allows(migrations)
    allowed = _Allowed(allows, result)
    known = baseline.matcher(result) if baseline is not None else None
    kept: list[Finding] = []
    suppressed: list[Suppressed] = []
    for finding in result.findings:
        allow = allowed.find(finding)
        if allow is not None:
            suppressed.append(Suppressed(finding=finding, by=Silencer.COMMENT, reason=allow.reason))
        elif finding.hazard in weights.ignore:
            suppressed.append(Suppressed(finding=finding, by=Silencer.CONFIGURATION, reason=None))
        elif known is not None and known.takes(finding):
            suppressed.append(Suppressed(finding=finding, by=Silencer.BASELINE, reason=None))
        else:
            level = weights.levels.get(finding.hazard)
            kept.append(finding if level is None else replace(finding, level=level))
    return Judged(
        result=replace(result, findings=tuple(kept)),
        suppressed=tuple(suppressed),
        unused_allows=tuple(allow for allow in allows if allow not in allowed.used),
    )


class _Allowed:
    """Which allow speaks of which lines."""

    def __init__(self, allows: Iterable[Allow], result: LintResult) -> None:
        self.used: set[Allow] = set()
        self._by_place: dict[tuple[str, str], list[tuple[int, int, Allow]]] = {}
        places: dict[str, list[tuple[int, int]]] = {}
        allows = tuple(allows)
        if not allows:
            return
        for statement in result.statements:
            last = statement.line + statement.sql.count("\n")
            places.setdefault(statement.file, []).append((statement.line, last))
        for allow in allows:
            for first, last in covered(allow, places.get(allow.file, [])):
                self._by_place.setdefault((allow.file, allow.hazard), []).append((first, last, allow))

    def find(self, finding: Finding) -> Allow | None:
        if finding.file is None or finding.line is None:
            return None
        for first, last, allow in self._by_place.get((finding.file, finding.hazard), []):
            if first <= finding.line <= last:
                self.used.add(allow)
                return allow
        return None
