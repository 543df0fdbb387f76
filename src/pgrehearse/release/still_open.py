"""What of the gate's yes may be gone by now: asked again under the lock, and before each file is begun.

Between the gate and the first statement lie a backup, its restore and the copies, which may take hours, and so may a
plan.  A receipt that became too old, an approval that was withdrawn, and a plan of which somebody with another release
ledger has applied a part stop a promotion where that is safe: before anything of a file is begun.
"""

from collections.abc import Sequence

from pgrehearse.errors import GateClosed, LedgerDamaged, PgRehearseError
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.observer import NoObserver, Running, StatementError
from pgrehearse.migrations.segments import PendingFile, Segment
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection
from pgrehearse.release.gate import Gate, Reason, ReasonKind
from pgrehearse.release.promotion_run import Run
from pgrehearse.release.standing import Standing

KEPT = "what is applied stays, and nothing more is begun; "
REST_REMEDY = (
    "Then `pgrehearse resume` goes on; or take back what is applied: `pgrehearse rollback`; or, where no file is "
    "half-way, rehearse what is left anew."
)


class StillOpen(NoObserver):
    """Raises `GateClosed` where the gate, asked now, would say no; a file that is half-way is finished all the same.

    ``standing``: what was applied when the gate was asked.  ``may_be_ours``: an earlier run of this very promotion
    had begun to apply, so that what is applied since may be its COMMIT, which came late.
    """

    def __init__(self, run: Run, standing: Standing, *, may_be_ours: bool) -> None:
        self._run = run
        self._standing = standing
        self._may_be_ours = may_be_ours
        self._is_begun = standing.begun
        self._is_told = False
        self.met_another = False  # somebody else has applied a part of the plan, and this run nothing

    def under_lock(self, session: Connection, pending: Sequence[PendingFile]) -> None:
        left = {file.migration.version for file in pending}
        half = [file.migration.version for file in pending if file.statements_done]
        if not self._standing.begun:
            theirs = [each.version for each in self._run.request.migrations if each.version not in left]
            if (theirs or half) and self._may_be_ours:
                self._is_begun = True
            elif theirs or half:
                self._run.steps.require_lease()  # else it was this very promotion's, gone on with by another run
                self.met_another = True
                raise GateClosed(Gate.of([_applied_meanwhile([*theirs, *half])]).why_not)
        if pending and not half and left.isdisjoint(self._standing.half):
            self._require(self._run.around.again(session))

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        begins = [part.migration.version for part in segment.parts if part.statements and not part.statements[0].index]
        new = [version for version in begins if version not in self._standing.half]
        if new:
            self._ask_people(new[0])

    def outside_begun(self, migration: Migration, statement: Statement) -> None:
        if statement.index == 0 and migration.version not in self._standing.half:
            self._ask_people(migration.version)

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None:
        self._is_begun |= running.outside and error is None

    def transaction_ended(self, *, committed: bool) -> None:
        self._is_begun |= committed

    def _ask_people(self, version: str) -> None:
        """The approvals alone: a plan that is under way does not grow too old between two of its files."""
        try:
            gate = self._run.around.approved()
        except LedgerDamaged:  # it was reached, and no approval in it can be believed
            raise
        except PgRehearseError as error:  # as with records: production is not left in the middle because of it
            if not self._is_told:
                self._run.tell(f"whether the approvals still stand was not asked before {version}: {error}")
            self._is_told = True
            return
        self._require(gate)

    def _require(self, gate: Gate) -> None:
        if gate.is_open:
            return
        if self._is_begun:
            raise GateClosed(KEPT + gate.why_not, remedy=REST_REMEDY)
        raise GateClosed(gate.why_not)


def _applied_meanwhile(versions: Sequence[str]) -> Reason:
    return Reason(
        kind=ReasonKind.PLAN,
        message="somebody else has applied a part of the plan since the gate was asked",
        remedy="Look with `pgrehearse status`; what is pending now is rehearsed and promoted by itself.",
        details=tuple(dict.fromkeys(versions)),
    )
