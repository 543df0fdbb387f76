"""One query run on both copies, read-only, warm, in turns, under a time limit; its rows stay on the server."""

import json
import re
import statistics
from dataclasses import dataclass, field
from typing import Any

import psycopg

from pgrehearse.migrations.reach import find_reach_in_body
from pgrehearse.migrations.run_time_strings import why_unseen
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.queries.comparison import Executed
from pgrehearse.queries.parameters import ParametersUnknown, sample_parameters
from pgrehearse.queries.planning import PlanningSession, Refusal
from pgrehearse.queries.statement_text import count_parameters, find_nodes, parse_one
from pgrehearse.queries.workload import WorkloadQuery

QUERIES = named_queries(__file__)
RUNS = 5
WRITING = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "IntoClause")
READABLE_LANGUAGES = frozenset({"sql", "plpgsql"})
# Extensions whose functions reach outward, beyond those that say so by their language.
OUTWARD_EXTENSIONS = frozenset({
    "dblink", "http", "pg_net", "pgsql_http", "aws_s3", "aws_lambda", "azure_storage", "plsh", "oracle_fdw",
    "postgres_fdw", "file_fdw", "pg_background", "pgmemcache", "redis", "pg_cron", "adminpack", "lo",
})  # fmt: skip
TIMED_OUT = "57014"
SET_TIMEOUT = "SELECT pg_catalog.set_config('statement_timeout', %s, false)"
# TIMING OFF: asking the clock at every node would cost more than a short query.  Nothing is sent to the client.
EXPLAIN = "EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF, FORMAT JSON) "
EXPLAIN_VERBOSE = "EXPLAIN (VERBOSE, FORMAT JSON) "


class NotExecuted(Exception):
    """Why a query was not run; a sentence."""


