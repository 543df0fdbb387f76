"""What a copy needs of its server, asked before anything is written; and why the copy would be worth less."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from pgrehearse.clones.roles import PLATFORM_ROLES, RoleCatalog
from pgrehearse.clones.too_large_to_dump import UnprintableRow, find_unprintable_rows
from pgrehearse.errors import CloneImpossible
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.identity import DatabaseIdentity
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)

SPLIT_IT = (
    "Split such values into pieces below 500 MB, or keep them as large objects, which are dumped in pieces: no backup "
    "by pg_dump holds them either."
)
PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin", "d": "default"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLocale:
    """How a database encodes and orders text, as CREATE DATABASE takes it."""

    encoding: str
    provider: str  # "libc", "icu", "builtin"
    collate: str
    ctype: str
    locale: str | None  # ICU's or the built-in provider's own
    icu_rules: str | None
    version: str | None  # of the collation, as its provider says today


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceNeeds:
    """What the source's database needs wherever it is copied to."""

    identity: DatabaseIdentity
    locale: DatabaseLocale
    extensions: Mapping[str, str]
    collations: Mapping[tuple[str, str], str | None]  # (name, provider letter) -> version
    tablespaces: tuple[str, ...]
    size_bytes: int | None
    unprintable: tuple[UnprintableRow, ...] = ()  # rows that no dump can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """One thing without which the copy cannot be made."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The answer: ``missing`` empty means that the copy can be tried; ``lowered`` says why it is worth less."""

    missing: tuple[Missing, ...]
    lowered: tuple[str, ...]

    def require(self, where: str) -> None:
        """Raise `CloneImpossible` (exit 3) naming everything that is missing, and the remedies."""
        if self.missing:
            found = "\n".join(f"  - {missing.what}" for missing in self.missing)
            remedies = dict.fromkeys(missing.remedy for missing in self.missing)
            raise CloneImpossible(f"the source cannot be copied to {where}:\n{found}", remedy="\n".join(remedies))


def read_needs(connection: Connection, identity: DatabaseIdentity) -> SourceNeeds:
    """Read in the source's snapshot.  Small catalog queries; the size costs a walk over the files, and what pg_dump
    cannot print a look at the rows of tables with large bytea (`find_unprintable_rows`, some seconds at most).
    """
    row = connection.execute(QUERIES[f"database_{_locale_query(identity.major)}"]).fetchone()
    assert row is not None
    size: int | None = None
    try:
        with connection.transaction():
            answer = connection.execute(QUERIES["size"]).fetchone()
            size = answer[0] if answer else None
    except psycopg.Error:  # a platform that hides it
        size = None
    return SourceNeeds(
        identity=identity,
        locale=_locale(row),
        extensions=dict(connection.execute(QUERIES["extensions"]).fetchall()),
        collations={(row[0], row[1]): row[2] for row in connection.execute(QUERIES["used_collations"])},
        tablespaces=tuple(row[0] for row in connection.execute(QUERIES["tablespaces"])),
        size_bytes=size,
        unprintable=find_unprintable_rows(connection),
    )


def read_locale(connection: Connection) -> DatabaseLocale:
    """The locale of the database that this connection reaches."""
    query = f"database_{_locale_query(connection.info.server_version // 10000)}"
    row = connection.execute(QUERIES[query]).fetchone()
    assert row is not None
    return _locale(row)


