"""RENAME: statements of the running application name what is no longer there."""

from collections.abc import Iterator

from pgrehearse.hazards.cascade import FUNCTIONS
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.predict.dropping import kind_text
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import name_of, relation_of
from pgrehearse.hazards.written import Written

_COLUMNS_OF = frozenset({"OBJECT_TABLE", "OBJECT_FOREIGN_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW"})
_VIEWS = frozenset({"OBJECT_VIEW", "OBJECT_MATVIEW"})
_SPELLED_OUT = "whether a statement of the application spells it out"
_QUIET = frozenset({
    "OBJECT_TABCONSTRAINT", "OBJECT_INDEX", "OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY", "OBJECT_DOMCONSTRAINT",
    "OBJECT_STATISTIC_EXT",
})  # fmt: skip


def rename(written: Written, situation: Situation) -> Iterator[Hit]:
    """One RENAME of any kind."""
    tree = written.tree
    renamed, new = tree["renameType"], tree.get("newname", "")
    relation = relation_of(tree["relation"]) if "relation" in tree else None
    if renamed in _QUIET:
        return
    if renamed == "OBJECT_ATTRIBUTE" and relation is not None:
        known_type = situation.model.types.get(situation.resolve_type(relation))
        if known_type is None or not situation.is_recent(known_type.made_in):
            attribute = f"{relation.written}.{quoted(tree['subname'])}"
            names = {"kind": "ATTRIBUTE", "object": attribute, "new": quoted(new)}
            yield Hit(hazard="rename-other", relation=None, names=names, certain=False, unsure=_SPELLED_OUT)
        return
    if relation is not None:
        exists = situation.exists(relation)
        if exists is False:
            if not tree.get("missing_ok"):
                names = {"kind": kind_text(renamed), "object": relation.written}
                yield Hit(hazard="missing-object", relation=None, names=names, even_new=True)
            return
        certain = not (tree.get("missing_ok") and exists is None)
        unsure = None if certain else "whether it exists"
        new_qualified = relation.beside(new)
        if renamed == "OBJECT_TABLE":
            names = {"table": relation.written, "new": quoted(new), "new_qualified": new_qualified}
            if situation.relation(relation).partition_of is not None:
                certain, unsure = False, "whether anybody names the partition, and not its parent"
            yield Hit(hazard="rename-table", relation=relation, names=names, certain=certain, unsure=unsure)
            return
        if renamed == "OBJECT_COLUMN":
            if tree.get("relationType") in _COLUMNS_OF:
                yield from _column(situation, relation, tree["subname"], new, certain=certain)
            return
        names = {
            "kind": kind_text(renamed), "object": relation.written, "new": quoted(new), "new_qualified": new_qualified,
        }  # fmt: skip
        hazard = "rename-view" if renamed in _VIEWS else "rename-other"
        yield Hit(hazard=hazard, relation=relation, names=names, certain=certain, unsure=unsure)
        return
    if renamed == "OBJECT_SCHEMA":
        if not situation.is_recent(situation.model.namespaces.get(tree["subname"])):
            names = {"object": quoted(tree["subname"]), "new": quoted(new)}
            yield Hit(hazard="rename-schema", relation=None, names=names)
        return
    object_name = _object(tree)
    if renamed in ("OBJECT_TYPE", "OBJECT_DOMAIN"):
        known = situation.model.types.get(situation.resolve_type(object_name))
        if known is not None and situation.is_recent(known.made_in):
            return
        # Stored columns follow by oid; only SQL that spells the type out (casts) fails.
    if renamed in FUNCTIONS and _is_missing(situation, object_name):
        names = {"kind": kind_text(renamed), "object": object_name.written}
        yield Hit(hazard="missing-object", relation=None, names=names, even_new=True)
        return
    functions = situation.model.functions.get(situation.resolve_function(object_name), [])
    if functions and all(situation.is_recent(each.made_in) for each in functions):
        return
    names = {"kind": kind_text(renamed), "object": object_name.written, "new": quoted(new)}
    yield Hit(hazard="rename-other", relation=None, names=names)


def _column(situation: Situation, table: RelationName, old: str, new: str, *, certain: bool) -> Iterator[Hit]:
    known = situation.model.relations.get(situation.resolve(table))
    column = known.columns.get(old) if known is not None else None
    if column is not None and situation.is_recent(column.made_in):
        return
    if known is not None and known.knows and known.columns and situation.model.complete:
        if column is None:
            names = {"kind": "COLUMN", "object": f"{table.written}.{quoted(old)}"}
            yield Hit(hazard="missing-object", relation=table, names=names)
            return
        if new in known.columns:
            names = {"kind": "COLUMN", "object": f"{table.written}.{quoted(new)}"}
            yield Hit(hazard="object-exists", relation=table, names=names)
            return
    names = {"table": table.written, "column": quoted(old), "new": quoted(new)}
    yield Hit(hazard="rename-column", relation=table, names=names, certain=certain)


def _object(tree: dict[str, object]) -> RelationName:
    node = tree.get("object")
    if isinstance(node, dict):
        if "ObjectWithArgs" in node:
            return name_of(node["ObjectWithArgs"]["objname"])
        if "List" in node:
            return name_of(node["List"]["items"])
        if "String" in node:
            return RelationName(None, node["String"].get("sval", ""))
    return RelationName(None, str(tree.get("subname", "")))


def _is_missing(situation: Situation, name: RelationName) -> bool:
    model = situation.model
    if not model.complete or situation.blind or name.namespace in (None, "pg_catalog"):
        return False
    return name not in model.functions
