"""DROP and TRUNCATE: what goes, with what else, and whether the server would refuse it."""

from collections.abc import Iterator

from pgrehearse.hazards.alter_table_locks import references, referencing
from pgrehearse.hazards.cascade import FUNCTIONS, RELATIONS, TYPES, Dropped, dropped_with, object_name
from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived, quoted
from pgrehearse.hazards.statement_locks import with_referencing
from pgrehearse.hazards.tree import name_of, relation_of, strings
from pgrehearse.hazards.written import Written

_CATALOG_TYPES = {
    "OBJECT_TYPE": "regtype",
    "OBJECT_DOMAIN": "regtype",
    "OBJECT_SCHEMA": "regnamespace",
    "OBJECT_FUNCTION": "regproc",
    "OBJECT_PROCEDURE": "regproc",
    **dict.fromkeys(RELATIONS | {"OBJECT_INDEX"}, "regclass"),
}
_KINDS = {
    "OBJECT_MATVIEW": "MATERIALIZED VIEW",
    "OBJECT_FOREIGN_TABLE": "FOREIGN TABLE",
    "OBJECT_TABCONSTRAINT": "CONSTRAINT",
}
_IN_TABLES = {"OBJECT_TRIGGER": "drop-trigger", "OBJECT_POLICY": "drop-policy"}
_BREAKING = {
    "OBJECT_VIEW": "drop-view",
    "OBJECT_MATVIEW": "drop-view",
    "OBJECT_SEQUENCE": "drop-sequence",
    "OBJECT_EXTENSION": "drop-extension",
    "OBJECT_TYPE": "drop-type",
    "OBJECT_DOMAIN": "drop-type",
    **dict.fromkeys(FUNCTIONS, "drop-function"),
}


def kind_text(object_type: str) -> str:
    """The keyword of an ObjectType."""
    return _KINDS.get(object_type, object_type.removeprefix("OBJECT_").replace("_", " "))


def drop(written: Written, situation: Situation) -> Iterator[Hit]:
    """One DROP of any kind."""
    tree = written.tree
    removed = tree["removeType"]
    if removed in _IN_TABLES or removed == "OBJECT_RULE":
        yield from _drop_in_table(written, situation)
        return
    cascade = tree.get("behavior") == "DROP_CASCADE"
    for node in tree["objects"]:
        name = object_name(node)
        one = {**tree, "objects": [node]}
        dropped = dropped_with(one, situation)
        if name is None:
            if cascade:
                shown = written.on_one_line.split(None, 1)[-1]
                yield Hit(hazard="drop-cascade", relation=None, names={"object": shown, "oid": f"<the oid of {shown}>"})
            continue
        exists = _exists(removed, name, situation)
        if exists is False:
            if not tree.get("missing_ok"):
                yield Hit(
                    hazard="missing-object",
                    relation=None,
                    names={"kind": kind_text(removed), "object": name.written},
                    even_new=True,
                )
            continue
        if (why := _other_kind(situation, removed, name)) is not None:
            names = {"command": f"DROP {kind_text(removed)} {name.written}", "object": why}
            yield Hit(hazard="statement-refused", relation=None, names=names, even_new=True)
            continue
        certain = not (tree.get("missing_ok") and exists is None)
        yield from _drop_one(written, situation, name, dropped, certain=certain)
        if not cascade and situation.model.complete:
            yield from _refused(tree, situation, removed, name, dropped)


_DROPPED_AS = {
    "OBJECT_TABLE": (RelationKind.TABLE, RelationKind.PARTITIONED),
    "OBJECT_VIEW": (RelationKind.VIEW,),
    "OBJECT_MATVIEW": (RelationKind.MATERIALIZED_VIEW,),
    "OBJECT_SEQUENCE": (RelationKind.SEQUENCE,),
    "OBJECT_FOREIGN_TABLE": (RelationKind.FOREIGN,),
}


