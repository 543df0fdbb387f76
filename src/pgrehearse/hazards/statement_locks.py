"""The strongest lock that a statement takes on each relation: named by its text, or reached through the model.

Reached: partitions and children, the other side of foreign keys, what CASCADE drops, tables below views.
Source: the manual, 13.3.1 and ALTER TABLE; `AlterTableGetLockLevel` and `ATPrepCmd` in backend/commands/tablecmds.c,
lockcmds.c, trigger.c, indexcmds.c, typecmds.c, comment.c.  Held against 236 labelled migrations and a server.
"""

from collections.abc import Callable, Iterable, Iterator

from pgrehearse.hazards.alter_table_locks import alter_table_locks, below, references, referencing
from pgrehearse.hazards.bodies import sql_body
from pgrehearse.hazards.cascade import dropped_with
from pgrehearse.hazards.model import Relation, RelationKind
from pgrehearse.hazards.query_locks import analysis_locks, query_locks, read_locks
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import Node, is_on, kind_of, name_of, options, relation_of
from pgrehearse.postgres.locks import LockMode, strongest

Lock = tuple[RelationName, LockMode]
ACCESS_SHARE = LockMode.ACCESS_SHARE
SUE = LockMode.SHARE_UPDATE_EXCLUSIVE
SHARE = LockMode.SHARE
SRE = LockMode.SHARE_ROW_EXCLUSIVE
AEL = LockMode.ACCESS_EXCLUSIVE
_TABLE_LIKE = frozenset({RelationKind.TABLE, RelationKind.PARTITIONED, RelationKind.MATERIALIZED_VIEW, None})
_MODES = dict(enumerate(LockMode, start=1))  # LockStmt.mode counts from AccessShareLock = 1
_HAVE_TABLES = frozenset({"OBJECT_TABLE", "OBJECT_MATVIEW"})


def find_locks(kind: str, tree: Node, situation: Situation) -> dict[RelationName, LockMode]:
    """The strongest lock per table, partitioned table or materialized view that was there before; names qualified."""
    found: dict[RelationName, LockMode] = {}
    for name, mode in _locks(kind, tree, situation):
        resolved = situation.resolve(name)
        relation = situation.model.relations.get(resolved)
        if resolved.namespace in ("pg_catalog", "information_schema") or (
            relation is None and situation.model.complete
        ):
            continue
        if relation is not None and (situation.is_new(relation) or relation.kind not in _TABLE_LIKE):
            continue
        found[resolved] = strongest(found.get(resolved), mode)
    return found


def locks_are_known(kind: str) -> bool:
    """Whether there is a rule for the locks of such statements."""
    return kind in _QUERIES or kind in _RULES


def _locks(kind: str, tree: Node, situation: Situation) -> Iterable[Lock]:
    if kind in _QUERIES:
        return query_locks(kind, tree, situation)
    rule = _RULES.get(kind)
    return rule(tree, situation) if rule is not None else ()


_QUERIES = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "ExplainStmt", "CopyStmt"})


def _drop(tree: Node, situation: Situation) -> Iterator[Lock]:
    removed = tree["removeType"]
    if removed in ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"):
        for each in tree["objects"]:
            yield name_of(each["List"]["items"][:-1]), AEL
        return
    if removed == "OBJECT_STATISTIC_EXT":
        for each in tree["objects"]:
            table = situation.model.statistics.get(situation.resolve_statistics(name_of(each["List"]["items"])))
            if table is not None:
                yield table, SUE
        return
    if removed == "OBJECT_INDEX":
        for each in tree["objects"]:
            table = situation.model.index_tables.get(situation.resolve(name_of(each["List"]["items"])))
            if table is not None:
                concurrent = tree.get("concurrent", False)
                for relation in below(situation, table):
                    yield relation.name, SUE if concurrent else AEL
        return
    dropped = dropped_with(tree, situation)
    for name in dropped.relations:
        if removed in _HAVE_TABLES or name in situation.model.relations:
            yield name, AEL
        known = situation.model.relations.get(name)
        if known is None:
            continue
        if known.partition_of is not None:
            yield known.partition_of, AEL
        yield from ((other, AEL) for other in references(known))
    for name in dropped.altered:
        yield name, AEL


def _truncate(tree: Node, situation: Situation) -> Iterator[Lock]:
    names = [situation.resolve(relation_of(each["RangeVar"])) for each in tree["relations"]]
    for name in with_referencing(situation, names) if tree.get("behavior") == "DROP_CASCADE" else names:
        for relation in below(situation, name):
            yield relation.name, AEL


