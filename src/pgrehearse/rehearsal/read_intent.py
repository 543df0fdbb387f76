"""Reads from pristine copy and clone what the declarations of a plan are held against."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg import sql

from pgrehearse.clones.pair import ClonePair
from pgrehearse.data.session import prepare_session
from pgrehearse.data.verdicts import DataComparison
from pgrehearse.errors import CloneFailed, DataNotCompared, ServerUnreachable
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.migrations.expectation import Expectation
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.rehearsal.commits import CommitEvidence
from pgrehearse.rehearsal.declared_rows import DeclaredRows, NotEvaluated, telling
from pgrehearse.rehearsal.declared_tables import Target, find_targets
from pgrehearse.rehearsal.happened import Happened
from pgrehearse.rehearsal.intent import Intent, judge_intent
from pgrehearse.rehearsal.judged_table import ConditionRows
from pgrehearse.rehearsal.moments import Moment

SET = "SELECT pg_catalog.set_config(%s, %s, false)"


def read_intent(
    pair: ClonePair,
    expectations: Sequence[Expectation],
    *,
    moments: Mapping[tuple[str, int], Moment],
    data: DataComparison,
    commits: Sequence[CommitEvidence],
    traces: Sequence[StatementTrace],
    statement_timeout_ms: int,
) -> Intent:
    """Hold each declaration against the clone.  Reads catalogs, and for each condition the rows that satisfy it.

    A condition is SQL of the plan's author, so it is asked as the role that runs the plan, read-only.  Raises
    `DataNotCompared` when a session breaks.
    """
    happened = Happened(data, commits, traces)
    with ExitStack() as stack, _sessions_hold():
        pristine = prepare_session(stack.enter_context(pair.session("pristine", "observe")))
        clone = prepare_session(stack.enter_context(pair.session("clone", "observe")))
        last = {version: moment for (version, _), moment in sorted(moments.items(), key=lambda found: found[0])}
        targets = find_targets(pristine, clone, expectations, last)

        def ask(target: Target, hurt: Collection[str]) -> ConditionRows:
            assert target.before is not None
            reader = stack.enter_context(_as_role(pair, statement_timeout_ms))
            writer = prepare_session(stack.enter_context(pair.session("clone", "observe")))
            rows = DeclaredRows(reader, writer, target.before, target.after, hurt)
            return _Asked(rows, expectations, targets, happened, moments)

        return judge_intent(expectations, targets, happened, ask)


@contextmanager
def _sessions_hold() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        told = f"{type(error).__name__}, SQLSTATE {error.sqlstate or 'unknown'}"
        raise DataNotCompared(f"a session broke while declarations were held against the data ({told})") from error


class _Asked:
    """`DeclaredRows` of the plan's conditions, each as its own statement meant it."""

    def __init__(
        self,
        rows: DeclaredRows,
        expectations: Sequence[Expectation],
        targets: Sequence[Target],
        happened: Happened,
        moments: Mapping[tuple[str, int], Moment],
    ) -> None:
        self._rows = rows
        self._expectations = expectations
        self._targets = targets
        self._happened = happened
        self._moments = moments
        self.lost = rows.lost
        self.changed = rows.changed

    def load(self, at: int) -> int:
        expectation = self._expectations[at]
        assert expectation.condition is not None
        return self._rows.load(at, expectation.condition, self._moment_of(at))

    def _moment_of(self, at: int) -> Moment:
        """Of the last statement below that wrote to the table; where none was seen writing, of the first below."""
        expectation = self._expectations[at]
        below = [key for key in sorted(self._moments) if expectation.covers(*key)]
        if not below:
            raise NotEvaluated("no statement below it ran")
        writer = self._happened.last_writer(expectation, self._targets[at])
        return self._moments[writer if writer in self._moments else below[0]]  # type: ignore[index]


def _as_role(pair: ClonePair, statement_timeout_ms: int) -> Connection:
    """A read-only session in the pristine copy as production's role."""
    access = pair.role_access
    if access is None:
        raise NotEvaluated(pair.role_problem or f"no session as {pair.role} can be had")
    try:
        session = connect(access.conninfo.replaced(dbname=pair.pristine.database), verb="observe")
    except ServerUnreachable as error:
        raise NotEvaluated(str(error)) from error
    try:
        prepare_session(session)
        with telling():
            session.execute(SET, ("statement_timeout", str(statement_timeout_ms)))
            session.execute(SET, ("row_security", "on"))  # rows that the plan's role may not see it cannot mean either
            if access.current_user is not None:
                session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(access.current_user)))
    except (NotEvaluated, psycopg.Error, CloneFailed):
        session.close()
        raise
    return session
