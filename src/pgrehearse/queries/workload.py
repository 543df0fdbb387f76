"""A workload: which statements the application sends, how often, and as whom."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pgrehearse.queries.statement_text import NotPlannable, StatementText, read_statement

MOST_QUERIES = 1000
BY_KEY_CALLS = 1000  # fewer calls than these are no pattern
MOST_SENT = 20  # texts of one shape that are kept as they were sent

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadQuery:
    """One shape of statement.  What nobody counted is None."""

    statement: StatementText
    # As somebody sent it, with its values: never shown, never kept.
    example: str | None = field(default=None, repr=False)
    also_sent: tuple[str, ...] = field(default=(), repr=False)  # some more of them
    role: str | None = None
    calls: int | None = None
    rows: int | None = None  # returned or written by all calls
    total_ms: float | None = None  # of all calls

    @property
    def rows_per_call(self) -> float | None:
        return None if self.rows is None or not self.calls else self.rows / self.calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is to be planned, the most expensive first, and what is not, by reason."""

    origin: str  # "pg_stat_statements", or the file's name
    queries: tuple[WorkloadQuery, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    role_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # what each role's sessions start with


@dataclass(slots=True)
class Gathering:
    """Statements that become a workload: one entry per shape and role."""

    _found: dict[tuple[str, str | None], WorkloadQuery] = field(default_factory=dict)
    _left_out: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        text: str,
        *,
        role: str | None = None,
        calls: int | None = None,
        rows: int | None = None,
        total_ms: float | None = None,
        keep_example: bool = False,
    ) -> tuple[str, str | None] | None:
        """Read one text; the key of its entry, or None where it cannot be planned."""
        try:
            statement = read_statement(text)
        except NotPlannable as error:
            self._left_out[str(error)] += 1
            return None
        key = (statement.shape, role)
        example = text if keep_example and statement.text != text else None
        query = WorkloadQuery(
            statement=statement, example=example, role=role, calls=calls, rows=rows, total_ms=total_ms
        )
        before = self._found.get(key)
        self._found[key] = query if before is None else _added(before, query)
        return key

    def repeat(self, key: tuple[str, str | None], *, total_ms: float | None) -> None:
        """Count one more call of a shape that is known."""
        before = self._found[key]
        again = WorkloadQuery(statement=before.statement, role=before.role, calls=1, total_ms=total_ms)
        self._found[key] = _added(before, again)

    def leave_out(self, reason: str, count: int = 1) -> None:
        self._left_out[reason] += count

    def finished(self, origin: str, role_settings: Mapping[str, Mapping[str, str]]) -> Workload:
        """The workload, cut to the queries that cost most."""
        queries = sorted(self._found.values(), key=lambda query: (-(query.total_ms or 0), -(query.calls or 0)))
        if len(queries) > MOST_QUERIES:
            self.leave_out(f"only the {MOST_QUERIES:,} that cost most are planned", len(queries) - MOST_QUERIES)
        return Workload(
            origin=origin,
            queries=tuple(queries[:MOST_QUERIES]),
            left_out=dict(self._left_out),
            role_settings=role_settings,
        )


def looks_like_one_of_n(query: WorkloadQuery) -> bool:
    """Whether this may be the inner query of an N+1: called often, one table, one row at a time, by equality alone."""
    if query.statement.kind != "SelectStmt" or (query.calls or 0) < BY_KEY_CALLS:
        return False
    per_call = query.rows_per_call
    tree = query.statement.tree
    tables = tree.get("fromClause", [])
    plain = not any(part in tree for part in ("groupClause", "withClause", "lockingClause", "havingClause"))
    return (
        per_call is not None
        and per_call <= 1
        and plain
        and len(tables) == 1
        and "RangeVar" in tables[0]
        and _is_equality(tree.get("whereClause"))
    )


def _is_equality(condition: object) -> bool:
    """`column = $n`, and nothing but such conditions joined by AND."""
    if not isinstance(condition, dict):
        return False
    if "BoolExpr" in condition:
        body = condition["BoolExpr"]
        return body.get("boolop") == "AND_EXPR" and all(_is_equality(each) for each in body.get("args", []))
    body = condition.get("A_Expr", {})
    if body.get("kind") != "AEXPR_OP" or body.get("name") != [{"String": {"sval": "="}}]:
        return False
    sides = {next(iter(body.get(side, {})), "") for side in ("lexpr", "rexpr")}
    return "ColumnRef" in sides and sides <= {"ColumnRef", "ParamRef", "TypeCast"}


def _added(one: WorkloadQuery, other: WorkloadQuery) -> WorkloadQuery:
    return WorkloadQuery(
        statement=one.statement,
        example=one.example or other.example,
        also_sent=_more_sent(one, other),
        role=one.role,
        calls=_sum((one.calls, other.calls)),
        rows=_sum((one.rows, other.rows)),
        total_ms=_sum((one.total_ms, other.total_ms)),
    )


def _more_sent(one: WorkloadQuery, other: WorkloadQuery) -> tuple[str, ...]:
    known = (one.example, *one.also_sent)
    if one.example is None or other.example is None or other.example in known or len(known) >= MOST_SENT:
        return one.also_sent
    return (*one.also_sent, other.example)


def _sum(values: Iterable[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None