def with_referencing(situation: Situation, names: list[RelationName]) -> list[RelationName]:
    """These and every table that references one of them, over any number of steps: what TRUNCATE … CASCADE empties."""
    found = list(names)
    for name in found:
        for each in below(situation, name):
            found.extend(other for other in referencing(situation, each.name) if other not in found)
    return found


def _rename(tree: Node, situation: Situation) -> Iterator[Lock]:
    renamed = tree["renameType"]
    if "relation" not in tree:
        return
    name = relation_of(tree["relation"])
    if renamed in _HAVE_TABLES or renamed in ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"):
        yield name, AEL
    elif renamed in ("OBJECT_COLUMN", "OBJECT_TABCONSTRAINT", "OBJECT_ATTRIBUTE"):
        for relation in below(situation, situation.resolve(name)):
            yield relation.name, AEL


def _index(tree: Node, situation: Situation) -> Iterator[Lock]:
    name = relation_of(tree["relation"])
    mode = SUE if tree.get("concurrent") else SHARE
    yield name, mode
    if tree["relation"].get("inh") and not tree.get("concurrent"):
        known = situation.model.relations.get(situation.resolve(name))
        if known is not None and known.kind is RelationKind.PARTITIONED:
            for relation in below(situation, known.name):
                yield relation.name, mode


def _reindex(tree: Node, situation: Situation) -> Iterator[Lock]:
    concurrent = is_on(options(tree.get("params")).get("concurrently", False))
    mode = SUE if concurrent else SHARE
    match tree["kind"]:
        case "REINDEX_OBJECT_TABLE":
            for relation in _partitions_too(situation, relation_of(tree["relation"])):
                yield relation.name, mode
        case "REINDEX_OBJECT_INDEX":
            table = situation.model.index_tables.get(situation.resolve(relation_of(tree["relation"])))
            if table is not None:
                for relation in below(situation, table):
                    yield relation.name, mode
        case other:
            for relation in situation.model.relations.values():
                if other != "REINDEX_OBJECT_SCHEMA" or relation.name.namespace == tree.get("name"):
                    yield relation.name, mode


def _maintenance(tree: Node, situation: Situation) -> Iterator[Lock]:
    """VACUUM, ANALYZE, CLUSTER."""
    full = tree.get("is_vacuumcmd") and is_on(options(tree.get("options")).get("full", False))
    named = [relation_of(each["VacuumRelation"]["relation"]) for each in tree.get("rels", ())]
    for name in named or [each.name for each in situation.model.relations.values()]:
        # Since 18 children by INHERITS are processed with their parent, too; before, ANALYZE only reads them.
        newer = (situation.model.server_major or 18) >= 18
        known = below(situation, situation.resolve(name)) if newer else _partitions_too(situation, name)
        for relation in known:
            yield relation.name, AEL if full else SUE
            if not newer and not full and relation.kind is RelationKind.TABLE:  # children by INHERITS are read with it
                yield from ((each, ACCESS_SHARE) for each in relation.partitions)


def _partitions_too(situation: Situation, name: RelationName) -> list[Relation]:
    """A partitioned table with all below it; children by INHERITS are let alone."""
    relation = situation.relation(name)
    return below(situation, relation.name) if relation.kind is RelationKind.PARTITIONED else [relation]


def _cluster(tree: Node, situation: Situation) -> Iterator[Lock]:
    if "relation" in tree:
        for relation in _partitions_too(situation, relation_of(tree["relation"])):
            yield relation.name, AEL


def _refresh(tree: Node, situation: Situation) -> Iterator[Lock]:
    name = relation_of(tree["relation"])
    yield name, LockMode.EXCLUSIVE if tree.get("concurrent") else AEL
    known = situation.model.relations.get(situation.resolve(name))
    for used, _ in known.uses if known is not None and not tree.get("skipData") else ():
        yield from read_locks(situation, used, ACCESS_SHARE)


def _trigger(tree: Node, situation: Situation) -> Iterator[Lock]:
    relation = situation.relation(relation_of(tree["relation"]))
    yield relation.name, SRE
    if relation.kind is RelationKind.PARTITIONED:  # children by INHERITS get no trigger
        yield from ((each.name, SRE) for each in below(situation, relation.name))
    if "constrrel" in tree:
        yield relation_of(tree["constrrel"]), ACCESS_SHARE


