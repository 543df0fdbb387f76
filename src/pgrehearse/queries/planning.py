"""A session that plans statements of a workload as their senders' roles, and executes none of them.

Every statement is first prepared, which the server refuses for two statements in one text; the session's
transactions are read-only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import DiagnosticField, ExecStatus

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
GENERIC_PLAN_SINCE = 160000
STATEMENT = "pgrehearse_query"
BASE = """
RESET ALL;
RESET ROLE;
SET default_transaction_read_only = on;
SET plan_cache_mode = force_generic_plan
"""
SET_TIMEOUT = "SELECT pg_catalog.set_config('statement_timeout', %s, false)"
SET_CONFIG = "SELECT pg_catalog.set_config(%s, %s, false)"
# Conditions of the server or the moment, not of the statement: timed out, out of resources, cancelled, connection.
OF_THE_MOMENT = ("08", "40", "53", "55", "57", "58")
# Messages of these classes name objects and types alone; others quote values (22, 23) or are anybody's words (P0).
WITHOUT_VALUES = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "XX")
SENT_TYPED = frozenset("NB")  # numbers and booleans; other values are sent as strings whose type the server infers


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The server's no to one statement, without values."""

    sqlstate: str
    message: str

    @property
    def of_the_moment(self) -> bool:
        return self.sqlstate.startswith(OF_THE_MOMENT)

    @classmethod
    def of(cls, error: psycopg.Error) -> "Refusal":
        sqlstate = error.sqlstate or "XX000"
        return cls(sqlstate=sqlstate, message=_told(sqlstate, error.diag.message_primary or str(error).strip()))

    def as_json(self) -> dict[str, str]:
        return {"sqlstate": self.sqlstate, "message": self.message}

    def __str__(self) -> str:
        return f"{self.message} (SQLSTATE {self.sqlstate})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A type as one database has it."""

    oid: int
    name: str
    category: str  # pg_type.typcategory


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a statement takes and gives."""

    parameters: tuple[Type, ...]  # as the server inferred them
    columns: tuple[tuple[str, Type], ...]  # of its result


@dataclass(slots=True)
class PlanningSession:
    """One database; the caller closes ``connection``.  Made for many statements, sorted by role."""

    connection: Connection
    time_limit_ms: int
    role_settings: Mapping[str, Mapping[str, str]]
    _role: str | None = None
    _settable: frozenset[str] = frozenset()
    _types: dict[int, Type] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._settable = frozenset(row[0] for row in self.connection.execute(QUERIES["settings_of_planning"], ()))
        self._start_over()

    def become(self, role: str | None) -> str | None:
        """Plan as this role from now on, with its settings; why that cannot be, or None.

        Where it cannot, statements are planned as the session's own user, with that role's settings all the same.
        """
        self._start_over()
        problem = None
        if role is None:
            return None
        settings = dict(self.role_settings.get(role, {}))
        try:
            self.connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        except psycopg.Error as error:
            problem = error.diag.message_primary or str(error)
            path = settings.get("search_path") or self._value("search_path")
            settings["search_path"] = path.replace('"$user"', _quoted(role))
        for name, value in settings.items():
            if name in self._settable:
                self._try(SET_CONFIG, name, value)
        return problem

    def describe(self, text: str, types: Sequence[int] = ()) -> Signature | Refusal:
        """Parse and analyse, without planning: two round trips."""
        prepared = self.connection.pgconn.prepare(b"", text.encode(), list(types) or None)
        if prepared.status != ExecStatus.COMMAND_OK:
            return _refusal(prepared)
        described = self.connection.pgconn.describe_prepared(b"")
        if described.status != ExecStatus.COMMAND_OK:
            return _refusal(described)
        parameters = [described.param_type(number) for number in range(described.nparams)]
        columns = [
            ((described.fname(number) or b"").decode(errors="replace"), described.ftype(number))
            for number in range(described.nfields)
        ]
        self._learn({*parameters, *(oid for _, oid in columns)})
        return Signature(
            parameters=tuple(self._types[oid] for oid in parameters),
            columns=tuple((name, self._types[oid]) for name, oid in columns),
        )

    def explain(self, text: str, parameters: int) -> Sequence[Mapping[str, Any]] | Refusal:
        """The generic plan, as EXPLAIN's JSON, of a text that `describe` took.

        Executes nothing; what planning evaluates is read-only.
        """
        try:
            if self.connection.info.server_version >= GENERIC_PLAN_SINCE:
                # As plain text: values that are bound, even NULLs, would be planned with.
                return self._fetch("EXPLAIN (GENERIC_PLAN, FORMAT JSON, VERBOSE) " + text)
            return self._explain_prepared(text, parameters)
        except psycopg.Error as error:
            return Refusal.of(error)

    def _explain_prepared(self, text: str, parameters: int) -> Sequence[Mapping[str, Any]] | Refusal:
        """Before 16: a prepared statement, whose plan is generic since plan_cache_mode says so."""
        prepared = self.connection.pgconn.prepare(STATEMENT.encode(), text.encode(), None)
        if prepared.status != ExecStatus.COMMAND_OK:
            return _refusal(prepared)
        try:
            if parameters:
                # NULLs would prune every partition when the plan is started; at plan time nothing could be pruned.
                self.connection.execute("SET enable_partition_pruning = off")
            nulls = sql.SQL(", ").join([sql.NULL] * parameters)
            arguments = sql.SQL("({})").format(nulls) if parameters else sql.SQL("")
            explain = sql.SQL("EXPLAIN (FORMAT JSON, VERBOSE) EXECUTE {}{}")
            row = self.connection.execute(explain.format(sql.Identifier(STATEMENT), arguments)).fetchone()
        finally:
            self.connection.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(STATEMENT)))
            if parameters:
                self.connection.execute("RESET enable_partition_pruning")
        assert row is not None
        found: Sequence[Mapping[str, Any]] = row[0]
        return found

    def _fetch(self, text: str) -> Sequence[Mapping[str, Any]]:
        row = self.connection.execute(text.encode()).fetchone()
        assert row is not None
        found: Sequence[Mapping[str, Any]] = row[0]
        return found

    def _start_over(self) -> None:
        self.connection.execute(BASE)
        self.connection.execute(SET_TIMEOUT, (str(self.time_limit_ms),))

    def _value(self, name: str) -> str:
        row = self.connection.execute("SELECT pg_catalog.current_setting(%s)", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def _try(self, query: Any, *parameters: str) -> None:
        try:
            self.connection.execute(query, parameters)
        except psycopg.Error:
            return  # a setting that this server does not take, on both copies alike

    def _learn(self, oids: set[int]) -> None:
        unknown = [oid for oid in oids if oid not in self._types]
        if unknown:
            for oid, name, category in self.connection.execute(QUERIES["types"], (unknown,)):
                self._types[oid] = Type(oid=oid, name=name, category=category)
            for oid in unknown:
                self._types.setdefault(oid, Type(oid=oid, name=str(oid), category="X"))


def sent_types(signature: Signature) -> tuple[int, ...]:
    """The types that a driver, or a plain literal, gives its values: those of numbers and booleans; 0: inferred."""
    return tuple(each.oid if each.category in SENT_TYPED else 0 for each in signature.parameters)


def _refusal(result: Any) -> Refusal:
    def part(which: DiagnosticField) -> str:
        found: bytes | None = result.error_field(which)
        return "" if found is None else found.decode(errors="replace")

    sqlstate = part(DiagnosticField.SQLSTATE) or "XX000"
    return Refusal(sqlstate=sqlstate, message=_told(sqlstate, part(DiagnosticField.MESSAGE_PRIMARY)))


def _told(sqlstate: str, message: str) -> str:
    """The message; where it would quote a value, the condition's name instead."""
    if sqlstate.startswith(WITHOUT_VALUES):
        return message
    try:
        return psycopg.errors.lookup(sqlstate).__name__
    except KeyError:
        return "an error of the application's own"


def _quoted(role: str) -> str:
    escaped = role.replace('"', '""')
    return f'"{escaped}"'
