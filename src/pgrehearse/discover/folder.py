"""What a project's folder holds: its migrations, its databases, and what could not be told."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pgrehearse.discover.drizzle_config import DrizzleConfig, read_drizzle_config
from pgrehearse.discover.env_files import EnvFile, find_env_files
from pgrehearse.errors import ConfigurationError, MalformedSource, SourceNotFound
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.sources.layout import find_layout

USUAL_FOLDERS = (
    "drizzle",
    "migrations",
    "db/migrations",
    "db",
    "src/db/migrations",
    "src/drizzle",
    "database/migrations",
    "supabase/migrations",
    "sql",
    ".",
)
NOT_THE_TEAMS_OWN = frozenset({"node_modules", "vendor", "venv", "dist", "build", "target"})
DEFAULT_VARIABLE = "DATABASE_URL"
_PRISMA_MARK = "migration_lock.toml"  # its folders look like drizzle 1.0's, but its ledger is another
_PRODUCTION = frozenset({"production", "prod", "prd", "live"})
_NO_PRODUCTION = frozenset({"development", "dev", "test", "testing", "ci", "e2e", "qa", "staging", "uat", "preview"})
_NAMES = {**dict.fromkeys(_PRODUCTION, "prd"), "staging": "uat", "uat": "uat", "development": "dev", "dev": "dev"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMigrations:
    """A folder of migrations."""

    path: str
    kind: SourceKind | None  # None: named by the drizzle config, and not there yet


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEnvironment:
    """A database that pgrehearse.toml will name."""

    name: str
    url_variable: str
    env_file: str | None  # None: the variable is taken from the environment
    protected: bool
    is_guess: bool  # protected because its host is remote and nothing says what it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """All that `init` writes down."""

    migrations: FoundMigrations | None
    drizzle: DrizzleConfig | None
    env_files: tuple[EnvFile, ...]
    environments: tuple[FoundEnvironment, ...]  # never empty: production's is always written, found or not
    notes: tuple[str, ...]  # what was found and not used, in full sentences


def discover(directory: Path) -> Discovered:
    """Look at the folder.  Reads files only; runs nothing, connects nowhere.

    Raises `ConfigurationError` (exit 2) when the folder is none, or drizzle's dialect is not PostgreSQL.
    """
    if not directory.is_dir():
        raise ConfigurationError(f"there is no folder {directory}", remedy="Name the project's folder.")
    notes: list[str] = []
    drizzle = read_drizzle_config(directory)
    if drizzle is not None:
        notes.extend(_drizzle_notes(drizzle))
    migrations = _migrations(directory, drizzle, notes)
    env_files = find_env_files(directory)
    return Discovered(
        migrations=migrations,
        drizzle=drizzle,
        env_files=env_files,
        environments=_environments(drizzle, env_files),
        notes=tuple(notes),
    )


def _drizzle_notes(drizzle: DrizzleConfig) -> list[str]:
    notes = []
    if drizzle.out is None:
        notes.append(f"{drizzle.file} computes `out`; migrations.path must be checked.")
    if drizzle.has_literal_url:
        notes.append(f"{drizzle.file} holds a database URL in plain text; it was not copied. Move it into a variable.")
    return notes


def _migrations(directory: Path, drizzle: DrizzleConfig | None, notes: list[str]) -> FoundMigrations | None:
    if drizzle is not None and drizzle.out is not None:
        kind = _layout(directory, drizzle.out, notes)
        if kind is None:
            notes.append(f"{drizzle.out}, which {drizzle.file} names, holds no migrations yet.")
        return FoundMigrations(path=drizzle.out, kind=kind)
    found = [(path, kind) for path in USUAL_FOLDERS if (kind := _layout(directory, path, notes)) is not None]
    found = found or _elsewhere(directory)
    if not found:
        return None
    notes.extend(f"{path} holds migrations too; only one folder can be configured." for path, _ in found[1:])
    path, kind = found[0]
    return FoundMigrations(path=path, kind=kind)


def _elsewhere(directory: Path) -> list[tuple[str, SourceKind]]:
    """Folders with migrations whose names are not usual, at most two steps down; nearer ones first."""
    near = _folders(directory)
    found = []
    for folder in (*near, *(below for each in near for below in _folders(each))):
        path = folder.relative_to(directory).as_posix()
        if (kind := _layout(directory, path, [])) is not None:
            found.append((path, kind))
    return found


def _folders(directory: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(
            each
            for each in directory.iterdir()
            if each.is_dir()
            and not each.name.startswith(".")
            and each.name not in NOT_THE_TEAMS_OWN
            and not (each / _PRISMA_MARK).exists()
        )
    return []


def _layout(directory: Path, path: str, notes: list[str]) -> SourceKind | None:
    folder = directory / path
    if (folder / _PRISMA_MARK).exists():
        notes.append(f"{path} is a Prisma folder, which pgrehearse does not read.")
        return None
    try:
        return find_layout(folder, path)
    except SourceNotFound:
        return None
    except MalformedSource as error:
        notes.append(f"{error}.")
        return None


def _environments(drizzle: DrizzleConfig | None, env_files: tuple[EnvFile, ...]) -> tuple[FoundEnvironment, ...]:
    wanted = drizzle.url_variable if drizzle is not None else None
    found: dict[str, FoundEnvironment] = {}
    for env_file in env_files:
        environment = _environment_of(env_file, wanted)
        if environment.name in found:
            environment = replace(environment, name=env_file.name.strip(".").replace(".", "-"))
        found[environment.name] = environment
    protected = [environment for environment in found.values() if environment.protected]
    if not protected:
        found["prd"] = _expected_production(wanted, found.values())
    elif "prd" not in found:  # nothing says "production", so the remote host is taken for it
        del found[protected[0].name]
        found["prd"] = replace(protected[0], name="prd")
    # Production first: it is what `run` clones when nothing else is named.
    return tuple(sorted(found.values(), key=lambda each: (not each.protected, each.is_guess, each.name)))


def _environment_of(env_file: EnvFile, wanted: str | None) -> FoundEnvironment:
    """A file's name tells what it is; where it does not, a remote host counts as production."""
    variable = env_file.preferred(wanted)
    suffix = env_file.name.removeprefix(".env").strip(".").removesuffix(".local")
    suffix = re.sub(r"[^A-Za-z0-9_-]+", "-", suffix)
    words = set(re.split(r"[-_]", suffix.lower()))
    is_production = bool(words & _PRODUCTION)
    is_guess = not is_production and not words & _NO_PRODUCTION and not variable.is_local
    return FoundEnvironment(
        name=_NAMES.get(suffix.lower(), suffix or "dev"),
        url_variable=variable.name,
        env_file=env_file.name,
        protected=is_production or is_guess,
        is_guess=is_guess,
    )


def _expected_production(wanted: str | None, others: Iterable[FoundEnvironment]) -> FoundEnvironment:
    """Production's URL was found nowhere: its variable is expected in the environment."""
    name = wanted or DEFAULT_VARIABLE
    if name in {other.url_variable for other in others}:  # exported, it may well be the development database's
        name = f"PRODUCTION_{name}"
    return FoundEnvironment(name="prd", url_variable=name, env_file=None, protected=True, is_guess=False)