def _rule(tree: Node, situation: Situation) -> Iterator[Lock]:
    yield relation_of(tree["relation"]), AEL
    for action in tree.get("actions", ()):
        yield from analysis_locks(*kind_of(action), situation)


def _policy(tree: Node, situation: Situation) -> Iterator[Lock]:
    yield relation_of(tree["table"]), AEL


def _lock(tree: Node, situation: Situation) -> Iterator[Lock]:
    mode = _MODES[tree.get("mode", 1)]
    for each in tree["relations"]:
        name = situation.resolve(relation_of(each["RangeVar"]))
        inherits = each["RangeVar"].get("inh", False)
        for relation in below(situation, name) if inherits else [situation.relation(name)]:
            yield from read_locks(situation, relation.name, mode) if inherits else [(relation.name, mode)]


def _create(tree: Node, situation: Situation) -> Iterator[Lock]:
    if tree.get("if_not_exists") and situation.exists(relation_of(tree["relation"])):
        return
    partition = "partbound" in tree
    for each in tree.get("inhRelations", ()):
        parent = situation.resolve(relation_of(each["RangeVar"]))
        yield parent, AEL if partition else SUE
        known = situation.model.relations.get(parent)
        if partition and known is not None:
            yield from _default_partition(situation, known)
            yield from ((name, SRE) for name in references(known))
            yield from ((name, SRE) for name in referencing(situation, known.name))
    for element in tree.get("tableElts", ()):
        kind, body = kind_of(element)
        if kind == "TableLikeClause":
            yield relation_of(body["relation"]), ACCESS_SHARE
        constraints = body.get("constraints", ()) if kind == "ColumnDef" else [element]
        for constraint in constraints:
            if constraint.get("Constraint", {}).get("contype") == "CONSTR_FOREIGN":
                for relation in below(situation, situation.resolve(relation_of(constraint["Constraint"]["pktable"]))):
                    yield relation.name, SRE


def _default_partition(situation: Situation, parent: Relation) -> Iterator[Lock]:
    """The default partition is checked for rows that belong to a new one."""
    for name in parent.partitions:
        known = situation.model.relations.get(name)
        if known is not None and known.partition_bound == "DEFAULT":
            yield from ((each.name, AEL) for each in below(situation, name))


def _create_as(tree: Node, situation: Situation) -> Iterable[Lock]:
    into = relation_of(tree["into"]["rel"])
    if tree.get("if_not_exists") and situation.exists(into):
        return ()
    return query_locks(*kind_of(tree["query"]), situation) if "query" in tree else ()


def _view(tree: Node, situation: Situation) -> Iterable[Lock]:
    return analysis_locks(*kind_of(tree["query"]), situation)


def _comment(tree: Node, situation: Situation) -> Iterator[Lock]:
    items = tree.get("object", {}).get("List", {}).get("items")
    match tree.get("objtype"):
        case "OBJECT_TABLE" | "OBJECT_MATVIEW":
            yield name_of(items), SUE
        case "OBJECT_COLUMN":
            yield name_of(items[:-1]), SUE
        case "OBJECT_TABCONSTRAINT" | "OBJECT_TRIGGER" | "OBJECT_POLICY" | "OBJECT_RULE":
            yield name_of(items[:-1]), ACCESS_SHARE  # get_object_address_relobject


def _grant(tree: Node, situation: Situation) -> Iterator[Lock]:
    if tree.get("targtype") != "ACL_TARGET_OBJECT" or tree.get("objtype") != "OBJECT_TABLE":
        return
    if situation.model.server_major is not None and situation.model.server_major < 18:
        return  # since 18 the relation is locked while its rights change
    for each in tree.get("objects", ()):
        if "RangeVar" in each:
            yield relation_of(each["RangeVar"]), ACCESS_SHARE


def _object_schema(tree: Node, situation: Situation) -> Iterator[Lock]:
    if tree.get("objectType") in _HAVE_TABLES:
        yield relation_of(tree["relation"]), AEL


def _domain(tree: Node, situation: Situation) -> Iterator[Lock]:
    """Tables with a column of the domain are read while nobody may write to them."""
    name = situation.resolve_type(name_of(tree["typeName"]))
    match tree.get("subtype"):
        case "O":  # SET NOT NULL
            mode = SHARE
        case "C" if not tree["def"]["Constraint"].get("skip_validation"):
            mode = SHARE
        case "V":  # measured on 15 and on 18.4
            mode = SHARE
        case _:
            return
    for relation, _ in situation.model.typed(name):
        yield relation.name, mode


