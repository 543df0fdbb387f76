"""Write pgrehearse.toml: look, write once, say what was found and what comes next."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgrehearse.discover.folder import Discovered, discover
from pgrehearse.discover.toml_text import toml_text
from pgrehearse.errors import ConfigurationError
from pgrehearse.migrations.migration import SourceKind

FILE_NAME = "pgrehearse.toml"
_KINDS = {
    SourceKind.DRIZZLE_JOURNAL: "drizzle migrations (journal)",
    SourceKind.DRIZZLE_FOLDER: "drizzle migrations (folders)",
    SourceKind.SQL_FOLDER: "SQL files",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """What `init` found and wrote."""

    file: str
    discovered: Discovered
    next_step: str

    def found_lines(self) -> Iterator[str]:
        """What was found, one thing a line; names of variables, never values."""
        found = self.discovered
        if found.drizzle is not None:
            yield found.drizzle.file
        if found.migrations is not None and found.migrations.kind is not None:
            yield f"{found.migrations.path}: {_KINDS[found.migrations.kind]}"
        for env_file in found.env_files:
            yield f"{env_file.name}: {', '.join(variable.name for variable in env_file.variables)}"
        if found.drizzle is None and found.migrations is None and not found.env_files:
            yield "nothing to go by; the file is a template"

    def as_json(self) -> dict[str, Any]:
        """As `init.schema.json` has it."""
        found = self.discovered
        kind = found.migrations.kind if found.migrations else None
        return {
            "format": 1,
            "file": self.file,
            "drizzle_config": found.drizzle.file if found.drizzle else None,
            "migrations": {"path": found.migrations.path, "kind": kind.value if kind else None}
            if found.migrations
            else None,
            "env_files": [
                {"name": each.name, "variables": [variable.name for variable in each.variables]}
                for each in found.env_files
            ],
            "environments": [
                {
                    "name": each.name,
                    "url_env": each.url_variable,
                    "env_file": each.env_file,
                    "protected": each.protected,
                }
                for each in found.environments
            ],
            "notes": list(found.notes),
            "next": self.next_step,
        }


def initialise(directory: Path, *, force: bool) -> Initialised:
    """Discover and write.  Raises `ConfigurationError` (exit 2) where the file exists, unless forced."""
    file = directory / FILE_NAME
    if not force and (file.exists() or file.is_symlink()):
        raise ConfigurationError(f"{file} is there already", remedy="Edit it, or overwrite it with --force.")
    found = discover(directory)
    try:
        _write(file, toml_text(found), overwrite=force)
    except FileExistsError:
        raise ConfigurationError(f"{file} has just appeared", remedy="Somebody else wrote it; look at it.") from None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}", remedy="Check the rights.") from None
    return Initialised(file=str(file), discovered=found, next_step=_next_step(directory, found))


def _write(file: Path, text: str, *, overwrite: bool) -> None:
    """Never over somebody's file unless told so, and then whole or not at all."""
    if not overwrite:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
        return
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


def _next_step(directory: Path, found: Discovered) -> str:
    into = "" if directory == Path() else f"cd {directory} && "
    if found.migrations is None:
        return f"write the folder of your migrations into {FILE_NAME} as migrations.path"
    first = found.environments[0]
    if first.env_file is None and first.url_variable not in os.environ:
        return f"export {first.url_variable} with production's URL, then: {into}pgrehearse status {first.name}"
    return f"{into}pgrehearse status {first.name}"
