"""A baseline: the findings of migrations that were written before anybody looked, accepted as they are.

A finding is known again by file, hazard, relation and its statement's text, so lines may move; a statement that is
changed is judged anew.  Files count from the baseline's own directory.
"""

import bisect
import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pgrehearse.errors import ConfigurationError
from pgrehearse.hazards.finding import Finding
from pgrehearse.hazards.lint import LintResult

FORMAT = 1

Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was accepted, each as often as it was found."""

    directory: Path
    entries: Counter[Key]

    def matcher(self, result: LintResult) -> "Matcher":
        """Takes each entry once for the findings of one lint."""
        return Matcher(_Digests(result), self.directory, Counter(self.entries))


class Matcher:
    """What is left of a baseline while findings are held against it."""

    def __init__(self, digests: "_Digests", directory: Path, left: Counter[Key]) -> None:
        self._digests, self._directory, self._left = digests, directory, left

    def takes(self, finding: Finding) -> bool:
        """Whether the baseline has it; each entry once."""
        key = _key(finding, self._digests, self._directory)
        if self._left[key] == 0:
            return False
        self._left[key] -= 1
        return True


def read_baseline(path: Path) -> Baseline:
    """Raises `ConfigurationError` (exit 2) for a file that is not there, or is no baseline."""
    write_it = f"Write it with `pgrehearse lint --baseline {path} --write-baseline`."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}", remedy=write_it) from None
    except ValueError:
        raise ConfigurationError(f"{path}: is not JSON", remedy=write_it) from None
    try:
        if content["format"] != FORMAT:
            raise ConfigurationError(f"{path}: format {content['format']!r}, expected {FORMAT}", remedy=write_it)
        entries = Counter(
            (str(each["file"]), str(each["hazard"]), str(each["relation"]), str(each["statement"]))
            for each in content["findings"]
        )
    except (KeyError, TypeError):
        raise ConfigurationError(f"{path}: is no baseline of findings", remedy=write_it) from None
    return Baseline(directory=path.resolve().parent, entries=entries)


def write_baseline(path: Path, result: LintResult) -> int:
    """Write the findings, sorted, one on each line so that differences read well; how many there were."""
    digests, directory = _Digests(result), path.resolve().parent
    keys = sorted(_key(finding, digests, directory) for finding in result.findings)
    names = ("file", "hazard", "relation", "statement")
    lines = ",\n".join(json.dumps(dict(zip(names, key, strict=True)), ensure_ascii=False) for key in keys)
    try:
        path.write_text(f'{{"format": {FORMAT}, "findings": [\n{lines}\n]}}\n', encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be written: {error.strerror}", remedy="Name a file in a directory that exists."
        ) from None
    return len(keys)


class _Digests:
    """The digest of the statement that stands at a place."""

    def __init__(self, result: LintResult) -> None:
        self._starts: dict[str, list[tuple[int, str]]] = {}
        for statement in result.statements:
            self._starts.setdefault(statement.file, []).append((statement.line, statement.sql))

    def at(self, file: str | None, line: int | None) -> str:
        starts = self._starts.get(file or "", [])
        index = bisect.bisect_right(starts, line or 0, key=lambda start: start[0])
        text = " ".join(starts[index - 1][1].split()) if index else ""
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _key(finding: Finding, digests: _Digests, directory: Path) -> Key:
    file = Path(os.path.relpath(finding.file or "", directory)).as_posix() if finding.file else ""
    return file, finding.hazard, finding.relation or "", digests.at(finding.file, finding.line)
