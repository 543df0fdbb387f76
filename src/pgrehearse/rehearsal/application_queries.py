"""The application's queries in a rehearsal: its workload read from the source, and planned on both copies."""

import time

import psycopg

from pgrehearse.clones.pair import ClonePair
from pgrehearse.counted import agree
from pgrehearse.data.verdicts import TableVerdict
from pgrehearse.postgres.connect import Connection
from pgrehearse.progress import Progress
from pgrehearse.queries.compare import compare_queries
from pgrehearse.queries.fresh_statistics import refresh_statistics
from pgrehearse.queries.statistics_view import NoStatistics, read_role_settings, read_statistics
from pgrehearse.queries.workload import Workload
from pgrehearse.queries.workload_file import read_file
from pgrehearse.rehearsal.document import Seen

NOT_ASKED = "not asked for (--workload none)"
EMPTY = "the workload holds no statement of this database that can be planned"
NOT_MIGRATED = "the plan did not run through: there is nothing to compare with"


def read_workload(session: Connection, seen: Seen) -> None:
    """In the snapshot that the copy is made from; two queries."""
    asked = seen.request.queries
    if asked.left_out:
        seen.no_queries = NOT_ASKED
    elif asked.file is not None:
        seen.role_settings = read_role_settings(session)
    else:
        try:
            seen.workload = read_statistics(session)
        except NoStatistics as error:
            seen.no_queries = str(error)


def plan_queries(pair: ClonePair, seen: Seen, progress: Progress) -> None:
    """After the data was compared and before the team's checks: nobody else has written into the clone yet.

    Changes statistics of the clone, and nothing of the pristine copy.  What goes wrong here is told as not measured.
    """
    if seen.no_queries is not None:
        return
    if pair.role_problem is not None or seen.failure is not None or seen.not_run or not seen.traces:
        seen.no_queries = NOT_MIGRATED
        return
    workload = seen.workload if seen.workload is not None else _read_file(pair, seen, progress)
    if not workload.queries:
        seen.no_queries = EMPTY
    progress.step(
        f"planning {len(workload.queries):,} {agree(len(workload.queries), 'query', 'queries')} before and after"
    )
    started = time.monotonic()
    tables = seen.data.tables if seen.data is not None else ()
    changed = [table.name_after for table in tables if table.verdict is not TableVerdict.UNCHANGED]
    try:
        with pair.session("pristine", "plan") as before, pair.session("clone", "plan") as after:
            refresh_statistics(before, after, changed=[name for name in changed if name is not None])
        seen.queries = compare_queries(
            workload,
            lambda: pair.session("pristine", "plan"),
            lambda: pair.session("clone", "plan"),
            limits=seen.request.queries.limits,
            progress=progress.advance,
        )
    except psycopg.Error as error:
        seen.no_queries = f"the queries could not be compared: {error.diag.message_primary or str(error).strip()}"
    seen.timings["queries_ms"] = (time.monotonic() - started) * 1000


def _read_file(pair: ClonePair, seen: Seen, progress: Progress) -> Workload:
    asked = seen.request.queries
    assert asked.file is not None
    progress.step(f"reading the workload {asked.file.name}")
    return read_file(
        asked.file,
        database=pair.origin.identity.database,
        role=asked.role or pair.role,
        role_settings=seen.role_settings,
    )