def _other_kind(situation: Situation, removed: str, name: RelationName) -> str | None:
    """Why it is not to be dropped so, by a catalog: it is of another kind, or an index that a constraint needs."""
    if not situation.model.complete:
        return None
    resolved = situation.resolve(name)
    known = situation.model.relations.get(resolved)
    if removed in _DROPPED_AS and known is not None and known.kind is not None:
        return None if known.kind in _DROPPED_AS[removed] else "it is of another kind"
    table = situation.model.index_tables.get(resolved) if removed == "OBJECT_INDEX" else None
    index = situation.relation(table).indexes.get(resolved.name) if table is not None else None
    if index is not None and index.constraint is not None:
        return f"the constraint {quoted(index.constraint)} needs it"
    return None


def _exists(removed: str, name: RelationName, situation: Situation) -> bool | None:
    if removed in RELATIONS:
        return situation.exists(name)
    if not situation.model.complete:
        return None
    if removed == "OBJECT_INDEX":
        return situation.resolve(name) in situation.model.index_tables
    if removed == "OBJECT_SCHEMA":
        return name.name in situation.model.namespaces
    if removed in FUNCTIONS:  # which overload is meant hangs on types
        known = {each.name for each in situation.model.functions} | situation.model.builtin_functions
        known |= situation.dropped_overloads  # another one may have stayed
        return None if situation.blind or name.name in known or not situation.model.builtin_functions else False
    if removed in TYPES:
        resolved = situation.resolve_type(name)
        return resolved in situation.model.types or (None if name.namespace else False)
    return None


def _drop_one(
    written: Written, situation: Situation, name: RelationName, dropped: Dropped, *, certain: bool
) -> Iterator[Hit]:
    tree = written.tree
    removed = tree["removeType"]
    cascade = tree.get("behavior") == "DROP_CASCADE"
    relation = name if removed in RELATIONS or removed == "OBJECT_INDEX" else None
    catalog_type = _CATALOG_TYPES.get(removed)
    names = {
        "object": name.written,
        "kind": kind_text(removed),
        "oid": name.oid_of(catalog_type) if catalog_type else f"<the oid of {name.written}>",
    }
    unsure = None if certain else "whether it exists"
    match removed:
        case "OBJECT_TABLE" | "OBJECT_FOREIGN_TABLE":
            aside = derived(name.name, "unused")
            names |= {"table": name.written, "aside": quoted(aside), "aside_qualified": name.beside(aside)}
            known = situation.model.relations.get(situation.resolve(name))
            classes = _lost_with_table(situation, known)
            yield Hit(
                hazard="drop-table", relation=relation, names=names, classes=classes, certain=certain, unsure=unsure
            )
            if known is not None:
                for constraint in known.constraints.values():
                    parent = constraint.referenced
                    if parent is not None and parent != known.name and not situation.is_new(situation.relation(parent)):
                        more = {"constraint": quoted(constraint.name), "referenced": parent.written}
                        yield Hit(hazard="drop-table-many-fks", relation=relation, names=names | more)
        case "OBJECT_SCHEMA":
            recent = situation.is_recent(situation.model.namespaces.get(name.name))
            if not recent and (dropped.relations or dropped.types or not situation.model.complete):
                names["aside"] = quoted(derived(name.name, "unused"))
                yield Hit(
                    hazard="drop-schema",
                    relation=None,
                    names=names,
                    certain=certain and cascade,
                    unsure=unsure or "whether it is empty: only CASCADE drops what is in it",
                )
        case "OBJECT_INDEX":
            if not tree.get("concurrent"):
                guard = "IF EXISTS " if tree.get("missing_ok") else ""
                names["statement"] = f"DROP INDEX CONCURRENTLY {guard}{name.written}"
                yield Hit(hazard="drop-index", relation=relation, names=names)
            yield from _upsert(situation, name)
        case _ if removed in FUNCTIONS and _used_inside(situation, name):
            yield Hit(
                hazard="drop-function",
                relation=None,
                names=names,
                classes=(HazardClass.GUARANTEE_LOST,),
                level=Level.WARNING,
            )
        case _ if removed in _BREAKING and not _is_recent(situation, removed, name):
            if not (removed in TYPES and cascade):
                if removed in FUNCTIONS:  # no catalog tells, either
                    certain, unsure = False, "whether the application calls it"
                yield Hit(hazard=_BREAKING[removed], relation=relation, names=names, certain=certain, unsure=unsure)
        case _ if removed not in _BREAKING:
            if not (cascade and removed not in FUNCTIONS):
                text = written.on_one_line
                yield Hit(hazard="drop-object", relation=None, names=names | {"statement": text})
    if not cascade:
        return
    if removed in TYPES:
        if dropped.columns or not situation.model.complete:
            classes = (HazardClass.DATA_LOSS, HazardClass.BREAKS_RUNNING_APP)
            yield Hit(hazard="drop-type-cascade-takes-columns", relation=None, names=names, classes=classes)
    elif removed != "OBJECT_SCHEMA" or not dropped.relations:
        yield from _cascade(situation, relation, names, dropped)
    else:
        yield Hit(hazard="drop-cascade", relation=None, names=names)


