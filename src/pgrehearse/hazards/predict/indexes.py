"""CREATE INDEX and REINDEX: what is read, under which lock, and what a failed concurrent build leaves behind."""

from collections.abc import Iterator

from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Index, Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived, quoted
from pgrehearse.hazards.tree import Node, is_on, options, relation_of
from pgrehearse.hazards.written import Written
from pgrehearse.postgres.locks import LockMode

_WIDE = 3


def create_index(written: Written, situation: Situation) -> Iterator[Hit]:
    """CREATE [UNIQUE] INDEX [CONCURRENTLY]."""
    tree = written.tree
    table = relation_of(tree["relation"])
    relation = situation.relation(table)
    columns = [each["IndexElem"].get("name", "expr") for each in tree.get("indexParams", ())]
    name = tree.get("idxname") or derived(table.name, *columns, "idx")
    full = RelationName(relation.name.namespace, name)
    names = {
        "table": table.written,
        "object": table.beside(name),
        "new": quoted(name),
        "kind": "INDEX",
        "index_columns": written.on_one_line[written.on_one_line.find("(") :],
    }
    concurrent = bool(tree.get("concurrent"))
    if situation.exists(table) is False:
        yield Hit(
            hazard="missing-object",
            relation=None,
            names=names | {"kind": "TABLE", "object": table.written},
            even_new=True,
        )
        return
    present = _present(situation, full)
    if present is not None:
        if tree.get("if_not_exists"):
            if not present.valid:
                statement = f"DROP INDEX CONCURRENTLY IF EXISTS {names['object']}"
                yield Hit(
                    hazard="cic-failed-leaves-invalid",
                    relation=table,
                    names=names | {"statement": statement},
                    classes=(HazardClass.HARD_TO_UNDO,),
                )
        elif tree.get("idxname"):
            yield Hit(hazard="object-exists", relation=table, names=names)
        return
    if (why := _beyond_its_method(tree)) is not None:
        refused = {"command": f"CREATE INDEX {names['new']}", "object": why}
        yield Hit(hazard="statement-refused", relation=table, names=names | refused, even_new=True)
        return
    yield from _beside_others(situation, relation, tree, names)
    if concurrent:
        if relation.kind is RelationKind.PARTITIONED:
            refused = {"command": "CREATE INDEX CONCURRENTLY", "object": table.written}
            yield Hit(hazard="statement-refused", relation=table, names=names | refused)
        if tree.get("if_not_exists"):
            statement = f"DROP INDEX CONCURRENTLY IF EXISTS {names['object']}"
            yield Hit(
                hazard="cic-failed-leaves-invalid",
                relation=table,
                names=names | {"statement": statement},
                classes=(HazardClass.HARD_TO_UNDO,),
                level=Level.INFO,
            )
        return
    if not tree["relation"].get("inh"):  # ON ONLY: nothing is built yet
        return
    statement = written.with_word("index", "INDEX CONCURRENTLY")
    if relation.kind is RelationKind.PARTITIONED:
        yield Hit(hazard="index-on-partitioned", relation=table, names=names)
    elif situation.holds(relation.name) is LockMode.ACCESS_EXCLUSIVE:
        yield Hit(hazard="create-index-after-alter", relation=table, names=names | {"statement": statement})
    else:
        yield Hit(hazard="create-index", relation=table, names=names | {"statement": statement})


def _beyond_its_method(tree: Node) -> str | None:
    """What PostgreSQL's own methods cannot do: pg_am's amcanunique, amcanmulticol, amcaninclude."""
    method = tree.get("accessMethod", "btree")
    if method not in ("hash", "gin", "gist", "spgist", "brin"):
        return None
    if tree.get("unique"):
        return f"a {method} index cannot be unique"
    if method in ("hash", "spgist") and len(tree.get("indexParams", ())) > 1:
        return f"a {method} index has one column"
    if method in ("hash", "gin", "brin") and tree.get("indexIncludingParams"):
        return f"a {method} index includes no columns"
    return None


def _present(situation: Situation, full: RelationName) -> Index | None:
    table = situation.model.index_tables.get(full)
    return situation.relation(table).indexes.get(full.name) if table is not None else None


def _beside_others(situation: Situation, relation: Relation, tree: Node, names: dict[str, str]) -> Iterator[Hit]:
    """Another index that this one makes superfluous, or that it comes too late for; and one that is too wide."""
    keys = tuple(each["IndexElem"]["name"] for each in tree.get("indexParams", ()) if "name" in each["IndexElem"])
    if len(tree.get("indexParams", ())) > _WIDE:
        yield Hit(hazard="wide-index", relation=relation.name, names=names)
    if len(keys) != len(tree.get("indexParams", ())) or "whereClause" in tree:
        return
    for other in relation.indexes.values():
        plain = not (other.unique or other.partial or other.expression_columns)
        if plain and other.key_columns and other.key_columns == keys[: len(other.key_columns)]:
            yield Hit(hazard="redundant-index", relation=relation.name, names=names | {"object": quoted(other.name)})
    for table, gone in situation.dropped_indexes:
        if table == relation.name and gone.key_columns[:1] == keys[:1]:
            yield Hit(hazard="replace-index", relation=relation.name, names=names | {"object": quoted(gone.name)})


def reindex(written: Written, situation: Situation) -> Iterator[Hit]:
    """REINDEX without CONCURRENTLY: readers wait too, as planning any query opens the table's indexes."""
    tree = written.tree
    if is_on(options(tree.get("params")).get("concurrently", False)):
        return
    kind = tree["kind"].removeprefix("REINDEX_OBJECT_")
    relation = relation_of(tree["relation"]) if "relation" in tree else None
    shown = relation.written if relation is not None else quoted(tree.get("name", ""))
    statement = written.with_word("table|index|schema|database|system", f"{kind} CONCURRENTLY")
    names = {"command": f"REINDEX {kind}", "object": shown, "statement": statement}
    if relation is not None and situation.exists(relation) is False and kind == "TABLE":
        yield Hit(hazard="missing-object", relation=None, names=names | {"kind": kind}, even_new=True)
        return
    yield Hit(hazard="reindex", relation=relation, names=names)
