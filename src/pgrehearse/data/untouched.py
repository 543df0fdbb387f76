"""Which tables nobody wrote into, shown without reading their values.

A table's rows are those of before when its catalog entry and its types' are (so that the same bytes mean the same), and

* it stands in the same file and the server counted no row written to it.  Costs nothing.  TRUNCATE, which is not
  counted, makes a new file.  Who may turn the counters off or reset them hides what he writes, so they are believed
  only where nothing that the plan's role can reach may do that; or
* as many rows as before were written by transactions of before: an UPDATE writes a row anew, a DELETE takes one away.
  Rows keep the id of the transaction that wrote them when they are frozen or moved by VACUUM.  Costs `count(*)` on one
  side and 1.8 times that on the other.  Holds for a superuser as well, if the file is the same, since he may exchange
  files; not for one who writes pages with code of his own (pg_surgery).

What neither sees (columns added, dropped, retyped in place, enum labels, domains, partitions attached, tables made
again) stands in the catalog, and a table whose old columns or types changed there is never taken for untouched.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

from pgrehearse.data.columns import NAMED_OIDS, Expression
from pgrehearse.data.proof import Evidence
from pgrehearse.data.tables import Column, Table, Tables, Type
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)

COUNTERS_SINCE = 150000  # before, the statistics went through a socket that may lose some
NOT_ALONE = "another session is in the clone, and what it wrote may not be counted yet"
ENDING_S = 10.0  # how long sessions may take to end; each hands in its counters when it does
XID_ROOM = 2**30  # beyond it a row's age says nothing

BY_COUNTERS = (Evidence.CATALOG, Evidence.RELFILENODE, Evidence.COUNTERS)
BY_XMIN = (Evidence.CATALOG, Evidence.RELFILENODE, Evidence.XMIN, Evidence.COUNT)
BY_XMIN_MOVED = (Evidence.CATALOG, Evidence.XMIN, Evidence.COUNT)  # rewritten as it was: VACUUM FULL, CLUSTER

# A row of no normal transaction (age 2147483647) is none that a restore wrote.
WRITERS = sql.SQL(
    "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE pg_catalog.age(xmin) >"
    " (SELECT pg_catalog.age({boundary}::pg_catalog.xid)) AND pg_catalog.age(xmin) <> 2147483647)"
    " FROM ONLY {table}{where}"
)
COUNT = sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {table}{where}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """How the clone stood before the plan."""

    role: str  # who runs the plan
    alone: bool  # nobody else could have begun to write before ``boundary``
    boundary: int  # the first transaction id, 64 bits, that was not given out yet
    epoch: str
    counters: dict[int, tuple[int, ...]]  # by oid
    doubt: str | None  # why the counters cannot be believed


def read_baseline(clone: Connection, *, role: str, as_role: Callable[[], Connection] | None = None) -> Baseline:
    """Before the plan runs as ``role``; ``as_role`` opens a session as that role.  Needs no right of its own.

    Waits until other sessions in the clone have ended, at most `ENDING_S`.
    """
    alone = _wait_until_alone(clone)
    doubt = _doubt(clone, role)
    if doubt is None and as_role is not None:
        with as_role() as session:
            if fetch_value(session, "SHOW track_counts") != "on":
                doubt = f"role {role} runs with track_counts off"
        alone = _wait_until_alone(clone) and alone
    return Baseline(
        role=role,
        alone=alone,
        boundary=fetch_value(clone, QUERIES["boundary"]),
        epoch=fetch_value(clone, QUERIES["epoch"]),
        counters={oid: tuple(counted) for oid, counted in clone.execute(QUERIES["counters"])},
        doubt=doubt,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Touches:
    """What the clone's server tells after the plan."""

    baseline: Baseline
    counters: dict[int, tuple[int, ...]]
    doubt: str | None  # why the counters are not believed
    trusted: bool  # nothing within the role's reach forges files or counters
    xmin_tells: bool
    pristine: Tables
    clone: Tables

    def same_description(self, before: Table, after: Table) -> bool:
        """Whether the catalog says of every pristine column, and of its type, what it said; others may have been added.

        Names tell nothing about rows.
        """
        if before.oid != after.oid or before.partitioned or not (before.is_heap and after.is_heap):
            return False
        if before.parent_oid != after.parent_oid:
            return False
        return all(self._same_column(column, after.find_column(column.number)) for column in before.columns)

    def _same_column(self, before: Column, after: Column | None) -> bool:
        return (
            after is not None
            and (before.type_oid, before.typmod, before.stored) == (after.type_oid, after.typmod, after.stored)
            and before.type_oid not in NAMED_OIDS  # what they name may be gone, whoever wrote them
            and _same_type(before.type_oid, self.pristine.types, self.clone.types)
        )

    def counted_nothing(self, before: Table, after: Table) -> bool:
        """Whether file and counters say that nobody wrote into a table of the same description."""
        return (
            self.doubt is None
            and _same_files(before, after)
            and before.oid in self.baseline.counters
            and self.counters.get(before.oid) == self.baseline.counters[before.oid]
        )

    def may_tell_by_xmin(self, before: Table, after: Table) -> bool:
        """Whether `writers_sql` would tell; who may exchange files may have put another table's rows here."""
        return self.xmin_tells and (_same_files(before, after) or self.trusted)

    def evidence_by_xmin(self, before: Table, after: Table) -> tuple[Evidence, ...]:
        return BY_XMIN if _same_files(before, after) else BY_XMIN_MOVED

    def writers_sql(self, table: Table, where: Expression) -> sql.Composed:
        """A query of one row for the clone: how many rows, and how many of them were written before the plan."""
        boundary = sql.Literal(str(self.baseline.boundary & 0xFFFFFFFF))
        return WRITERS.format(boundary=boundary, table=table.identifier, where=where)