def _lost_with_table(situation: Situation, known: Relation | None) -> tuple[HazardClass, ...] | None:
    """A partition's rows are reached by its parent's name; what was copied as a whole is not lost."""
    if known is None:
        return None
    if known.name in situation.copied:
        return (HazardClass.BREAKS_RUNNING_APP,)
    if known.partition_of is not None or known.partition_bound is not None:
        return (HazardClass.DATA_LOSS,)
    return None


def _used_inside(situation: Situation, name: RelationName) -> bool:
    """A trigger's function cannot be called by the application; one of a default is the schema's own."""
    resolved = situation.resolve_function(name)
    known = situation.model.functions.get(resolved, [])
    if known and all(each.returns_trigger for each in known):
        return True
    return any(
        resolved in column.default_calls
        for relation in situation.model.relations.values()
        for column in relation.columns.values()
    )


def _cascade(
    situation: Situation, relation: RelationName | None, names: dict[str, str], dropped: Dropped
) -> Iterator[Hit]:
    if not situation.model.complete:
        certain = relation is not None
        yield Hit(
            hazard="drop-cascade",
            relation=relation,
            names=names,
            certain=certain,
            unsure=None if certain else "what depends on it",
        )
        return
    more = dropped.relations[dropped.named :]
    tables = [each for each in more if each in situation.model.relations
              and situation.model.relations[each].kind not in (RelationKind.VIEW, RelationKind.SEQUENCE)]  # fmt: skip
    if not (more or dropped.altered):
        return
    level = None
    if tables or dropped.columns:
        classes: tuple[HazardClass, ...] | None = None
    elif more:
        classes = (HazardClass.BREAKS_RUNNING_APP,)
    else:  # foreign keys and defaults go, and no value with them
        classes, level = (HazardClass.GUARANTEE_LOST,), Level.WARNING
    yield Hit(hazard="drop-cascade", relation=relation, names=names, classes=classes, level=level)


def _is_recent(situation: Situation, removed: str, name: RelationName) -> bool:
    """Made by the same file: nobody uses it yet."""
    model = situation.model
    if removed in FUNCTIONS:
        known = model.functions.get(situation.resolve_function(name), [])
        return bool(known) and all(situation.is_recent(each.made_in) for each in known)
    if removed in TYPES:
        user_type = model.types.get(situation.resolve_type(name))
        return user_type is not None and situation.is_recent(user_type.made_in)
    return False


def _upsert(situation: Situation, name: RelationName) -> Iterator[Hit]:
    """ON CONFLICT (columns) needs a unique index over just these."""
    resolved = situation.resolve(name)
    table = situation.model.index_tables.get(resolved)
    if table is None:
        return
    relation = situation.relation(table)
    index = relation.indexes[resolved.name]
    if not index.unique or index.primary:
        return
    if relation.finds_another(index):
        return
    columns = f"({', '.join(map(quoted, index.key_columns))})"
    names = {
        "table": table.written,
        "object": name.written,
        "index_columns": columns,
        "new": quoted(derived(table.name, *index.key_columns, "key2")),
    }
    again = situation.in_block and not (index.partial or index.expressions)
    unsure = "whether ON CONFLICT runs before the other unique index is there" if again else None
    yield Hit(hazard="drop-constraint-used-by-upsert", relation=name, names=names, unsure=unsure)


