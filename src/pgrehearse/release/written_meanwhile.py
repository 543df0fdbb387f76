"""What was written between the proof of recoverability and the first statement, as PostgreSQL counts it.

Its counters count what was rolled back like what was committed, and they do not say whose it was: so after an earlier
run of the same promotion they tell at most what others wrote.
"""

from collections.abc import Mapping
from typing import Any

from pgrehearse.counted import counted
from pgrehearse.postgres.connect import Connection
from pgrehearse.release.backup.writes import Counters, writes_since

OURS_TOO = (
    "an earlier run of this promotion wrote too, and these counters have it, rolled back or not: "
    "the others wrote at most that much"
)


def read_writes(
    session: Connection, counters: Counters | None, *, ours_too: bool
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """For the record and for a person; ``ours_too``: statements of this very promotion may have run since."""
    if counters is None:
        return {}, ()
    writes = writes_since(session, counters).as_json()
    tables = [each for each in writes["tables"] if not each["name"].startswith("pgrehearse_quarantine.")]
    doubts = [*writes["doubts"], *([OURS_TOO] if tables and ours_too else [])]
    at_most = "at most " if ours_too else ""
    told = [
        f"written since it was secured: {table['name']}: {at_most}{counted(table['inserted'], 'row')} inserted, "
        f"{table['updated']} updated, {table['deleted']} deleted"
        for table in tables
    ]
    return {"tables": tables, "doubts": doubts}, (*told, *([OURS_TOO] if tables and ours_too else []))
