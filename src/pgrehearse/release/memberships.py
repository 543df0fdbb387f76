"""What others may do to a table without changing it, while a plan is between two of its transactions.

A publication's members and extended statistics are no part of `CatalogEvidence`: the table's own catalog rows stay as
they are.  So they are read under the lock, and held against that before each COMMIT.
"""

from collections.abc import Callable, Set

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.postgres.prepared import PreparedQueries

# In the plan's own session too, whose search_path may be anything.
_READING = PreparedQueries(named_queries(__file__), settings={"search_path": ""})

Rows = frozenset[tuple[str, int, str]]  # what it is, its oid, the transaction that wrote it


class Memberships:
    """Those of some tables from one COMMIT of ours to the next.  Two round trips per COMMIT.

    ``look`` is a session that sees what is committed and nothing else.
    """

    def __init__(self, look: Callable[[], Connection]) -> None:
        self._look = look
        self._oids: list[int] = []
        self._known: Rows = frozenset()
        self._ours: Rows | None = None  # as of the COMMIT that comes next

    def remember(self, relations: Set[str]) -> None:
        """As they are now, of these tables (under their names of now)."""
        self._oids = [oid for (oid,) in _READING.read(self._look(), ("relations", [sorted(relations)]))[0]]
        self._known = self._read(self._look())

    def find_changed(self, session: Connection) -> tuple[str, ...]:
        """What others committed since; ``session`` is in the transaction that is about to commit.

        Read there first: what comes between the two looks is then told, and not taken for ours.
        """
        self._ours = self._read(session)
        return self._changed(self._read(self._look()))

    def find_changed_outside(self) -> tuple[str, ...]:
        """The same, before a statement outside transactions."""
        return self._changed(self._read(self._look()))

    def ran_outside(self) -> None:
        """What is there now is ours: nobody can tell."""
        self._known = self._read(self._look())

    def ended(self, *, committed: bool) -> None:
        if committed and self._ours is not None:
            self._known = self._ours
        self._ours = None

    def _read(self, session: Connection) -> Rows:
        if not self._oids:
            return frozenset()
        return frozenset((what, oid, xmin) for what, oid, xmin in _READING.read(session, ("members", [self._oids]))[0])

    def _changed(self, now: Rows) -> tuple[str, ...]:
        was, is_there = ({oid for _what, oid, _xmin in rows} for rows in (self._known, now))
        return tuple(
            f"{what}: {'added' if oid not in was else 'removed' if oid not in is_there else 'changed'}"
            for what, oid in sorted({(what, oid) for what, oid, _xmin in self._known ^ now})
        )
