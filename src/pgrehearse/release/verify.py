"""After a promotion: is production's schema the receipt's `after`, and how many rows do the changed tables have?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.release.touched import differences_where_touched
from pgrehearse.release.watch import Rehearsed
from pgrehearse.rollback.names import split_name
from pgrehearse.schema.snapshot import read_schema

COUNT_TIMEOUT_MS = 5_000
_COUNT = "SELECT pg_catalog.count(*) FROM {relation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Production as it is now, beside what the rehearsal left."""

    differences: tuple[str, ...]  # of the schema, for what the plan touched; empty: as rehearsed
    counts: tuple[Mapping[str, Any], ...]  # table, predicted, actual (None: not counted within the time)

    def as_json(self) -> dict[str, Any]:
        return {"differences": list(self.differences), "counts": [dict(count) for count in self.counts]}


def verify(session: Connection, rehearsed: Rehearsed, *, ignored: frozenset[str]) -> Verified:
    """Reads the schema, and counts each changed table for at most `COUNT_TIMEOUT_MS`.

    The database is live: counts may differ from the rehearsal's for good reasons, so they are evidence only.
    """
    schema = read_schema(session, ignore_relations=ignored)
    differences = differences_where_touched(rehearsed.after, schema, rehearsed.touched)
    counts = tuple(
        {"table": table["name_after"], "predicted": table["rows_after"], "actual": _count(session, table["name_after"])}
        for table in rehearsed.document["tables"]
        if table["name_after"] is not None and table["verdict"] != "unchanged"
    )
    return Verified(differences=differences, counts=counts)


def _count(session: Connection, name: str) -> int | None:
    try:
        with session.transaction():
            session.execute("SELECT pg_catalog.set_config('statement_timeout', %s, true)", (str(COUNT_TIMEOUT_MS),))
            row = session.execute(sql.SQL(_COUNT).format(relation=sql.Identifier(*split_name(name)))).fetchone()
    except psycopg.Error:  # too many rows for the time, or it was renamed since
        return None
    return None if row is None else int(row[0])
