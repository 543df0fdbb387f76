"""Which hits concern anybody, and how much: what is new, empty or small, what fails anyway, what the file gives back.

The rules say what a statement does; here that is held against what it does it to.
"""

from collections.abc import Iterable
from dataclasses import replace

from pgrehearse.counted import counted
from pgrehearse.hazards.catalogue import CATALOGUE
from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Relation
from pgrehearse.hazards.predict.constraints import listed
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.written import Written

BY_SIZE = frozenset({HazardClass.REWRITES_TABLE, HazardClass.SCANS_UNDER_LOCK, HazardClass.DATA_LOSS})
_UNDONE = frozenset({
    HazardClass.DATA_LOSS, HazardClass.BREAKS_RUNNING_APP, HazardClass.REWRITES_TABLE, HazardClass.GUARANTEE_LOST,
    HazardClass.HARD_TO_UNDO,
})  # fmt: skip
# What makes a finding an error; others only wait.
_GRAVE = frozenset({
    HazardClass.DATA_LOSS, HazardClass.BREAKS_RUNNING_APP, HazardClass.REWRITES_TABLE, HazardClass.FAILS,
    HazardClass.GUARANTEE_LOST,
})  # fmt: skip
_FEW_ROWS = 100  # a table that small is read in less time than its lock takes
_SMALL_BYTES = 1024 * 1024


def at_once(hits: Iterable[Hit], situation: Situation) -> list[Hit]:
    """A statement that is certain to fail does nothing else: where a catalog shows it, only that is told."""
    found = list(hits)
    fails = (HazardClass.FAILS,)
    return [replace(hit, classes=fails) for hit in certain_to_fail(found, situation)] or found


def certain_to_fail(hits: Iterable[Hit], situation: Situation) -> list[Hit]:
    if not situation.model.complete:
        return []
    return [
        hit
        for hit in hits
        if hit.certain
        and hit.level is None
        and HazardClass.FAILS in (hit.classes or CATALOGUE[hit.hazard].classes)
        and CATALOGUE[hit.hazard].level is Level.ERROR
        and not _harmless(hit, situation)
    ]


def unless_caught(hits: list[Hit], settled: list[Hit], part: Written) -> list[Hit]:
    """Where an EXCEPTION block catches the error, or it is not reached, the file goes on, and does the rest."""
    failing = [hit for hit in settled if hit not in hits]
    if not part.caught:
        failing = [hit for hit in failing if HazardClass.FAILS in (hit.classes or CATALOGUE[hit.hazard].classes)]
    if not failing or not (part.caught or part.branched):
        return settled
    unsure = "whether its EXCEPTION block catches the error" if part.caught else "whether it is reached"
    return [*hits, *(replace(hit, certain=False, unsure=unsure) for hit in failing)]


def that_remains(hit: Hit) -> Hit | None:
    """Of a statement whose transaction fails: its locks and its reading, but none of its effects."""
    classes = hit.classes or CATALOGUE[hit.hazard].classes
    if HazardClass.FAILS in classes:
        return hit
    return _without(hit, classes, _UNDONE)


def _harmless(hit: Hit, situation: Situation) -> bool:
    """It fails by rows, and the table has none, or is not known to have any."""
    if hit.relation is None:
        return False
    relation = situation.relation(hit.relation)
    return kept_of(hit, situation) is None or (hit.by_rows and relation.is_empty is not False)


def size_text(relation: Relation) -> str:
    """``41 GB, 12,000,000 rows``"""
    size = float(relation.size_bytes or 0)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 10_000 or unit == "TB":
            break
        size /= 1024
    shown = f"{size:,.0f} {unit}"
    if relation.rows is None or relation.rows < 0:
        return shown
    return f"{shown}, some {counted(round(relation.rows), 'row')}"


