"""Each hazard's bad and good script: what the pages show, and what the tests run on a server.

A script may begin with lines for the tests: ``-- fails: SQLSTATE`` (it must), ``-- needs: catalog`` (lint knows it
only with `--against`), ``-- needs: size`` (and only of a large table), ``-- needs: rehearsal`` (lint never does),
``-- not run: REASON``, ``-- tool: drizzle`` (drizzle wraps it; else each statement is by itself).
"""

import re
from dataclasses import dataclass
from importlib.resources import files

from pgrehearse.hazards.finding import Finding
from pgrehearse.hazards.lint import LintResult, lint_files
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration, SourceKind

_FOR_TESTS = re.compile(r"^-- (fails|needs|not run|tool): (.*)\n", re.MULTILINE)
BAD, GOOD, SETUP = "bad.sql", "good.sql", "setup.sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One hazard's scripts as they stand in its folder."""

    hazard: str
    setup: str  # the tables that they speak of
    bad: str
    good: str

    @classmethod
    def read(cls, hazard: str) -> "Example":
        """From the package; without a setup of its own, a small shop's."""
        root = files("pgrehearse.hazards") / "cases"
        folder = root / hazard
        own = folder / SETUP
        setup = own if own.is_file() else root / SETUP
        texts = [each.read_text(encoding="utf-8") for each in (setup, folder / BAD, folder / GOOD)]
        return cls(hazard=hazard, setup=texts[0], bad=texts[1], good=texts[2])

    def lint(self, script: str) -> LintResult:
        """What lint says of a script where the setup's tables are known; of the setup itself nothing."""
        texts = {SETUP: self.setup, BAD: script}
        drizzle = for_tests(script).get("tool") == "drizzle"
        kind = SourceKind.DRIZZLE_JOURNAL if drizzle else SourceKind.AD_HOC
        migrations = [
            Migration(version=name, name=name, path=name, kind=kind, content=text.encode())
            for name, text in texts.items()
        ]
        result = lint_files(migrations, transaction=TransactionMode.AUTO if drizzle else TransactionMode.STATEMENT)
        return LintResult(
            files=(BAD,),
            findings=tuple(each for each in result.findings if each.file == BAD),
            statements=tuple(each for each in result.statements if each.file == BAD),
            not_visible=tuple(each for each in result.not_visible if each.file == BAD),
        )

    def finding(self) -> Finding | None:
        """What lint says of the bad script; None where only a catalog could tell."""
        return next((each for each in self.lint(self.bad).findings if each.hazard == self.hazard), None)


def shown(script: str) -> str:
    """A script as a reader sees it."""
    return _FOR_TESTS.sub("", script).strip()


def for_tests(script: str) -> dict[str, str]:
    """The lines that speak to the tests."""
    return dict(_FOR_TESTS.findall(script))
