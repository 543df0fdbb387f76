"""What a plan writes over without having changed it in the rehearsal: production's values may fare otherwise.

An UPDATE that normalises values changes none where all are in order already, and a type change loses nothing where
every value fits.  Production goes on after the clone was taken, so these are copied too; what an UPDATE was not
seen to change must not change, and what a type change was not seen to lose must not be lost.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pgrehearse.counted import counted
from pgrehearse.errors import NotAsRehearsed
from pgrehearse.migrations.observer import NoObserver
from pgrehearse.migrations.segments import Segment
from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.commits import RowsWritten
from pgrehearse.rehearsal.tolerated import Tolerated, as_written, every_value, find_tolerated, leaves_of
from pgrehearse.release.retyped import TypesBefore, read_types_before, require_kept
from pgrehearse.release.watch import Rehearsed
from pgrehearse.rollback.image import Image, ImageState, read_again

# Leaves beside those of which there are images, and of which this transaction destroyed rows or values.
NOT_IMAGED = """
SELECT DISTINCT pg_catalog.format('%%I.%%I', n.nspname, c.relname)
FROM pg_catalog.unnest(%(oids)s::int8[]) AS i (number), LATERAL pg_catalog.pg_partition_root(i.number::oid) AS r (root),
     LATERAL pg_catalog.pg_partition_tree(r.root) AS t
JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE t.isleaf AND t.relid::oid::int8 <> ALL (%(oids)s::int8[])
  AND pg_catalog.pg_stat_get_xact_tuples_updated(t.relid) + pg_catalog.pg_stat_get_xact_tuples_deleted(t.relid) > 0
ORDER BY 1
"""
UNTOUCHED = frozenset({"unchanged", "renamed", "new"})
TYPE_CHANGED = "type-changed"


def written_tables(rehearsed: Rehearsed) -> list[dict[str, Any]]:
    """The receipt's tables as what the plan may do to them, whatever the rehearsal saw.

    Every column that it wrote over is told as changed, but for a key that images tell rows apart by; a table of which
    it deleted rows, or whose file lets it, as having lost some; one that its file lets it add rows to as having more.
    """
    document, before = rehearsed.document, rehearsed.before
    tolerated = tolerated_by(rehearsed)
    retyped = _retyped(document)
    updated = _written_by(rehearsed, lambda rows: bool(rows.updated))
    deleted = _written_by(rehearsed, lambda rows: bool(rows.deleted))
    tables = []
    for table in document["tables"]:
        name = table["name"]
        if name is None or table["name_after"] is None:
            tables.append(dict(table))
            continue
        over = retyped.get(name, frozenset())
        if name in tolerated.changes or _is_in(updated, table):
            over |= every_value(table, before)
        loses = name in tolerated.loses or _is_in(deleted, table)
        tables.append(as_written(table, before, over=over, loses=loses, gains=name in tolerated.gains))
    return tables


def tolerated_by(rehearsed: Rehearsed) -> Tolerated:
    """What the plan's declarations let production do where the rehearsal did nothing of it."""
    return find_tolerated(rehearsed.document.get("declarations", ()), rehearsed.before)


def _written_by(rehearsed: Rehearsed, is_so: Callable[[RowsWritten], bool]) -> tuple[frozenset[str], frozenset[str]]:
    """Relations by the name that they had then: the leaves of these before the plan, and those after it."""
    written = [statement.written for statement in rehearsed.rows.values()]
    written += [commit.at_commit for commit in rehearsed.commits.values()]
    named = {name for found in written for name, rows in found.items() if is_so(rows)}
    return frozenset(leaves_of(rehearsed.before, named)), frozenset(leaves_of(rehearsed.after, named))


def _is_in(names: tuple[frozenset[str], frozenset[str]], table: Mapping[str, Any]) -> bool:
    before, after = names
    return table["name"] in before or table["name_after"] in after


def seen_unchanged(rehearsed: Rehearsed) -> frozenset[str]:
    """Tables that the rehearsal left with every row and value that they had."""
    return frozenset(
        table["name"]
        for table in rehearsed.document["tables"]
        if table["name"] is not None
        and table["name_after"] is not None
        and not table["rows_lost"]
        and table["verdict"] != "rows-moved"
        and all(column["verdict"] in UNTOUCHED for column in table["columns"])
    )


def seen_tables(rehearsed: Rehearsed) -> frozenset[str]:
    """Every table that the rehearsal knew, by its names before and after."""
    tables = rehearsed.document["tables"]
    return frozenset(table[each] for table in tables for each in ("name", "name_after") if table[each] is not None)


def seen_retyped(rehearsed: Rehearsed) -> dict[str, frozenset[str]]:
    """Columns whose type the plan changed in the rehearsal without losing or changing a value, by table."""
    return _retyped(rehearsed.document)


class RefuseUnseenChanges(NoObserver):
    """After the images are settled, before COMMIT: what was not seen to change must not have changed."""

    def __init__(
        self,
        images: Sequence[Image],
        *,
        unchanged: frozenset[str],
        retyped: Mapping[str, frozenset[str]],
        tolerated: Tolerated,
        seen: frozenset[str],
    ) -> None:
        self._oids = [image.relation_oid for image in images if not image.plan.is_sequence]
        self._seen = seen
        self._images = tuple(image for image in images if image.relation in unchanged or image.relation in retyped)
        self._unchanged = unchanged
        self._retyped = retyped
        self._tolerated = tolerated
        self._before: TypesBefore | None = None
        self._settled: frozenset[str] = frozenset()  # by an earlier transaction, and refused or let pass there

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        current = read_again(session, self._images) if self._images else ()
        self._settled = frozenset(image.relation for image in current if image.state is ImageState.SETTLED)
        retyped = [image for image in self._images if image.relation in self._retyped]
        self._before = read_types_before(session, retyped) if retyped else None

    def before_commit(self, session: Connection) -> None:
        unknown = [name for (name,) in session.execute(NOT_IMAGED, {"oids": self._oids}) if name not in self._seen]
        if unknown:
            raise NotAsRehearsed(
                f"{', '.join(unknown)}: a partition that the rehearsal did not know, and this would change or remove "
                "rows there that are in no image",
                remedy="Rehearse again: the clone has that partition then.",
            )
        for image in read_again(session, self._images) if self._images else ():
            if image.settled is None or image.relation in self._settled:
                continue
            if image.relation in self._unchanged:
                _require_unchanged(image, self._tolerated)
            if (columns := self._retyped.get(image.relation)) and self._before is not None:
                require_kept(session, image, columns, self._before)


def _require_unchanged(image: Image, tolerated: Tolerated) -> None:
    """But for what its file lets be: of that the counts are held against the bound, and the image has it."""
    assert image.settled is not None
    changed = 0 if image.relation in tolerated.changes else image.settled.rows_changed or 0
    changed += 0 if image.relation in tolerated.loses else image.settled.rows_absent or 0
    if changed:
        raise NotAsRehearsed(
            f"{image.relation}: the rehearsal changed no value that was there, this would change or remove "
            f"those of {counted(changed, 'row')}",
            remedy="Rehearse again: production holds values by now that the clone did not hold.",
        )


def _retyped(document: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Columns whose type changes, by table."""
    return {
        table["name"]: columns
        for table in document["tables"]
        if table["name"] is not None
        and (columns := frozenset(each["name"] for each in table["columns"] if each["verdict"] == TYPE_CHANGED))
    }