def kept_of(hit: Hit, situation: Situation) -> Hit | None:
    """The hit as far as it concerns anybody.

    Nobody uses what the same file made; what it perhaps made may hold rows, but that it is busy is not likely.
    A table without rows loses nothing and takes no time; what breaks the application breaks it all the same.
    """
    hazard = CATALOGUE[hit.hazard]
    major = situation.model.server_major
    if major is not None and ((hazard.since or 0) > major or (hazard.until or major) < major):
        return None
    if hit.relation is None or hit.even_new:
        return hit
    resolved = situation.resolve(hit.relation)
    table = situation.model.index_tables.get(resolved)
    relation = situation.model.relations.get(table or resolved)
    if relation is None:
        return hit
    classes = hit.classes or hazard.classes
    if situation.is_new(relation):
        return None
    if table is not None and situation.is_recent(relation.indexes[resolved.name].made_in):
        return None
    if relation.perhaps_made and situation.is_recent(relation.made_in) and HazardClass.DATA_LOSS not in classes:
        return None
    if situation.has_no_rows(relation):
        left = _without(hit, classes, BY_SIZE | ({HazardClass.FAILS} if hit.by_rows else set()))
        if left is not None and left.classes == (HazardClass.BREAKS_RUNNING_APP,) != classes:
            # As a column without a value: whoever names it is broken all the same, but nobody has used it so far.
            left = replace(left, level=_at_most_warning(left))
        return left
    if (
        situation.model.complete
        and relation.rows is not None
        and 0 <= relation.rows < _FEW_ROWS
        and (relation.size_bytes or 0) < _SMALL_BYTES
    ):
        return _without(hit, classes, {HazardClass.SCANS_UNDER_LOCK})
    return hit


def _without(hit: Hit, classes: tuple[HazardClass, ...], gone: Iterable[HazardClass]) -> Hit | None:
    left = tuple(each for each in classes if each not in set(gone))
    if left == classes:
        return hit
    level = hit.level if _GRAVE & set(left) or hit.level is Level.INFO else _at_most_warning(hit)
    return replace(hit, classes=left, level=level) if left else None


def _at_most_warning(hit: Hit) -> Level:
    level = hit.level or CATALOGUE[hit.hazard].level
    return Level.WARNING if level is Level.ERROR else level


def as_the_file_leaves_it(hit: Hit, situation: Situation) -> Hit | None:
    """A later statement of the same file may give back what an earlier one took."""
    relation = hit.relation
    if hit.hazard == "drop-function" and hit.names["object"] in {each.written for each in situation.made_again}:
        unsure = "whether what it answers, and who may call it, is the same"
        return replace(hit, certain=False, unsure=unsure)
    if hit.hazard == "drop-constraint-used-by-upsert" and hit.unsure is not None and _is_unique_again(hit, situation):
        return replace(hit, certain=False)
    if relation is None:
        return hit
    match hit.hazard:
        case "new-sequence-no-grant" if _named_last(hit.names["sequence"]) in {each.name for each in situation.granted}:
            return None
        case "rename-table" if relation in situation.bridges:
            return None  # a view under the old name keeps the application's statements working
        case "drop-view" if relation in situation.bridges and relation in situation.dropped_views:
            return _made_again(hit, relation, situation)
        case "enable-row-security" if situation.relation(relation).policies:
            unsure = "whether its policies let the application's rows through"
            return replace(hit, certain=False, unsure=unsure)
    return hit


def _is_unique_again(hit: Hit, situation: Situation) -> bool:
    """Another unique index over the same columns stands at the file's end."""
    for relation in situation.model.relations.values():
        if relation.name == hit.relation or relation.name.written == hit.names["table"]:  # or it is the index's name
            for index in relation.indexes.values():
                finds = index.infers(index.key_columns) and not relation.is_deferrable(index)
                if finds and _columns(listed(index.key_columns)) == _columns(hit.names["index_columns"]):
                    return True
    return False


def _columns(written: str) -> list[str]:
    """In whichever order: ON CONFLICT heeds none."""
    return sorted(written.strip("()").split(", "))


def _named_last(written: str) -> str:
    return written.rpartition(".")[2].strip('"')


def _made_again(hit: Hit, name: RelationName, situation: Situation) -> Hit | None:
    before, now = situation.dropped_views[name], situation.relation(name).columns.keys()
    if before and now and not before <= now:
        return hit
    columns_stay, rights_stay = bool(before and now), name in situation.granted
    if columns_stay and rights_stay:
        return None
    unsure = "whether the application has its rights on the one that is made again"
    if not columns_stay:
        unsure += " and finds its columns there"
    return replace(hit, certain=False, unsure=unsure)
