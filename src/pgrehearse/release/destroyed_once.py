"""Whether before-images can hold what a plan destroys: each of them keeps what one transaction took."""

from collections.abc import Sequence, Set

from pgrehearse.errors import ImagesNotTaken
from pgrehearse.rehearsal.commits import CommitEvidence, RowsWritten
from pgrehearse.release.watch import Rehearsed
from pgrehearse.rollback.image_plan import ImagePlan


def require_destroyed_once(rehearsed: Rehearsed, plans: Sequence[ImagePlan]) -> None:
    """Raise `ImagesNotTaken` where two transactions destroy something of one table; half-way would be too late.

    Pure.  Seen in the rehearsal's commits: rows updated or deleted, columns gone or changed, a table rewritten or gone.
    """
    for plan in plans:
        names = frozenset(name for name in (plan.relation, plan.name_after) if name is not None)
        columns = {f"column {name}": "" for name in rehearsed.before.columns(plan.relation)}
        places = [
            f"{commit.statements[0].version}, line {commit.statements[0].line}"
            for commit in rehearsed.commits.values()
            if _destroys(rehearsed, commit, names, columns)
        ]
        if len(places) > 1:
            raise ImagesNotTaken(
                f"{len(places)} transactions of the plan destroy something of {plan.relation} "
                f"(they begin at {'; '.join(places)}), and an image holds what one of them took",
                remedy="Put them into one transaction and rehearse again, or choose another way of recovery (a dump).",
            )


def _destroys(rehearsed: Rehearsed, commit: CommitEvidence, names: Set[str], columns: dict[str, str]) -> bool:
    """Whether this commit does; ``columns`` (digests, "" where not known) is brought up to what it left."""
    found = False
    for statement in commit.statements:
        predicted = rehearsed.predicted(statement.key)
        rewrites = set(predicted["rewrites"]) if predicted is not None else set()
        rows = [statement.written.get(name, RowsWritten()) for name in names]
        found |= bool(names & rewrites) or any(each.updated or each.deleted for each in rows)
    for name in names & commit.catalog.relations.keys():
        relation = commit.catalog.relations[name]
        if relation is None:
            found = True
            continue
        now = {part: digest for part, digest in relation.objects.items() if part.startswith("column ")}
        if now:  # not so where only one digest of the whole relation is kept
            found |= any(now.get(part) is None or digest not in ("", now[part]) for part, digest in columns.items())
            columns.clear()
            columns.update(now)
    return found
