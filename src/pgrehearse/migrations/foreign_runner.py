"""Another migration tool at work in the same database: found by its locks and by what it is running."""

from collections.abc import Iterable
from dataclasses import dataclass

from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.segments import PendingFile
from pgrehearse.migrations.statements import DRIZZLE_BREAKPOINT
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries

_QUERIES = named_queries(__file__)
TELLING_BYTES = 20  # a shorter text (`COMMIT`, `ANALYZE`) says nothing about who runs it


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """A session that is not ours, and why it matters."""

    pid: int
    application: str
    user: str
    address: str
    doing: str

    def __str__(self) -> str:
        who = f"pid {self.pid} ({self.application or 'no application name'}, {self.user} from {self.address})"
        return f"{who} {self.doing}"


def find_recording(session: Connection, relation: int, ours: Iterable[int]) -> Stranger | None:
    """A session waiting to write into the ledger's table: it read it before we locked it, and ran its files."""
    row = session.execute(_QUERIES["recording"], {"relation": relation, "ours": list(ours)}).fetchone()
    return _stranger(row, "is waiting to record a migration of its own") if row else None


def find_waiting_since(session: Connection, relation: int, ours: Iterable[int], before: int | None) -> Stranger | None:
    """A session in the queue for the ledger's table, ahead of our session ``before`` (None: anywhere)."""
    row = session.execute(
        _QUERIES["queued_ahead"], {"relation": relation, "ours": list(ours), "before": before}
    ).fetchone()
    return _stranger(row, "is next at the migration ledger's table") if row else None


def find_holder(session: Connection, relation: int, ours: Iterable[int]) -> Stranger | None:
    """A session that holds the ledger's table in a mode we must wait for."""
    row = session.execute(_QUERIES["holding"], {"relation": relation, "ours": list(ours)}).fetchone()
    return _stranger(row, "holds the migration ledger's table") if row else None


class PendingTexts:
    """The texts by which another tool would send what is pending: statements, drizzle's chunks, whole files."""

    def __init__(self, files: Iterable[PendingFile]) -> None:
        self._whose: dict[bytes, Migration] = {}
        for file in files:
            content = file.migration.content.decode("utf-8-sig")
            texts = [content, *content.split(DRIZZLE_BREAKPOINT), *(s.text for s in file.statements)]
            for text in texts:
                key = _key(text)
                if len(key) >= TELLING_BYTES:
                    self._whose[key] = file.migration

    def find_runner(self, session: Connection, ours: Iterable[int]) -> Stranger | None:
        """A session in the middle of one of these texts.  Queries are cut by the server at a settable length."""
        size = int(fetch_value(session, "SELECT setting FROM pg_catalog.pg_settings WHERE name = "
                                        "'track_activity_query_size'")) - 1  # fmt: skip
        for row in session.execute(_QUERIES["others_at_work"], {"ours": list(ours)}).fetchall():
            sent = _key(row[4])
            whose = self._whose.get(sent)
            if whose is None and len(row[4].encode()) >= size - 3:  # -3: never in the middle of a character
                whose = next((m for text, m in self._whose.items() if text.startswith(sent)), None)
            if whose is not None:
                return _stranger(row, f"is running statements of {whose.version}")
        return None


def _key(text: str) -> bytes:
    return text.strip().rstrip(";").rstrip().encode()


def _stranger(row: tuple[object, ...], doing: str) -> Stranger:
    pid, application, user, address, *_ = row
    assert isinstance(pid, int)
    return Stranger(
        pid=pid, application=str(application or ""), user=str(user or "unknown"), address=str(address), doing=doing
    )