def check_server(admin: Connection, needs: SourceNeeds) -> Preflight:
    """Compare what the source needs with what the target's server has.  Reads catalogs only."""
    missing = [Missing(what=str(row), remedy=SPLIT_IT) for row in needs.unprintable]
    lowered: list[str] = []
    major, target_major = needs.identity.major, admin.info.server_version // 10000
    if target_major < major:
        what = f"the target runs PostgreSQL {target_major}, the source {major}"
        missing.append(Missing(what=what, remedy=f"Use a target of PostgreSQL {major}."))
    elif target_major > major:
        lowered.append(f"major version differs: source {major}, clone {target_major}")
    available: dict[str, str] = dict(admin.execute(QUERIES["available_extensions"]).fetchall())
    for name, version in needs.extensions.items():
        if name not in available:
            missing.append(
                Missing(
                    what=f"extension {name} {version} is not available on the target's server",
                    remedy=f"Install the package of the extension {name} on the target's server (for Debian's own "
                    "extensions: postgresql-contrib), or name a server that has it with --target.",
                )
            )
        elif available[name] != version:
            lowered.append(f"extension {name}: source {version}, clone {available[name]}")
    names = [name for name, _ in needs.collations]
    known = {(row[0], row[1]): row[2] for row in admin.execute(QUERIES["known_collations"], (names,))}
    for (name, provider), collation_version in needs.collations.items():
        told = f"collation {name} ({PROVIDERS.get(provider, provider)})"
        if (name, provider) not in known:
            remedy = "Install that locale on the target's server and run pg_import_system_collations there."
            missing.append(Missing(what=f"{told} does not exist on the target's server", remedy=remedy))
        elif known[name, provider] != collation_version:
            lowered.append(f"{told}: source version {collation_version}, clone {known[name, provider]}")
    if needs.tablespaces:
        lowered.append(f"tablespaces are not carried over: {', '.join(needs.tablespaces)}")
    row = admin.execute(QUERIES["me"]).fetchone()
    assert row is not None
    user, superuser, createdb, _ = row
    if not (superuser or createdb):
        remedy = f"Have a superuser run ALTER ROLE {user} CREATEDB on the target, or leave --target away."
        missing.append(Missing(what=f"user {user} may not create databases on the target", remedy=remedy))
    return Preflight(missing=tuple(missing), lowered=tuple(lowered))


def check_disk(directory: Path, needs: SourceNeeds, *, private: bool) -> Preflight:
    """Room for the dump, and for pristine and clone where they are on this machine too.

    A dump that is not compressed is about as large as the tables without their indexes: taken as two
    thirds of the database, and a fifth of it when it is compressed.
    """
    if needs.size_bytes is None:
        return Preflight(missing=(), lowered=())
    free = shutil.disk_usage(directory).free
    wanted = needs.size_bytes // 5 + (2 * needs.size_bytes if private else 0)
    if free >= wanted:
        return Preflight(missing=(), lowered=())
    what = f"{directory} has {free >> 20} MB free; a copy of {needs.size_bytes >> 20} MB needs about {wanted >> 20} MB"
    remedy = "Free disk space there, or name a larger place with clone.directory."
    return Preflight(missing=(Missing(what=what, remedy=remedy),), lowered=())


def should_compress(directory: Path, needs: SourceNeeds, *, private: bool) -> bool:
    """Whether an uncompressed dump would leave too little room."""
    size = needs.size_bytes or 0
    return shutil.disk_usage(directory).free < size * 2 // 3 + (2 * size if private else 0) + (64 << 20)


def compare_locales(source: DatabaseLocale, copy: DatabaseLocale) -> tuple[str, ...]:
    """Why text may be ordered otherwise in the copy: provider, name or version differ."""
    told = []
    if (source.provider, source.collate, source.locale) != (copy.provider, copy.collate, copy.locale):
        told.append(f"collation differs: source {_spoken(source)}, clone {_spoken(copy)}")
    elif source.version != copy.version:
        told.append(f"collation version differs: source {source.version}, clone {copy.version}")
    if source.encoding != copy.encoding:
        told.append(f"encoding differs: source {source.encoding}, clone {copy.encoding}")
    return tuple(told)


def platform_rights(roles: RoleCatalog, role: str) -> tuple[str, ...]:
    """Rights that a platform's own server gives this role and plain PostgreSQL cannot."""
    found = sorted(roles.groups_of([role]) & PLATFORM_ROLES)
    return tuple(f"role {role} belongs to the platform's {name}, whose rights exist only there" for name in found)


def _locale_query(major: int) -> int:
    """From 17 on pg_database has datlocale; 16 has daticurules; 15 the provider."""
    return 18 if major >= 17 else max(major, 14)


def _locale(row: tuple[object, ...]) -> DatabaseLocale:
    encoding, provider, collate, ctype, locale, rules, version = (None if v is None else str(v) for v in row)
    assert encoding is not None
    assert collate is not None
    return DatabaseLocale(
        encoding=encoding,
        provider=PROVIDERS[provider or "c"],
        collate=collate,
        ctype=ctype or collate,
        locale=locale,
        icu_rules=rules,
        version=version,
    )


def _spoken(locale: DatabaseLocale) -> str:
    return f"{locale.provider} {locale.locale or locale.collate}"
