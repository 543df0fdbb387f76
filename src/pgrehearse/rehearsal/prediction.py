"""What lint says of the plan, to be held against what the rehearsal saw."""

from collections.abc import Sequence

import psycopg

from pgrehearse.clones.pair import ClonePair
from pgrehearse.errors import CloneFailed
from pgrehearse.hazards.against import read_catalog, sum_up_partitions
from pgrehearse.hazards.finding import Finding, HazardClass, Level
from pgrehearse.hazards.lint import lint_files
from pgrehearse.hazards.model import Model
from pgrehearse.hazards.suppress import without_accepted
from pgrehearse.migrations.migration import Migration
from pgrehearse.rehearsal.document import Seen
from pgrehearse.rehearsal.judge import Unmeasured

ONE_INSTANT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
UNTOLD = "what only a catalog can tell of the plan beforehand"


def read_pristine_model(pair: ClonePair, seen: Seen) -> None:
    """The schema as the plan will meet it, read from the pristine copy as the role that runs the plan.

    Sizes are production's own, as its snapshot told them: a copy has no bloat.  How many rows there are is the copy's
    to tell, which was analysed just now, and whether a table is empty, exactly.  Rows are not asked: the plan meets
    them.  Cost: some 20 queries over the catalogs; 0.1 s for 42 tables, 5 s for 5,000 on a busy machine.  Where the
    role cannot be had here, the plan is judged by its text.
    """
    if pair.role_problem is not None:
        return  # no plan is run
    try:
        with pair.session_of("pristine", pair.role, "lint") as session:
            session.execute(ONE_INSTANT)
            model = read_catalog(session, freshly_restored=True)
    except (psycopg.Error, CloneFailed) as error:
        said = str(error).partition("\n")[0]
        reason = f"the catalogs of the copy were not read: {said}"
        seen.unmeasured.append(Unmeasured(what=UNTOLD, reason=reason, decisive=False))
        return
    model.data = None
    for relation in model.relations.values():
        size = seen.table_sizes.get(relation.name.written)
        if size is not None:
            relation.size_bytes = size.size_bytes
    sum_up_partitions(model)
    seen.model = model


def predict_plan(seen: Seen, readable: Sequence[Migration]) -> tuple[Finding, ...]:
    """The findings that are worth holding against a clone: policy and short locks are lint's alone to tell.

    The files are one plan, wrapped as they are run, and sent as they stand, upon the schema of the pristine copy if
    that was read.  What the team accepts, by comments, by its configuration and by its baseline, is left out, as
    `pgrehearse lint` leaves it out; what is *seen* is told all the same.  Raises `MalformedAllow`.
    """
    whole = len(readable) == len(seen.request.plan.migrations)  # what a file makes that cannot be read is not known
    if seen.model is None or not whole:
        return _predict(seen, readable, None)
    predicted = _predict(seen, readable, seen.model)
    if seen.failure is None and any(_is_certain_to_fail(finding) for finding in predicted):
        # The catalog misled: what is certain to fail, and all beside it, is told as if it did nothing else.
        return _predict(seen, readable, None)
    return predicted


def _predict(seen: Seen, readable: Sequence[Migration], model: Model | None) -> tuple[Finding, ...]:
    request = seen.request
    result = lint_files(readable, one_plan=True, model=model, transaction=request.mode, as_executed=True)
    for fault in result.faults:  # what the plan did was seen all the same
        missing = Unmeasured(what=f"what lint says of {fault.file}:{fault.line}", reason=fault.reason, decisive=False)
        if missing not in seen.unmeasured:
            seen.unmeasured.append(missing)
    found = without_accepted(result, readable, request.accepted).result.findings
    return tuple(finding for finding in found if finding.level is not Level.INFO)


def _is_certain_to_fail(finding: Finding) -> bool:
    return HazardClass.FAILS in finding.classes and finding.level is Level.ERROR
