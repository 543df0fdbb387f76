"""A libpq connection string that never shows its secrets.

libpq's own ways keep working (service, passfile, sslmode, channel_binding, PG* variables), because
the string is only ever read and extended by libpq's parser, and handed on whole.
"""

import os
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgrehearse.errors import ConfigurationError, MalformedConninfo

# libpq 18's parameters whose value is a secret; only the password can be handed on in the environment.
SECRET_PARAMETERS = frozenset(
    {"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}
)
# What leads to a server of our own whatever PG* variables say of others (PGHOSTADDR, PGCHANNELBINDING=require …).
# On a socket it says nothing, so a URL for programs that know fewer parameters than libpq leaves it out.
ON_A_SOCKET = {
    "hostaddr": "", "options": "", "requirepeer": "", "sslmode": "disable", "gssencmode": "disable",
    "channel_binding": "disable", "target_session_attrs": "any", "port": "5432",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conninfo:
    """One database's address as libpq reads it.  ``repr`` and ``str`` give ``host/database`` only."""

    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "Conninfo":
        """Read a URL or keyword string; raises `MalformedConninfo` without echoing the text."""
        if not text.strip():
            raise MalformedConninfo("the URL is empty")
        if text.lstrip().startswith(
            ("postgresql://", "postgres://")
        ):  # libpq would take a variable's line end for a part of the database's name
            text = text.strip()
        try:
            given = conninfo_to_dict(text)
        except (psycopg.ProgrammingError, UnicodeError) as error:
            raise MalformedConninfo(f"not a PostgreSQL URL: {_reason(str(error))}") from None
        ports = str(given.get("port") or "")
        if not all(port.isdecimal() and 0 < int(port) < 65536 for port in ports.split(",") if port):
            raise MalformedConninfo("not a PostgreSQL URL: its port is not a number from 1 to 65535")
        return cls(text)

    def __str__(self) -> str:
        return self.address

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters that the string itself sets (not those from PG* variables or a service)."""
        return {key: str(value) for key, value in conninfo_to_dict(self.text).items() if value is not None}

    @property
    def host(self) -> str:
        """Host, socket directory or ``service NAME``, as a person would recognise it."""
        given = self.parameters
        service = given.get("service") or os.environ.get("PGSERVICE")
        if service and not given.get("host"):
            return f"service {service}"
        return given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST", "local socket")

    @property
    def database(self) -> str | None:
        given = self.parameters
        return given.get("dbname") or os.environ.get("PGDATABASE") or given.get("user")

    @property
    def user(self) -> str | None:
        return self.parameters.get("user")

    @property
    def address(self) -> str:
        """``host[:port]/database``, safe to print."""
        hosts = self.host.split(",")
        ports = (self.parameters.get("port") or "").split(",")
        ports = ports * len(hosts) if len(ports) == 1 else ports  # one for all hosts
        where = [
            f"{host}:{port}" if port not in {"", "5432"} else host for host, port in zip(hosts, ports, strict=False)
        ]
        return f"{','.join(where)}/{self.database or 'default database'}"

    @property
    def printable_url(self) -> str:
        """A URL that reaches the same database, without its secrets: libpq finds those elsewhere."""
        return self.replaced(**dict.fromkeys(SECRET_PARAMETERS)).as_url()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must never be printed, and how a URL writes them; the longest first."""
        values = [value for key, value in self.parameters.items() if key in SECRET_PARAMETERS and value]
        return tuple(sorted({*values, *(quote(value, safe="") for value in values)}, key=len, reverse=True))

    def replaced(self, **parameters: str | int | None) -> "Conninfo":
        """The same address with some libpq parameters set otherwise (``dbname``, ``user``, ``options`` …)."""
        kept = {key: value for key, value in self.parameters.items() if key not in parameters}
        added = {key: str(value) for key, value in parameters.items() if value is not None}
        return Conninfo(make_conninfo("", **kept, **added))

    def as_url(self) -> str:
        """The same address as a ``postgresql://`` URL, secrets included, for programs that read nothing else."""
        given = self.parameters
        user, password = given.pop("user", None), given.pop("password", None)
        host, port, database = given.pop("host", ""), given.pop("port", None), given.pop("dbname", "")
        if host.startswith(("/", "@")) or "," in host:  # a socket directory cannot stand where a host name does
            given |= {"host": host} | ({"port": port} if port else {})
            if host.startswith(("/", "@")):
                given = {key: value for key, value in given.items() if ON_A_SOCKET.get(key) != value}
            host, port = "", None
        login = quote(user, safe="") if user else ""
        if password is not None:
            login += f":{quote(password, safe='')}"
        where = f"[{host}]" if ":" in host else host
        where += f":{port}" if port else ""
        query = f"?{urlencode(given, quote_via=quote)}" if given else ""
        return f"postgresql://{login + '@' if login else ''}{where}/{quote(database, safe='')}{query}"

    def for_child(self) -> tuple[str, dict[str, str]]:
        """What a child process (pg_dump, psql) needs: the string without secrets for argv, and its environment.

        The password travels as PGPASSWORD; libpq offers no such way for the other secrets, so a URL
        that holds one raises `ConfigurationError` rather than show it in the process list.
        """
        given = self.parameters
        stuck = sorted(set(given) & SECRET_PARAMETERS - {"password"})
        if stuck:
            raise ConfigurationError(
                f"{', '.join(stuck)} in the URL of {self.address} cannot be handed to pg_dump safely",
                remedy="Move it into a connection service file (pg_service.conf) and use service=NAME.",
            )
        password = given.pop("password", None)
        environment = dict(os.environ)
        if password is not None:
            environment["PGPASSWORD"] = password
            if "service" not in given and environment.pop("PGSERVICE", None) is not None:
                # A service's password would stand above PGPASSWORD, though below the one of our own string.
                given = _from_service() | given
        return make_conninfo("", **given), environment


def _from_service() -> dict[str, str]:
    """What the service that PGSERVICE names sets; not its password."""
    found = {}
    for option in pq.Conninfo.get_defaults():
        value, compiled = option.val, option.compiled
        variable = option.envvar.decode() if option.envvar else ""
        if value is None or value == compiled or os.environ.get(variable) == value.decode():
            continue
        found[option.keyword.decode()] = value.decode()
    return {key: value for key, value in found.items() if key not in SECRET_PARAMETERS | {"service"}}


def _reason(message: str) -> str:
    """libpq quotes the offending part of the string, which may be the password: say what it means instead."""
    if message.startswith('missing "="'):
        return "it neither starts with postgresql:// nor is it made of KEY=VALUE pairs"
    if "percent-encoded" in message:
        return "a percent sign in it is not followed by two hex digits"
    if "invalid connection option" in message or "URI query parameter" in message:
        return "it has a parameter that libpq does not know"
    if "terminated quoted" in message:
        return "a quote in it is not closed"
    return "libpq cannot read it"