def count_sql(table: Table, where: Expression) -> sql.Composed:
    """``count(*)``."""
    return COUNT.format(table=table.identifier, where=where)


def read_touches(clone: Connection, baseline: Baseline, pristine: Tables, clone_tables: Tables) -> Touches:
    """After the plan, whose sessions have been closed.  Waits until they have ended, at most `ENDING_S`."""
    alone = _wait_until_alone(clone)
    doubt = baseline.doubt or _doubt(clone, baseline.role)
    trusted = doubt is None
    if doubt is None and not (alone and baseline.alone):
        doubt = NOT_ALONE
    if doubt is None and fetch_value(clone, QUERIES["epoch"]) != baseline.epoch:
        doubt = "the counters were reset or lost while the plan ran"
    used = fetch_value(clone, QUERIES["boundary"]) - baseline.boundary
    return Touches(
        baseline=baseline,
        counters={oid: tuple(counted) for oid, counted in clone.execute(QUERIES["counters"])},
        doubt=doubt,
        trusted=trusted,
        xmin_tells=baseline.alone and 0 <= used < XID_ROOM,
        pristine=pristine,
        clone=clone_tables,
    )


def _doubt(clone: Connection, role: str) -> str | None:
    if clone.info.server_version < COUNTERS_SINCE:
        return f"PostgreSQL {clone.info.server_version // 10000} may lose some of them"
    row = clone.execute(QUERIES["doubts"], {"role": role}).fetchone()
    return None if row is None else str(row[0])


def _wait_until_alone(clone: Connection) -> bool:
    deadline = time.monotonic() + ENDING_S
    while fetch_value(clone, QUERIES["others"]):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _same_files(before: Table, after: Table) -> bool:
    # Without a TOAST table before, no value stands in one.
    return before.file == after.file and before.toast_file in (None, after.toast_file)


def _same_type(oid: int, before: dict[int, Type], after: dict[int, Type], seen: frozenset[int] = frozenset()) -> bool:
    """Whether a type and all that it is made of are described alike."""
    if oid in seen:
        return True
    mine, other = before.get(oid), after.get(oid)
    if mine is None or mine != other:
        return False
    parts = {mine.base_oid, mine.element_oid, mine.subtype_oid, *(part.type_oid for part in mine.attributes)} - {0}
    return all(_same_type(part, before, after, seen | {oid}) for part in parts)
