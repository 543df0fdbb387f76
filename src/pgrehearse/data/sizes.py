"""How big each table is and how much has been written to it, as the server's own statistics say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from pgrehearse.errors import DataNotCompared
from pgrehearse.postgres.connect import Connection, fetch_value

LOCK_TIMEOUT = "SET LOCAL lock_timeout = '10s'"
# A table that was never analysed has reltuples -1; live rows are counted by the cumulative statistics, which a failover
# or a crash loses: they know of no rows then, though the table has pages.
SIZES = """
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::pg_catalog.int8
            WHEN s.n_live_tup > 0 OR pg_catalog.pg_relation_size(c.oid) = 0 THEN COALESCE(s.n_live_tup, 0) END,
       c.reltuples >= 0,
       pg_catalog.pg_total_relation_size(c.oid),
       COALESCE(s.n_tup_ins + s.n_tup_upd + s.n_tup_del, 0)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """One table, a leaf of a partitioned one, or a materialized view."""

    rows: int | None  # the server's estimate; None: it has none
    size_bytes: int  # with indexes and TOAST
    writes: int  # rows inserted, updated and deleted since the server's statistics were last reset
    is_analysed: bool = True  # rows are ANALYZE's, which outlives a failover, not the cumulative statistics'

    def as_json(self) -> dict[str, int | None]:
        return {"rows": self.rows, "size_bytes": self.size_bytes, "writes": self.writes}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "TableSize":
        return cls(rows=document["rows"], size_bytes=document["size_bytes"], writes=document["writes"])


def read_table_sizes(connection: Connection) -> dict[str, TableSize]:
    """By ``namespace.relation`` as SQL writes it.  One query over the catalog; takes and gives back ACCESS SHARE,
    one relation at a time.  Raises `DataNotCompared` when another session keeps a table locked for too long.
    """
    try:
        with connection.transaction():
            connection.execute(LOCK_TIMEOUT)
            return {
                name: TableSize(rows=rows, size_bytes=size, writes=writes, is_analysed=is_analysed)
                for name, rows, is_analysed, size, writes in connection.execute(SIZES)
            }
    except psycopg.errors.LockNotAvailable as error:
        raise DataNotCompared(
            "the sizes of the tables were not read: another session has one of them locked ACCESS EXCLUSIVE",
            remedy="Wait until that migration or VACUUM FULL has ended, then run the command again.",
        ) from error


def read_database_size(connection: Connection) -> int:
    """Bytes of the whole database this session is in."""
    return int(fetch_value(connection, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())"))
