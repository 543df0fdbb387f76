"""Whether before-images can hold what a plan destroys: each of them keeps what one transaction took."""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Any

from pgrehearse.migrations.expectation import Verb
from pgrehearse.rehearsal.commits import CommitEvidence, RowsWritten
from pgrehearse.rehearsal.tolerated import leaves_of, relations_of, speaks_below
from pgrehearse.release.watch import Rehearsed
from pgrehearse.rollback.image_plan import ImagePlan
from pgrehearse.schema.schema_object import ObjectKind


def find_destroyed_twice(
    rehearsed: Rehearsed, plans: Sequence[ImagePlan], *, certain: Collection[str]
) -> dict[str, str]:
    """Relations of which no image holds what the plan destroys, each with a sentence; half-way would be too late.

    An image is settled by the first transaction that destroys or adds rows, and what a later one destroys is in none.
    ``certain`` are those that the rehearsal saw changed: of others an UPDATE changes nothing, or is refused.
    Pure.  Seen in the rehearsal's commits: rows inserted, updated or deleted, columns gone or of another type, a table
    gone.
    """
    found = {}
    for plan in plans:
        places: list[str] = []
        settled = twice = False
        for place, destroys, settles in _walk(rehearsed, plan, certain=plan.relation in certain):
            if destroys or settles:
                places.append(place)
            twice |= settled and destroys
            settled |= settles
        if twice:
            found[plan.relation] = (
                f"{len(places)} transactions of the plan destroy or add something of {plan.relation} "
                f"(they begin at {'; '.join(places)}), and an image holds what one of them took"
            )
    return found


def _walk(rehearsed: Rehearsed, plan: ImagePlan, *, certain: bool) -> Iterator[tuple[str, bool, bool]]:
    """Of each commit: where it begins, whether it destroys something of the table, whether it settles its image."""
    names = frozenset(name for name in (plan.relation, plan.name_after) if name is not None)
    table: dict[str, Any] = next(
        (dict(each) for each in rehearsed.document["tables"] if each["name"] == plan.relation), {"columns": []}
    )
    columns = _Columns(
        table["columns"], recreated=table.get("verdict") == "recreated", retyped=_find_retyped(rehearsed, table)
    )
    for commit in rehearsed.commits.values():
        first = commit.statements[0]
        rows = sum(
            (each.written.get(name, RowsWritten()) for each in commit.statements for name in names), RowsWritten()
        )
        gone, retyped = columns.read_changes(commit, names)
        verbs = _tolerated(rehearsed, commit, plan.relation)
        destroys = gone or bool(rows.deleted) or bool(rows.updated) or bool(verbs - {Verb.INSERTS})
        settles = gone or retyped or bool(rows.deleted or rows.inserted) or (certain and destroys) or bool(verbs)
        yield f"{first.version}, line {first.line}", destroys, settles


def _tolerated(rehearsed: Rehearsed, commit: CommitEvidence, relation: str) -> set[Verb]:
    """What the declarations above its statements let it do to rows of this table, though the rehearsal did not."""
    keys = [statement.key for statement in commit.statements]
    declarations = rehearsed.document.get("declarations", ())
    return {
        each.verb
        for each in speaks_below(rehearsed.expectations, rehearsed.kinds, keys)
        if relation in leaves_of(rehearsed.before, relations_of(each, declarations))
    }


def _find_retyped(rehearsed: Rehearsed, table: Mapping[str, Any]) -> set[str]:
    """Columns of another type afterwards whose values the plan also writes over: that is all that their verdict says.

    A change of type settles an image even where it rewrites nothing, since the image's own columns keep the old one.
    """
    before, after = (
        {each.name: each.attributes.get("type") for each in schema.of_kind(ObjectKind.COLUMN) if each.relation == name}
        for schema, name in ((rehearsed.before, table.get("name")), (rehearsed.after, table.get("name_after")))
    )
    return {
        each["name"]
        for each in table["columns"]
        if each["name"] is not None
        and each["name_after"] is not None
        and before.get(each["name"]) != after.get(each["name_after"])
    }


class _Columns:
    """Which commit takes a column's values with it: by dropping it or changing its type, not by a default or NOT NULL.

    A commit's evidence has a digest of each column, and which it had before the first commit is not known.
    """

    def __init__(self, columns: Sequence[Mapping[str, Any]], *, recreated: bool, retyped: Set[str]) -> None:
        made = {each["name_after"] for each in columns if each["verdict"] == "new"}
        dropped = {each["name"] for each in columns if each["verdict"] == "dropped"}
        self._dropped = {f"column {name}" for name in dropped - made}
        self._changed = {f"column {each['name']}" for each in columns if each["verdict"] == "type-changed"}
        self._changed |= {f"column {name}" for name in dropped & made}
        self._retyped = {f"column {name}" for name in retyped} - self._changed
        self._recreated = recreated
        self._known: dict[str, str] | None = None

    def read_changes(self, commit: CommitEvidence, names: Set[str]) -> tuple[bool, bool]:
        """Of the next commit: whether it takes values, and whether it may have changed a type."""
        found = retyped = False
        is_there = any(commit.catalog.relations.get(name) is not None for name in names)
        for name in names & commit.catalog.relations.keys():
            relation = commit.catalog.relations[name]
            if relation is None:  # under its other name it goes on with its rows; one made anew is told below
                found |= not is_there
                continue
            now = {part: digest for part, digest in relation.objects.items() if part.startswith("column ")}
            found |= self._recreated
            if not now:  # one digest of the whole relation is kept
                found |= bool(self._dropped or self._changed)
                retyped |= bool(self._retyped)
                continue
            before = self._known
            found |= any(part not in now and (before is None or part in before) for part in self._dropped)
            found |= any(before is None or now.get(part) != before.get(part) for part in self._changed)
            retyped |= any(before is None or now.get(part) != before.get(part) for part in self._retyped)
            self._known = now
        return found, retyped