def _sequence(tree: Node, situation: Situation) -> Iterator[Lock]:
    owner = options(tree.get("options")).get("owned_by")
    if isinstance(owner, dict):
        items = owner["List"]["items"]
        if len(items) > 1:
            yield name_of(items[:-1]), ACCESS_SHARE


def _statistics(tree: Node, situation: Situation) -> Iterator[Lock]:
    for each in tree.get("relations", ()):
        if "RangeVar" in each:
            yield relation_of(each["RangeVar"]), SUE


def _publication(tree: Node, situation: Situation) -> Iterator[Lock]:
    for each in tree.get("pubobjects", ()):
        table = each.get("PublicationObjSpec", {}).get("pubtable")
        if table is not None:
            for relation in below(situation, situation.resolve(relation_of(table["relation"]))):
                yield relation.name, SUE


def _composite(tree: Node, situation: Situation) -> Iterator[Lock]:
    """ALTER TYPE … on a composite type: typed tables change with it, and columns of it are looked for."""
    name = situation.resolve_type(relation_of(tree["relation"]))
    for relation in situation.model.relations.values():
        if relation.of_type == name:
            yield relation.name, AEL
    if any(each["AlterTableCmd"]["subtype"] == "AT_AlterColumnType" for each in tree["cmds"]):
        for relation, _ in situation.model.typed(name):
            yield relation.name, ACCESS_SHARE


def _alter_table(tree: Node, situation: Situation) -> Iterable[Lock]:
    match tree.get("objtype"):
        case "OBJECT_TABLE" | "OBJECT_MATVIEW":
            return alter_table_locks(tree, situation)
        case "OBJECT_TYPE":
            return _composite(tree, situation)
        case "OBJECT_INDEX":
            return _attach_index(tree, situation)
    return ()


def _attach_index(tree: Node, situation: Situation) -> Iterator[Lock]:
    if any(each["AlterTableCmd"]["subtype"] == "AT_AttachPartition" for each in tree["cmds"]):
        table = situation.model.index_tables.get(situation.resolve(relation_of(tree["relation"])))
        if table is not None:
            yield table, ACCESS_SHARE


def _drop_owned(tree: Node, situation: Situation) -> Iterator[Lock]:
    roles = {each["RoleSpec"].get("rolename") for each in tree.get("roles", ())}
    for relation in situation.model.relations.values():
        if relation.owner in roles:
            yield relation.name, AEL
            yield from ((name, AEL) for name in references(relation))
            yield from ((name, AEL) for name in referencing(situation, relation.name))


def _kept_query(tree: Node, situation: Situation) -> Iterable[Lock]:
    """DECLARE and PREPARE plan what EXECUTE and FETCH run."""
    return query_locks(*kind_of(tree["query"]), situation)


def _function(tree: Node, situation: Situation) -> Iterator[Lock]:
    """An SQL body is read as it is made (fmgr_sql_validator); another language's is not."""
    for kind, body in sql_body(tree):
        yield from analysis_locks(kind, body, situation)


_RULES: dict[str, Callable[[Node, Situation], Iterable[Lock]]] = {
    "AlterTableStmt": _alter_table,
    "DropStmt": _drop,
    "TruncateStmt": _truncate,
    "RenameStmt": _rename,
    "IndexStmt": _index,
    "ReindexStmt": _reindex,
    "VacuumStmt": _maintenance,
    "ClusterStmt": _cluster,
    "RefreshMatViewStmt": _refresh,
    "CreateTrigStmt": _trigger,
    "RuleStmt": _rule,
    "CreatePolicyStmt": _policy,
    "AlterPolicyStmt": _policy,
    "LockStmt": _lock,
    "CreateStmt": _create,
    "CreateTableAsStmt": _create_as,
    "ViewStmt": _view,
    "CommentStmt": _comment,
    "SecLabelStmt": _comment,
    "GrantStmt": _grant,
    "AlterObjectSchemaStmt": _object_schema,
    "AlterDomainStmt": _domain,
    "CreateSeqStmt": _sequence,
    "AlterSeqStmt": _sequence,
    "CreateStatsStmt": _statistics,
    "DeclareCursorStmt": _kept_query,
    "PrepareStmt": _kept_query,
    "CreateFunctionStmt": _function,
    "CreatePublicationStmt": _publication,
    "AlterPublicationStmt": _publication,
    "DropOwnedStmt": _drop_owned,
    "ReassignOwnedStmt": _drop_owned,
}