class BreaksWhenRun(Exception):
    """It ran before and is refused after."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass(slots=True)
class Replay:
    """Both copies; each session has become the query's sender."""

    there: PlanningSession
    here: PlanningSession
    time_limit_s: float
    _doubtful: frozenset[str] | None = field(default=None)

    def run(self, query: WorkloadQuery, planned_as: str) -> Executed:
        """Run it `RUNS` times on each copy after one that does not count; the medians.

        Raises `NotExecuted` (it writes, locks, may reach outward, its parameters are unknown, or the pristine copy
        refuses it too) and `BreaksWhenRun`.
        """
        self._require_harmless(query)
        text, values = self._with_values(query, planned_as)
        limit = str(round(self.time_limit_s * 1000))
        for session in (self.there, self.here):
            session.connection.execute(SET_TIMEOUT, (limit,))
        self._require_harmless_plans(text, values)
        before, after = self._once(self.there, text, values), self._once(self.here, text, values)
        _require_run(before, after)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(RUNS):
            for session, first, measured in ((self.there, before, times[0]), (self.here, after, times[1])):
                again = self._once(session, text, values) if isinstance(first, _Run) else first
                if isinstance(again, _Run):
                    measured.append(again.duration_ms)
        return Executed(
            before_ms=statistics.median(times[0]) if times[0] else None,
            after_ms=statistics.median(times[1]) if times[1] else None,
            rows_before=before.rows if isinstance(before, _Run) else None,
            rows_after=after.rows if isinstance(after, _Run) else None,
            runs=RUNS,
            sampled=bool(values),
        )

    def _with_values(self, query: WorkloadQuery, planned_as: str) -> tuple[str, list[str]]:
        """As somebody sent it, else with sampled values."""
        if query.example is not None and not any(find_nodes(parse_one(query.example)[1], "ParamRef")):
            return query.example, []
        tree = parse_one(planned_as)[1]
        try:
            values = sample_parameters(
                self.there.connection, tree, count_parameters(tree), rows_per_call=query.rows_per_call
            )
        except ParametersUnknown as error:
            raise NotExecuted(f"its parameters are unknown: {error}") from None
        except psycopg.Error as error:
            raise NotExecuted(f"its parameters could not be sampled: {Refusal.of(error)}") from None
        return planned_as, values

    def _require_harmless(self, query: WorkloadQuery) -> None:
        tree = query.statement.tree
        if query.statement.kind != "SelectStmt" or any(any(find_nodes(tree, kind)) for kind in WRITING):
            raise NotExecuted("it writes")
        if "intoClause" in tree:
            raise NotExecuted("it writes")
        if any("lockingClause" in each for each in find_nodes({"SelectStmt": tree}, "SelectStmt")):
            raise NotExecuted("it locks rows")

    def _require_harmless_plans(self, text: str, values: list[str]) -> None:
        """Views, policies and inlined functions are written out in a verbose plan."""
        if self._doubtful is None:
            self._doubtful = find_doubtful(self.here.connection) | find_doubtful(self.there.connection)
        for session in (self.there, self.here):
            try:
                shown = json.dumps(_fetch(session.connection, EXPLAIN_VERBOSE + text, values))
            except psycopg.Error as error:
                if session is self.there:
                    raise NotExecuted(f"with these values it is not planned: {Refusal.of(error)}") from None
                continue  # told by the run itself
            for where in (text, shown):
                if (words := find_reach_in_body(where)) is not None:
                    raise NotExecuted(f"it may reach outward: {words}")
                if (name := _named(where, self._doubtful)) is not None:
                    raise NotExecuted(f"nobody can see what {name}() does")

    def _once(self, session: PlanningSession, text: str, values: list[str]) -> "_Run | Refusal":
        try:
            top = _fetch(session.connection, EXPLAIN + text, values)[0]
        except psycopg.Error as error:
            if session.connection.closed:
                raise
            return Refusal.of(error)
        rows = round(top["Plan"]["Actual Rows"] * top["Plan"]["Actual Loops"])
        return _Run(duration_ms=top["Execution Time"], rows=rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    duration_ms: float
    rows: int


def find_doubtful(session: Connection) -> frozenset[str]:
    """Names of functions that could reach outward: of other languages, with such words, or calling one that could."""
    bodies: dict[str, str] = {}
    doubtful = set()
    for name, language, body, extension in session.execute(QUERIES["functions"]):
        if extension is not None:
            if extension in OUTWARD_EXTENSIONS or language not in (*READABLE_LANGUAGES, "c", "internal"):
                doubtful.add(name)
        elif language not in READABLE_LANGUAGES or find_reach_in_body(body) or why_unseen(body, language) is not None:
            doubtful.add(name)
        else:
            bodies[name] = bodies.get(name, "") + "\n" + body
    found = set(doubtful)
    while found:
        found = {name for name, body in bodies.items() if name not in doubtful and _named(body, found) is not None}
        doubtful |= found
    return frozenset(doubtful)


def _named(text: str, names: "frozenset[str] | set[str]") -> str | None:
    if not names:
        return None
    called = {word.lower() for word in re.findall(r"(\w+)\\?\"?\s*\(", text)}
    return next((name for name in sorted(names) if name.lower() in called), None)


def _require_run(before: "_Run | Refusal", after: "_Run | Refusal") -> None:
    """A time limit that was met is a measurement; any other refusal is none, or a query that breaks."""
    if isinstance(before, Refusal) and before.sqlstate != TIMED_OUT:
        raise NotExecuted(f"it fails before the migration too: {before}")
    if isinstance(after, Refusal) and after.sqlstate != TIMED_OUT:
        if after.of_the_moment or isinstance(before, Refusal):
            raise NotExecuted(f"it could not be run on the clone: {after}")
        raise BreaksWhenRun(after)


def _fetch(connection: Connection, text: str, values: list[str]) -> list[dict[str, Any]]:
    with psycopg.RawCursor(connection) as cursor:
        cursor.execute(text.encode(), values or None)
        row = cursor.fetchone()
    assert row is not None
    found: list[dict[str, Any]] = row[0]
    return found
