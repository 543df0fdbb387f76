"""VACUUM FULL, CLUSTER, REFRESH, LOCK: work on a table while others wait."""

from collections.abc import Iterator

from pgrehearse.hazards.finding import HazardClass
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.predict.alter_table import REWRITE
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import is_on, options, relation_of
from pgrehearse.hazards.written import Written

_MODES = (
    "",
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
_SHARE = 5


def vacuum(written: Written, situation: Situation) -> Iterator[Hit]:
    """VACUUM FULL; plain VACUUM and ANALYZE harm nobody."""
    tree = written.tree
    if not (tree.get("is_vacuumcmd") and is_on(options(tree.get("options")).get("full", False))):
        return
    rels: list[RelationName | None] = [relation_of(each["VacuumRelation"]["relation"]) for each in tree.get("rels", ())]
    for table in rels or [None]:
        shown = table.written if table is not None else "every table"
        names = {"command": "VACUUM FULL", "object": shown, "table": shown}
        yield Hit(hazard="vacuum-full-cluster", relation=table, names=names, classes=REWRITE)


def cluster(written: Written, situation: Situation) -> Iterator[Hit]:
    """CLUSTER."""
    table = relation_of(written.tree["relation"]) if "relation" in written.tree else None
    shown = table.written if table is not None else "every clustered table"
    names = {"command": "CLUSTER", "object": shown, "table": shown}
    yield Hit(hazard="vacuum-full-cluster", relation=table, names=names, classes=REWRITE)


def refresh(written: Written, situation: Situation) -> Iterator[Hit]:
    """REFRESH MATERIALIZED VIEW: written anew while nobody reads it; CONCURRENTLY readers go on."""
    view = relation_of(written.tree["relation"])
    names = {
        "object": view.written,
        "statement": f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view.written}",
        "kind": "MATERIALIZED VIEW",
        "command": "REFRESH MATERIALIZED VIEW CONCURRENTLY",
    }
    if situation.exists(view) is False:
        yield Hit(hazard="missing-object", relation=None, names=names, even_new=True)
        return
    if not written.tree.get("concurrent"):
        emptied = (HazardClass.BREAKS_RUNNING_APP,)  # WITH NO DATA: it cannot be read until it is filled again
        classes = (HazardClass.BLOCKS_READS, *emptied) if written.tree.get("skipData") else REWRITE
        yield Hit(hazard="refresh-matview", relation=view, names=names, classes=classes)
        return
    known = situation.model.relations.get(situation.resolve(view))
    if (
        known is not None
        and situation.model.complete
        and not known.perhaps_made
        and not any(each.unique and not each.partial and each.valid for each in known.indexes.values())
    ):
        yield Hit(hazard="statement-refused", relation=view, names=names, even_new=True)
        return


def lock_table(written: Written, situation: Situation) -> Iterator[Hit]:
    """LOCK TABLE in a mode that others wait for."""
    mode = written.tree.get("mode", 1)
    if mode < _SHARE:
        return
    for each in written.tree["relations"]:
        table = relation_of(each["RangeVar"])
        names = {
            "table": table.written,
            "command": f"LOCK TABLE … IN {_MODES[mode]} MODE",
            "statement": written.on_one_line,
        }
        if situation.exists(table) is False:
            yield Hit(
                hazard="missing-object",
                relation=None,
                names=names | {"kind": "TABLE", "object": table.written},
                even_new=True,
            )
            continue
        yield Hit(hazard="lock-table", relation=table, names=names)
