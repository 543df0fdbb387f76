"""drizzle-kit's configuration file, read as text: nothing is run, and no Node is needed."""

import re
from dataclasses import dataclass
from pathlib import Path

from pgrehearse.discover.javascript_literals import (
    Literal,
    environment_variables,
    object_literals,
    read_tokens,
    string_of,
)
from pgrehearse.errors import ConfigurationError

FILE_NAMES = tuple(f"drizzle.config.{suffix}" for suffix in ("ts", "mts", "cts", "js", "mjs", "cjs", "json"))
DEFAULT_OUT = "drizzle"  # drizzle-kit's own
_URL_LIKE = re.compile(r"UR[LI]|DSN|CONNECTION_STRING", re.IGNORECASE)
_TELLING_KEYS = frozenset({"dialect", "driver", "out", "schema", "dbCredentials"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DrizzleConfig:
    """What it says that concerns us; None where it is computed or absent."""

    file: str
    out: str | None  # the migrations folder, from the directory where drizzle-kit is run
    dialect: str | None
    ledger_namespace: str | None
    ledger_table: str | None
    url_variable: str | None
    has_literal_url: bool  # an address written into the file; it is never copied or shown


def read_drizzle_config(directory: Path) -> DrizzleConfig | None:
    """The drizzle-kit configuration in this directory; None where there is none.

    Raises `ConfigurationError` (exit 2) for a dialect other than PostgreSQL's.
    """
    file = next((directory / name for name in FILE_NAMES if (directory / name).is_file()), None)
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise ConfigurationError(f"{file.name} cannot be read: {error.strerror}", remedy="Check its rights.") from None
    found = parse_drizzle_config(file.name, text)
    if found.dialect not in (None, "postgresql"):
        raise ConfigurationError(
            f"{file.name}: dialect is {found.dialect!r}, needed is 'postgresql'",
            remedy="pgrehearse rehearses PostgreSQL migrations only; name another folder if this is not the one.",
        )
    return found


def parse_drizzle_config(file_name: str, text: str) -> DrizzleConfig:
    """Read the configuration's text."""
    tokens = read_tokens(text)
    literals = object_literals(tokens)
    config = max(literals, key=lambda literal: len(_TELLING_KEYS & literal.keys()), default={})
    address = config.get("dbCredentials.url") or config.get("dbCredentials.connectionString")
    # A variable that was read into a constant first: the only URL-like one of the file.
    candidates = environment_variables(address or ()) or tuple(
        dict.fromkeys(name for name in environment_variables(tokens) if _URL_LIKE.search(name))
    )
    literal_url = string_of(address)
    return DrizzleConfig(
        file=file_name,
        out=_folder(config),
        dialect=_dialect(config),
        ledger_namespace=string_of(config.get("migrations.schema")),
        ledger_table=string_of(config.get("migrations.table")),
        url_variable=candidates[0] if candidates and (address or len(candidates) == 1) else None,
        has_literal_url=literal_url is not None and "://" in literal_url,
    )


def _folder(config: Literal) -> str | None:
    if "out" not in config:
        return DEFAULT_OUT
    out = string_of(config["out"])
    return None if out is None else out.removeprefix("./").rstrip("/") or "."


def _dialect(config: Literal) -> str | None:
    dialect = string_of(config.get("dialect"))
    if dialect is not None:
        return dialect
    driver = string_of(config.get("driver"))  # before drizzle-kit 0.21
    if driver is None:
        return None
    return "postgresql" if driver in ("pg", "pglite", "aws-data-api") else driver
