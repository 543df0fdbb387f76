"""Which locks a statement takes before it fails.

A failing statement has given its locks back when its error arrives, so nobody can ask its session.  Its transaction is
run once more in a session of our own and rolled back; the statement is made to wait where its locks show.
"""

from collections.abc import Sequence
from dataclasses import replace

import psycopg

from pgrehearse.clones.pair import ClonePair
from pgrehearse.hazards.outside_locks import OutsideLocks
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.migrations.statements import TransactionNeed
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.postgres.pooler import BACKEND_PID
from pgrehearse.rehearsal.commits import CommitEvidence

QUERIES = named_queries(__file__)
MOST_MS = 10_000.0  # that the failed transaction took; a longer one is not run again for its locks
LIMITS = (
    "SELECT pg_catalog.set_config(name, '20s', true) FROM (VALUES ('statement_timeout'), ('lock_timeout')) v (name)"
)


def with_locks_of_failure(
    pair: ClonePair, traces: Sequence[StatementTrace], commits: Sequence[CommitEvidence], *, ignored: frozenset[str]
) -> tuple[StatementTrace, ...]:
    """The traces, the failed one with the locks that it took or waited for, where they could be had.

    After the plan, whose failed transaction is rolled back.  Costs that transaction once more, at most `MOST_MS`.
    """
    again = _find_again(traces, commits)
    if again is None:
        return tuple(traces)
    try:
        with pair.session_as_role("locks") as session, pair.session("clone", "watch") as watch:
            failed = _watch_again(pair, again, session, watch, ignored)
    except psycopg.Error:
        return tuple(traces)  # what failed otherwise this time tells nothing
    return (*traces[:-1], failed)


def _find_again(traces: Sequence[StatementTrace], commits: Sequence[CommitEvidence]) -> list[StatementTrace] | None:
    """The statements of the failed transaction, the failed one last; None where they cannot be run again alike."""
    if not traces or traces[-1].error is None or traces[-1].locks or traces[-1].statement.beyond is not None:
        return None
    committed = {statement.key for commit in commits for statement in commit.statements}
    again = [trace for trace in traces if (trace.migration.version, trace.statement.index) not in committed]
    alike = all(trace.statement.need is TransactionNeed.ANY and trace.statement.beyond is None for trace in again)
    return again if alike and sum(trace.duration_ms for trace in again) <= MOST_MS else None


def _watch_again(
    pair: ClonePair, again: list[StatementTrace], session: Connection, watch: Connection, ignored: frozenset[str]
) -> StatementTrace:
    *before, failed = again
    with pair.session("pristine", "watch") as pristine:  # a name before the plan; oids are the same
        names = {oid: name for oid, name in pristine.execute(QUERIES["relations"]) if name not in ignored}
    session.execute("BEGIN")
    try:
        session.execute(LIMITS)
        for trace in before:
            session.execute(trace.statement.text.encode())
        pid = fetch_value(session, BACKEND_PID)  # a pooler gives libpq another number
        held = {oid for (oid,) in watch.execute(QUERIES["held"], (pid,))}
        watching = OutsideLocks(
            watch, lambda: pair.session("clone", "watch"), pid, [each for each in names if each not in held]
        )
        watching.start()
        try:
            session.execute(failed.statement.text.encode())
        except psycopg.Error:
            found = watching.stop()
        else:
            watching.stop()
            return failed  # it does not fail this time
    finally:
        session.execute("ROLLBACK")
    return replace(
        failed, locks={names[oid]: mode for oid, mode in sorted(found.items())}, sampled=not watching.is_exact
    )
