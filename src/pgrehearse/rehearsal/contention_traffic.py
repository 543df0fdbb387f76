"""Traffic beside a plan: short statements by key on the relations that it locks, each rolled back, at a fixed rate."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

import psycopg
from psycopg import sql

from pgrehearse.clones.snapshot import NO_TIMEOUTS
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rehearsal.contention import TrafficError, TrafficFigures, TrafficKind

QUERIES = named_queries(__file__)
KEYS = 200  # sampled per relation
STRIDE = 89  # coprime to that
SAMPLED_FROM_ROWS = 20_000.0  # a larger table's keys come from all over it
JOIN_S = 10.0
DEADLOCK = "40P01"
NAMED = {
    TrafficKind.READ: "reads of", TrafficKind.WRITE: "writes to", TrafficKind.APPLICATION: "a statement of"
}  # fmt: skip
# What it names is not there any more: sent again and again, it would only tell the same.
GONE = frozenset({"3F000", "42P01", "42703", "42883", "42809"})

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficStatement:
    """One short statement, with the keys that it is sent for in turn."""

    what: str  # the relation, or the file of the application's statements
    kind: TrafficKind
    text: bytes
    keys: tuple[Key, ...] = ()  # none: it has no parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    what: str
    kind: TrafficKind
    begun_s: float  # of the monotonic clock, when it was due
    ended_s: float
    sqlstate: str | None = None
    message: str = ""
    missed: bool = False  # due while the one before it was held up, and not sent


def read_statements(session: Connection, names: Sequence[str]) -> tuple[list[TrafficStatement], dict[str, str]]:
    """A read and a write by key for each relation, and why one has none.

    Reads at most `KEYS` rows of each.  Call before the plan, as somebody who may read them.
    """
    statements, left_out = [], {}
    for name, namespace, relation, kind, rows, rules, key, column in session.execute(
        QUERIES["relations"], {"names": list(names)}
    ).fetchall():
        table = sql.Identifier(namespace, relation)
        try:
            keys = _sample(session, table, key, rows) if key else ()
        except psycopg.Error as error:
            left_out[name] = f"no keys could be read: {error.diag.message_primary}"
            continue
        name_of = _doubled if keys else sql.Identifier
        table, which = name_of(namespace, relation), _by_key(table, key, keys)
        read = sql.SQL("SELECT * FROM {} WHERE {} LIMIT 1").format(table, which)
        statements.append(
            TrafficStatement(what=name, kind=TrafficKind.READ, text=read.as_bytes(session), keys=keys)
        )  # fmt: skip
        if kind == "m":
            continue
        if rules:
            left_out[f"writes to {name}"] = "its rules would do something else instead"
            continue
        if column is None:
            left_out[f"writes to {name}"] = "it has no column that may be set to itself"
            continue
        update = sql.SQL("UPDATE {0} SET {1} = {1} WHERE {2}").format(table, name_of(column), which)
        statements.append(TrafficStatement(what=name, kind=TrafficKind.WRITE, text=update.as_bytes(session), keys=keys))
    return statements, left_out


def _sample(session: Connection, table: sql.Identifier, key: Sequence[str], rows: float) -> tuple[Key, ...]:
    columns = sql.SQL(", ").join(sql.SQL("{}::pg_catalog.text").format(sql.Identifier(name)) for name in key)
    share: sql.Composable = sql.SQL("")
    if rows > SAMPLED_FROM_ROWS:
        share = sql.SQL("TABLESAMPLE SYSTEM ({})").format(sql.Literal(100 * 10 * KEYS / rows))
    query = sql.SQL("SELECT {} FROM {} {} LIMIT {}").format(columns, table, share, KEYS)
    return tuple(session.execute(query).fetchall())


def _by_key(table: sql.Identifier, key: Sequence[str], keys: Sequence[Key]) -> sql.Composable:
    if keys:
        return sql.SQL(" AND ").join(sql.SQL("{} = %s").format(_doubled(name)) for name in key)
    # An empty table has no row to name, and one without a key none that is named: any one row; the locks are the same.
    return sql.SQL("ctid = (SELECT ctid FROM {} LIMIT 1)").format(table)


def _doubled(*names: str) -> sql.Identifier:
    """Beside placeholders a percent sign stands for itself only where it is doubled."""
    return sql.Identifier(*(name.replace("%", "%%") for name in names))


class Traffic:
    """Sessions that send statements while the context is open; afterwards `figures` has what they met.

    Each relation and kind has sessions of its own, ``at_least`` altogether, so that who waits for one of them keeps
    nobody from another.  ``per_second`` statements are sent by all of them together, at a fixed rate: what was due
    while a session was held up counts as held up too, since an application's users do not wait for each other.
    """

    def __init__(
        self,
        open_session: Callable[[], Connection],
        statements: Sequence[TrafficStatement],
        *,
        at_least: int,
        per_second: float,
    ) -> None:
        self._statements = list(statements)
        self._stop = threading.Event()
        sessions = max(at_least, len({(each.what, each.kind) for each in statements}))
        self._interval_s = sessions / per_second
        self._sent: list[list[_Sent]] = [[] for _ in range(sessions)]
        self._sessions: list[Connection] = []
        self._threads: list[threading.Thread] = []
        self._open_session = open_session
        self.left_out: dict[str, str] = {}

    def __enter__(self) -> "Traffic":
        try:
            for _ in self._sent:
                session = self._open_session()
                self._sessions.append(session)
                session.execute(NO_TIMEOUTS)  # a stall is measured to its end
            self._statements = list(self._working(self._sessions[0]))
            for number in range(len(self._sessions) if self._statements else 0):
                thread = threading.Thread(
                    target=self._work, args=(number,), name=f"pgrehearse-traffic-{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def stop(self) -> None:
        """Send no more, and wait until what was sent is answered."""
        self._stop.set()
        for thread, session in zip(self._threads, self._sessions, strict=False):
            thread.join(JOIN_S)
            if thread.is_alive():
                session.cancel()
                thread.join(JOIN_S)

    @property
    def statements(self) -> int:
        """How many there are that work before the plan."""
        return len(self._statements)

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    def _close(self) -> None:
        self.stop()
        for session in self._sessions:
            session.close()

    def _working(self, session: Connection) -> Iterator[TrafficStatement]:
        """What fails before the plan tells nothing of it."""
        for statement in self._statements:
            try:
                _send(session, statement, statement.keys[0] if statement.keys else None)
            except psycopg.Error as error:
                what = f"{NAMED[statement.kind]} {statement.what}"
                said = f"{error.diag.message_primary or type(error).__name__} (SQLSTATE {error.sqlstate})"
                self.left_out[what] = f"fails before the plan, too: {said}"
            else:
                yield statement

    # --- one session -----------------------------------------------------------------------------------------------

    def _work(self, number: int) -> None:
        session, sent = self._sessions[number], self._sent[number]
        mine = self._share_of(number)
        turn, due = 0, time.monotonic() + self._interval_s * number / len(self._sessions)
        while mine and not self._stop.wait(max(0.0, due - time.monotonic())):
            statement = mine[turn % len(mine)]
            turn += 1
            # Far apart from turn to turn, and from session to session: two that write do not wait for each other.
            key = statement.keys[(turn * STRIDE + number) % len(statement.keys)] if statement.keys else None
            sqlstate, message = None, ""
            try:
                _send(session, statement, key)
            except psycopg.Error as error:
                sqlstate = error.sqlstate or "08006"
                message = error.diag.message_primary or type(error).__name__
            ended = time.monotonic()
            sent.append(_Sent(what=statement.what, kind=statement.kind, begun_s=due, ended_s=ended,
                              sqlstate=sqlstate, message=message))  # fmt: skip
            if sqlstate in GONE:
                mine.remove(statement)
            if session.closed or session.broken:
                return
            due += self._interval_s
            while due < ended:
                sent.append(_Sent(what=statement.what, kind=statement.kind, begun_s=due, ended_s=ended, missed=True))
                due += self._interval_s

    def _share_of(self, number: int) -> list[TrafficStatement]:
        groups = list(dict.fromkeys((each.what, each.kind) for each in self._statements))
        mine = groups[number % len(groups)]
        return [each for each in self._statements if (each.what, each.kind) == mine]

    # --- what they met -----------------------------------------------------------------------------------------------

    def figures(self, *, begun_s: float, ended_s: float) -> tuple[TrafficFigures, ...]:
        """By relation and kind; the plan ran between these two of the monotonic clock.  After `stop`."""
        groups: dict[tuple[str, TrafficKind], list[_Sent]] = defaultdict(list)
        for sent in self._sent:
            for each in sent:
                groups[each.what, each.kind].append(each)
        return tuple(
            _figures(what, kind, all_sent, begun_s, ended_s) for (what, kind), all_sent in sorted(
                groups.items(), key=lambda item: (item[0][0], item[0][1].value)
            )
        )  # fmt: skip

    def deadlocks(self) -> int:
        return sum(each.sqlstate == DEADLOCK for sent in self._sent for each in sent)


def _send(session: Connection, statement: TrafficStatement, key: Key | None) -> None:
    session.execute("BEGIN")
    try:
        session.execute(statement.text, key)
    finally:
        if not (session.closed or session.broken):
            session.execute("ROLLBACK")


def _figures(what: str, kind: TrafficKind, all_sent: Sequence[_Sent], begun_s: float, ended_s: float) -> TrafficFigures:
    before = [each for each in all_sent if each.ended_s < begun_s]
    during = [each for each in all_sent if each.ended_s >= begun_s and each.begun_s <= ended_s]
    really = [each for each in during if not each.missed]
    return TrafficFigures(
        what=what,
        kind=kind,
        sent=len(really),
        longest_ms=max((_ms(each) for each in really), default=None),
        p99_before_ms=percentile([_ms(each) for each in before]),
        p99_ms=percentile([_ms(each) for each in during]),
        errors=tuple(_errors(all_sent)),
    )


def _errors(all_sent: Sequence[_Sent]) -> Iterator[TrafficError]:
    counts: dict[str, int] = defaultdict(int)
    first: Mapping[str, str] = {}
    for each in all_sent:
        if each.sqlstate is not None:
            counts[each.sqlstate] += 1
            first = {each.sqlstate: each.message} | dict(first)
    for sqlstate, count in counts.items():
        yield TrafficError(sqlstate=sqlstate, message=first[sqlstate], count=count)


def _ms(sent: _Sent) -> float:
    return (sent.ended_s - sent.begun_s) * 1000


def percentile(durations: Sequence[float], share: float = 0.99) -> float | None:
    """The duration that this share of them does not exceed; None of none."""
    if not durations:
        return None
    return sorted(durations)[min(len(durations) - 1, int(share * len(durations)))]
