"""What now() was to a statement of the plan, and to whom: so that a declared condition means what the statement meant.

A rehearsal applies its plan minutes after the snapshot, and is compared minutes after that.  A condition that says
``expired_at < now()`` is asked of the pristine copy with the statement's own now(), time zone and search_path.
"""

from collections.abc import Collection
from dataclasses import dataclass

from pglast.parser import scan

from pgrehearse.migrations.observer import NoObserver, Running, StatementError
from pgrehearse.migrations.statements import TransactionNeed

# Inside the statement's transaction now() is still the same; behind a statement without one it is a little later.
MOMENT = """
SELECT pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US"+00"'),
       pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('search_path'),
       pg_catalog.current_setting('DateStyle')
"""
_CONTROL = frozenset({TransactionNeed.BEGINS, TransactionNeed.COMMITS, TransactionNeed.ROLLS_BACK})
_FUNCTIONS = frozenset({"now", "transaction_timestamp", "statement_timestamp", "clock_timestamp"})
_KEYWORDS = {
    "CURRENT_TIMESTAMP": "timestamptz",
    "LOCALTIMESTAMP": "timestamp",
    "CURRENT_DATE": "date",
    "CURRENT_TIME": "timetz",
    "LOCALTIME": "time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The session of a statement, just behind it."""

    now: str  # ISO 8601, UTC
    time_zone: str
    search_path: str
    date_style: str

    @property
    def settings(self) -> dict[str, str]:
        """What gives a condition's names and literals their meaning; values are still printed as ISO has them."""
        order = self.date_style.rpartition(",")[2].strip()
        return {"search_path": self.search_path, "TimeZone": self.time_zone, "DateStyle": f"ISO, {order}"}


class Moments(NoObserver):
    """An observer of the files that declare something; about 0.2 ms per statement of theirs, nothing for others."""

    def __init__(self, versions: Collection[str]) -> None:
        self._versions = frozenset(versions)
        self.of: dict[tuple[str, int], Moment] = {}  # by migration version and the statement's index

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None:
        version, statement = running.migration.version, running.statement
        if version not in self._versions or error is not None or statement.need in _CONTROL:
            return
        if not (running.in_transaction or running.outside):
            return
        row = running.session.execute(MOMENT).fetchone()
        assert row is not None
        now, time_zone, search_path, date_style = row
        self.of[version, statement.index] = Moment(
            now=now, time_zone=time_zone, search_path=search_path, date_style=date_style
        )


def at_moment(condition: str, now: str) -> str:
    """The condition with every now() of its own replaced by that instant.  Pure.

    What a function or a view calls inside of itself keeps the time of asking.
    """
    tokens = scan(condition)
    texts = [condition[token.start : token.end + 1] for token in tokens]
    replaced: list[tuple[int, int, str]] = []
    for place, token in enumerate(tokens):
        following = texts[place + 1 : place + 4]
        if token.name in _KEYWORDS:
            precise = len(following) == 3 and following[0] == "(" and following[2] == ")"
            precision = "".join(following) if precise else ""
            last = tokens[place + 3] if precise else token
            instant = f"('{now}'::pg_catalog.timestamptz::pg_catalog.{_KEYWORDS[token.name]}{precision})"
            replaced.append((token.start, last.end + 1, instant))
        elif texts[place].lower() in _FUNCTIONS and following[:2] == ["(", ")"]:
            first = token
            if place >= 2 and texts[place - 1] == ".":
                if texts[place - 2].lower() != "pg_catalog":
                    continue  # somebody's own function of that name
                first = tokens[place - 2]
            replaced.append((first.start, tokens[place + 2].end + 1, f"('{now}'::pg_catalog.timestamptz)"))
    for start, end, instant in reversed(replaced):
        condition = condition[:start] + instant + condition[end:]
    return condition
