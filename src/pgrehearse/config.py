"""pgrehearse.toml as frozen facts, and which database a word on the command line means.

Only `project.py` and the faces know this module; everything else gets ordinary arguments.  Every
mistake in the file is one line that names the file, the key and the remedy (exit 2).
"""

import difflib
import io
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field, ValidationError

from pgrehearse.config_sections import (
    Application,
    Backup,
    Checks,
    Clone,
    Environment,
    Ledger,
    Lint,
    Migrations,
    Promotion,
    Queries,
    Rehearsal,
    Section,
)
from pgrehearse.errors import ConfigurationError, MalformedConninfo, SourceNotFound
from pgrehearse.postgres.conninfo import Conninfo

if TYPE_CHECKING:
    from pgrehearse.hazards.suppress import Accepted

FILE_NAME = "pgrehearse.toml"
VARIABLE_PREFIX = "env:"
ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Config(Section):
    """The whole file.  Relative paths count from the directory that holds it."""

    environments: dict[str, Environment] = Field(default_factory=dict)
    migrations: Migrations = Migrations()
    lint: Lint = Lint()
    clone: Clone = Clone()
    rehearsal: Rehearsal = Rehearsal()
    checks: Checks = Checks()
    queries: Queries = Queries()
    application: Application = Application()
    promotion: Promotion = Promotion()
    backup: Backup = Backup()
    ledger: Ledger = Ledger()
    file: Path = Field(exclude=True)  # where it was read from; not a key

    @property
    def directory(self) -> Path:
        return self.file.parent

    def located(self, path: str) -> Path:
        """A path of the file as seen from here."""
        return self.directory / Path(path).expanduser()

    def migrations_folder(self) -> Path | None:
        """Where migrations.path leads; None where it is not set.  Raises `SourceNotFound` where nothing is there."""
        if self.migrations.path is None:
            return None
        folder = self.located(self.migrations.path)
        try:
            folder.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise SourceNotFound(
                f"{self.file.name}: migrations.path: there is no folder {self.migrations.path} (looked for {folder})",
                remedy="Set migrations.path to the folder that holds the migrations, as seen from that file.",
            ) from None
        except OSError:  # whoever reads it says what stands in the way
            pass
        return folder

    def accepted_findings(self, *, without_baseline: bool = False) -> "Accepted":
        """What ``[lint]`` accepts; raises `ConfigurationError` for a baseline that cannot be read."""
        from pgrehearse.hazards.baseline import read_baseline  # it brings the parser, which few commands need
        from pgrehearse.hazards.finding import Level
        from pgrehearse.hazards.suppress import Accepted, Weights

        levels = {hazard: Level(level) for hazard, level in self.lint.levels.items()}
        named = None if without_baseline else self.lint.baseline
        return Accepted(
            weights=Weights(ignore=frozenset(self.lint.ignore), levels=levels),
            baseline=read_baseline(self.located(named)) if named is not None else None,
        )

    def conninfo(self, name: str) -> Conninfo:
        """The address of an environment.

        Reads its variable, from the `env_file` alone where one is named: several environments share
        the name DATABASE_URL, so a variable that happens to be exported must not stand in for a
        missing file.  Raises `ConfigurationError` naming file, key and variable.
        """
        environment = self.environments[name]
        if environment.url is not None:
            return Conninfo.parse(environment.url)
        assert environment.url_env is not None  # held by the validator
        return self._variable(f"environments.{name}", "url_env", environment.url_env, environment.env_file)

    def migrate_conninfo(self, name: str) -> Conninfo | None:
        """The address that migrations log in with, where it is another; raises as `conninfo` does."""
        environment = self.environments[name]
        if environment.migrate_url_env is None:
            return None
        where = (f"environments.{name}", "migrate_url_env")
        return self._variable(*where, environment.migrate_url_env, environment.env_file)

    def standby_conninfos(self, name: str) -> tuple[Conninfo, ...]:
        """The addresses of its standbys; raises as `conninfo` does."""
        environment = self.environments[name]
        where = (f"environments.{name}", "standby_url_envs")
        return tuple(
            self._variable(*where, variable, environment.env_file) for variable in environment.standby_url_envs
        )

    def _variable(self, section: str, key: str, variable: str, env_file: str | None) -> Conninfo:
        section = f"{self.file.name}: {section}"
        if env_file is None:
            return _conninfo_from(os.environ, variable, where="the environment", key=f"{section}.{key}")
        variables = read_env_file(self.located(env_file), key=section)
        return _conninfo_from(variables, variable, where=env_file, key=f"{section}.{key}")

    def ledger_conninfo(self) -> Conninfo | None:
        """The release ledger's own database; None where it is a file.  Raises `ConfigurationError`."""
        ledger = self.ledger
        if ledger.url_env is None:
            return None
        return self._variable("ledger", "url_env", ledger.url_env, ledger.env_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedDatabase:
    """The database that a word on the command line stands for."""

    conninfo: Conninfo
    label: str  # for messages: the environment's name, env:NAME, or host/database
    environment: str | None  # None: a plain URL or variable that no configuration speaks of
    protected: bool  # said so by the configuration, also for a plain URL that equals a protected one

    @property
    def protected_as_source(self) -> bool:
        """What counts when it is copied from: an address that nobody described may well be production."""
        return self.protected or self.environment is None


def find_config(start: Path) -> Path | None:
    """The nearest pgrehearse.toml from `start` upwards, no further than the top of the git repository."""
    for directory in (start.resolve(), *start.resolve().parents):
        if (directory / FILE_NAME).is_file():
            return directory / FILE_NAME
        if (directory / ".git").exists():
            return None
    return None


def load_config(path: Path) -> Config:
    """Read the file; raises `ConfigurationError` in one line for its first mistake.  Reads no variable yet."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8", remedy="Save it as UTF-8, as TOML demands.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path.name}: not TOML: {error}", remedy="Mend the line named here.") from None
    _check_keys(path.name, content)
    sections = {key: value for key, value in content.items() if key != "environments"}
    environments = {
        name: _validated(path.name, f"environments.{name}", Environment, given)
        for name, given in content.get("environments", {}).items()
    }
    parsed: dict[str, Any] = {key: _validated(path.name, key, _SECTIONS[key], given) for key, given in sections.items()}
    return Config(environments=environments, file=path.resolve(), **parsed)


def open_config(given: str | None) -> Config | None:
    """The file given with --config, else the nearest one above the working directory; None where there is none."""
    path = find_config(Path.cwd()) if given is None else Path(given)
    return None if path is None else load_config(path)


def require_migrations_folder(given: str | None) -> Path:
    """The folder that the configuration names, as seen from the working directory."""
    config = open_config(given)
    folder = config.migrations_folder() if config is not None else None
    if config is None or folder is None:
        missing = f"there is no {FILE_NAME}" if config is None else f"{config.file.name} has no migrations.path"
        raise ConfigurationError(
            f"no migrations were named, and {missing}", remedy="Name a file or folder, or run `pgrehearse init`."
        )
    try:
        return folder.relative_to(Path.cwd())
    except ValueError:
        return folder


def read_env_file(path: Path, *, key: str) -> Mapping[str, str | None]:
    """The variables of a .env file; ``${OTHER}`` is filled in from the file, then from the environment."""
    from dotenv import dotenv_values

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"{key}.env_file: {path.name} cannot be read: {reason}",
            remedy="Name an existing file, or remove env_file to take the variable from the environment.",
        ) from None
    return dotenv_values(stream=io.StringIO(text))


def resolve_database(text: str, config: Config | None) -> ResolvedDatabase:
    """What `text` names: an environment of the configuration, ``env:NAME`` (a variable), or a URL or libpq keywords.

    Raises `ConfigurationError` (exit 2) for an unknown name, listing the known ones.
    """
    if config is not None and text in config.environments:
        conninfo = config.conninfo(text)
        return ResolvedDatabase(
            conninfo=conninfo,
            label=text,
            environment=text,
            protected=config.environments[text].protected or _repeats_protected(conninfo, config),
        )
    if text.startswith(VARIABLE_PREFIX):
        variable = text.removeprefix(VARIABLE_PREFIX)
        if not ENVIRONMENT_NAME.fullmatch(variable):
            raise ConfigurationError("what stands after env: is no variable's name", remedy="Write env:DATABASE_URL.")
        conninfo = _conninfo_from(os.environ, variable, where="the environment", key=text)
        return _described(conninfo, text, config)
    if "://" in text or "=" in text:
        conninfo = Conninfo.parse(text)
        return _described(conninfo, conninfo.address, config)
    # Only a plain word is repeated: anything else may be a mistyped URL with its password.
    given = repr(text) if ENVIRONMENT_NAME.fullmatch(text) else "what was given"
    known = ", ".join(config.environments) if config is not None else ""
    raise ConfigurationError(
        f"{given} is no environment of {config.file.name}" if config is not None else f"{given}: no {FILE_NAME} here",
        remedy=(f"Known: {known}; or " if known else "Run `pgrehearse init`, or ")
        + "give env:VARIABLE or a postgresql:// URL.",
    )


def _described(conninfo: Conninfo, label: str, config: Config | None) -> ResolvedDatabase:
    """A plain address is as protected as the environment whose address it repeats."""
    twin = next((name for name, known in _addresses(config) if _same_address(known, conninfo)), None)
    return ResolvedDatabase(
        conninfo=conninfo,
        label=label,
        environment=twin,
        protected=config is not None and twin is not None and config.environments[twin].protected,
    )


def _repeats_protected(conninfo: Conninfo, config: Config) -> bool:
    """Whether a protected environment has this very address: known without a handshake, whoever may log in."""
    return any(
        config.environments[name].protected and _same_address(known, conninfo) for name, known in _addresses(config)
    )


def _addresses(config: Config | None) -> Iterator[tuple[str, Conninfo]]:
    """The environments whose variables are at hand, protected ones first."""
    if config is None:
        return
    for name in sorted(config.environments, key=lambda name: not config.environments[name].protected):
        try:
            yield name, config.conninfo(name)
        except ConfigurationError:
            continue


def _same_address(one: Conninfo, other: Conninfo) -> bool:
    """The same text of host, port and database.  Names may differ for one server: the handshake decides that."""
    return _place(one) == _place(other)


def _place(conninfo: Conninfo) -> tuple[str, str, str | None]:
    return conninfo.host.casefold(), conninfo.parameters.get("port", "5432"), conninfo.database


def _conninfo_from(variables: Mapping[str, str | None], name: str, *, where: str, key: str) -> Conninfo:
    value = variables.get(name)
    if not value:
        state = "is not set" if value is None else "is empty"
        raise ConfigurationError(f"{key}: {name} {state} in {where}", remedy=f"Set {name} to the database's URL.")
    try:
        return Conninfo.parse(value)
    except MalformedConninfo as error:
        raise MalformedConninfo(f"{key}: {name} in {where} is {error}") from None


S = TypeVar("S", bound=Section)

_SECTIONS: Mapping[str, type[Section]] = {
    "migrations": Migrations,
    "lint": Lint,
    "clone": Clone,
    "rehearsal": Rehearsal,
    "checks": Checks,
    "queries": Queries,
    "application": Application,
    "promotion": Promotion,
    "backup": Backup,
    "ledger": Ledger,
}


def _check_keys(file_name: str, content: Mapping[str, Any]) -> None:
    """Unknown tables, tables that are none, unusable names.  Keys inside a table are pydantic's to find."""
    for key, given in content.items():
        if key not in (*_SECTIONS, "environments"):
            raise _unknown_key(file_name, key, key, [*_SECTIONS, "environments"])
        if not isinstance(given, dict):
            table = "environments.NAME" if key == "environments" else key
            raise ConfigurationError(f"{file_name}: {key} must be a table", remedy=f"Write [{table}] on its own line.")
    for name, given in content.get("environments", {}).items():
        if not isinstance(given, dict):
            raise ConfigurationError(
                f"{file_name}: environments.{name} must be a table", remedy=f"Write [environments.{name}]."
            )
        if not ENVIRONMENT_NAME.fullmatch(name):
            raise ConfigurationError(
                f"{file_name}: environments.{name!r} is no usable name", remedy="Use letters, digits, - and _ only."
            )


def _validated(file_name: str, table: str, section: type[S], given: dict[str, Any]) -> S:
    try:
        return section.model_validate(given)
    except ConfigurationError as error:
        raise type(error)(f"{file_name}: {table}: {error}", remedy=error.remedy) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise _unknown_key(file_name, f"{table}.{key}", key, list(section.model_fields)) from None
        raise ConfigurationError(
            f"{file_name}: {table}.{key}: {first['msg'][0].lower()}{first['msg'][1:]}",
            remedy="docs/configuration.md lists every key.",
        ) from None


def _unknown_key(file_name: str, full: str, key: str, known: list[str]) -> ConfigurationError:
    near = difflib.get_close_matches(key, known, n=1)
    asked = f"Did you mean {near[0]}?  " if near else ""
    return ConfigurationError(f"{file_name}: unknown key {full}", remedy=f"{asked}Known here: {', '.join(known)}.")
