"""Which .env files hold a PostgreSQL URL, and under which name.  Values are looked at, never kept."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pgrehearse.errors import MalformedConninfo
from pgrehearse.postgres.conninfo import Conninfo

_SAMPLES = ("example", "sample", "template", "dist", "defaults", "vault")
_SCHEMES = ("postgres://", "postgresql://")
_DIRECT_NAME = re.compile(r"UNPOOLED|NON_POOLING|DIRECT", re.IGNORECASE)
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "db", "postgres", "host.docker.internal"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlVariable:
    """One variable that holds a PostgreSQL URL."""

    name: str
    is_local: bool  # this machine, a socket, or a neighbour in docker compose
    is_pooled: bool  # leads through a connection pooler, which cannot keep a session

    @property
    def says_direct(self) -> bool:
        """DATABASE_URL_UNPOOLED, DIRECT_URL, POSTGRES_URL_NON_POOLING."""
        return _DIRECT_NAME.search(self.name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvFile:
    """One .env file and the variables in it that hold PostgreSQL URLs."""

    name: str
    variables: tuple[UrlVariable, ...]

    def preferred(self, wanted: str | None) -> UrlVariable:
        """The variable to use: one that keeps a session, then the wanted name, then DATABASE_URL."""
        return min(
            self.variables,
            key=lambda each: (each.is_pooled, each.name != wanted, each.name != "DATABASE_URL", each.says_direct),
        )


def find_env_files(directory: Path) -> tuple[EnvFile, ...]:
    """The .env files of the directory that hold at least one URL, by name; samples are passed over."""
    found = []
    for file in sorted([directory / ".env", *directory.glob(".env.*")]):
        if not file.is_file() or file.name.lower().endswith(_SAMPLES):
            continue
        variables = tuple(_url_variables(file))
        if variables:
            found.append(EnvFile(name=file.name, variables=variables))
    return tuple(found)


def _url_variables(file: Path) -> Iterable[UrlVariable]:
    from dotenv import dotenv_values

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return
    for name, value in dotenv_values(stream=io.StringIO(text)).items():
        if value is None or not value.startswith(_SCHEMES):
            continue
        try:
            host = Conninfo.parse(value).parameters.get("host", "")
        except MalformedConninfo:
            host = "unreadable"  # whoever runs a command with it is told what is wrong
        is_local = host.startswith("/") or host in _LOCAL_HOSTS or not host
        is_pooled = "pooler" in host or ":6543" in value
        yield UrlVariable(name=name, is_local=is_local, is_pooled=is_pooled)
