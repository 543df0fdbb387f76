"""What lint says of the plan, to be held against what the rehearsal saw."""

from collections.abc import Sequence

from pgrehearse.hazards.finding import Finding, Level
from pgrehearse.hazards.lint import lint_files
from pgrehearse.hazards.suppress import without_accepted
from pgrehearse.migrations.migration import Migration
from pgrehearse.rehearsal.request import Request


def predict_plan(request: Request, readable: Sequence[Migration]) -> tuple[Finding, ...]:
    """The findings that are worth holding against a clone: policy and short locks are lint's alone to tell.

    The files are one plan, wrapped as they are run, and sent as they stand.  What the team accepts, by comments, by
    its configuration and by its baseline, is left out, as `pgrehearse lint` leaves it out; what is *seen* is told all
    the same.  Raises `MalformedAllow`.
    """
    result = lint_files(readable, one_plan=True, transaction=request.mode, as_executed=True)
    found = without_accepted(result, readable, request.accepted).result.findings
    return tuple(finding for finding in found if finding.level is not Level.INFO)
