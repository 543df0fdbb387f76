"""What to type next, as a person would go on from what was typed."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgrehearse.config import ResolvedDatabase


class Words:
    """The command lines that go on from what was typed: the same configuration, database and folder."""

    def __init__(
        self, config_file: str | None, typed: str | None, database: "ResolvedDatabase", folder: Path | None
    ) -> None:
        self._program = ["pgrehearse", *(["--config", config_file] if config_file is not None else [])]
        self._is_default = typed is None  # the only protected environment, which the other commands mean too
        # A URL may hold a password: it is not repeated.
        named = database.label if database.label.startswith("env:") else database.environment
        self._database = named or "URL"
        self._environment = None if database.protected else database.environment
        self._folder = [] if folder is None else [str(folder)]

    def run(self) -> str:
        source = [] if self._is_default else ["--source", self._database]
        return self._line("run", *source, *(["--migrations", *self._folder] if self._folder else []))

    def or_migrate(self) -> str:
        """Only what is not protected is written to without a rehearsal."""
        if self._environment is None:
            return ""
        return f", or apply without a rehearsal: `{self._line('migrate', self._environment, *self._folder)}`"

    def approve(self, digest: str) -> str:
        return self._line("approve", digest[:12])

    def promote(self, digest: str) -> str:
        to = [] if self._is_default else ["--to", self._database]
        return self._line("promote", digest[:12], *to, *(["--migrations", *self._folder] if self._folder else []))

    def _line(self, *words: str) -> str:
        return shlex.join([*self._program, *words])