def _refused(tree: object, situation: Situation, removed: str, name: RelationName, dropped: Dropped) -> Iterator[Hit]:
    """Without CASCADE, the server refuses to drop what something else depends on."""
    assert isinstance(tree, dict)
    also = {situation.resolve(each) for node in tree["objects"] if (each := object_name(node)) is not None}
    resolved = dropped.relations[0] if dropped.relations else situation.resolve_type(name)
    known = situation.model.relations.get(resolved) if removed in RELATIONS else None
    partitions = {
        each  # they go with their parent; children by INHERITS stay, and refuse it
        for each in (known.partitions if known is not None else ())
        if (below := situation.model.relations.get(each)) is not None and below.partition_of is not None
    }
    more = [each for each in dropped.relations[dropped.named :] if each not in also and each not in partitions]
    if removed == "OBJECT_SCHEMA":
        more = list(dropped.relations)
    altered = [each for each in dropped.altered if each not in also]
    if more or altered:
        catalog_type = _CATALOG_TYPES.get(removed, "regclass")
        names = {
            "object": name.written,
            "referenced": (more or altered)[0].written,
            "oid": name.oid_of(catalog_type),
        }
        yield Hit(hazard="dependants-remain", relation=None, names=names, even_new=True)


def _drop_in_table(written: Written, situation: Situation) -> Iterator[Hit]:
    tree = written.tree
    removed = tree["removeType"]
    for node in tree["objects"]:
        items = node["List"]["items"]
        table, name = name_of(items[:-1]), quoted(strings(items[-1:])[0])
        names = {
            "table": table.written,
            "object": name,
            "kind": kind_text(removed),
            "statement": written.on_one_line,
            "oid": f"<the oid of {name}>",
        }
        yield Hit(hazard=_IN_TABLES.get(removed, "drop-object"), relation=table, names=names)
        if tree.get("behavior") == "DROP_CASCADE" and not situation.model.complete:
            yield Hit(hazard="drop-cascade", relation=table, names=names)


def drop_database(written: Written, situation: Situation) -> Iterator[Hit]:
    """DROP DATABASE."""
    yield Hit(hazard="drop-database", relation=None, names={"object": quoted(written.tree["dbname"])})


def drop_owned(written: Written, situation: Situation) -> Iterator[Hit]:
    """DROP OWNED BY."""
    roles = [each["RoleSpec"].get("rolename", "") for each in written.tree.get("roles", ())]
    shown = ", ".join(map(quoted, roles))
    owned = [each for each in situation.model.relations.values() if each.owner in roles]
    if situation.model.complete and not owned:  # the rights that it was given on what others own go all the same
        names = {"command": "DROP OWNED", "object": f"every right of {shown}", "statement": written.on_one_line}
        yield Hit(hazard="revoke", relation=None, names=names)
        return
    yield Hit(hazard="drop-owned", relation=None, names={"object": shown})


def truncate(written: Written, situation: Situation) -> Iterator[Hit]:
    """TRUNCATE, and whom CASCADE empties too."""
    tree = written.tree
    names_ = [relation_of(each["RangeVar"]) for each in tree["relations"]]
    resolved = [situation.resolve(each) for each in names_]
    cascade = tree.get("behavior") == "DROP_CASCADE"
    for table in names_:
        names = {
            "table": table.written,
            "copy": table.beside(derived(table.name, "kept")),
            "oid": table.oid_of("regclass"),
            "kind": "TABLE",
            "object": table.written,
        }
        if situation.exists(table) is False:
            yield Hit(hazard="missing-object", relation=None, names=names, even_new=True)
            continue
        yield Hit(hazard="truncate", relation=table, names=names)
        others = [each for each in with_referencing(situation, [situation.resolve(table)])[1:] if each not in resolved]
        if cascade and (others or not situation.model.complete):
            classes = (HazardClass.DATA_LOSS, HazardClass.BREAKS_RUNNING_APP)
            yield Hit(hazard="truncate-cascade", relation=table, names=names, classes=classes)
        elif others and not cascade and situation.model.complete:
            yield Hit(hazard="dependants-remain", relation=table, names=names | {"referenced": others[0].written})


def parents_of(situation: Situation, table: RelationName) -> list[RelationName]:
    """Tables at either end of the table's foreign keys."""
    known = situation.model.relations.get(situation.resolve(table))
    return [*references(known), *referencing(situation, known.name)] if known is not None else []
