"""Constraints: added, proved, dropped; and SET NOT NULL, which is one."""

from collections.abc import Collection, Iterator, Sequence

from pgrehearse.hazards.constraint import Constraint, ConstraintKind
from pgrehearse.hazards.expressions import not_null_columns
from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived, quoted
from pgrehearse.hazards.tree import Node, relation_of, strings
from pgrehearse.hazards.written import Written
from pgrehearse.postgres.locks import LockMode, strongest


def listed(columns: Sequence[str]) -> str:
    """``(a, "B")``"""
    return f"({', '.join(map(quoted, columns))})"


def add_constraint(
    written: Written, situation: Situation, table: RelationName, relation: Relation, body: Node, *,
    column: str | None = None, column_first: str = "", filled: bool = False,
) -> Iterator[Hit]:  # fmt: skip
    """One constraint; `column`: the one of ADD COLUMN at which it stands, `column_first`: how to add that without."""
    not_valid = body.get("skip_validation", False) or not body.get("is_enforced", False)
    kind = body["contype"]
    given = body.get("conname")
    if given is not None and relation.knows and given in relation.constraints:
        names = {"kind": "CONSTRAINT", "object": quoted(given)}
        yield Hit(hazard="object-exists", relation=table, names=names)
        return
    if (
        kind in ("CONSTR_CHECK", "CONSTR_FOREIGN")
        and "is_enforced" not in body
        and (situation.model.server_major or 18) < 18
    ):
        yield Hit(hazard="statement-refused", relation=table,
                  names={"command": "NOT ENFORCED", "object": table.written})  # fmt: skip
    match kind:
        case "CONSTR_CHECK":
            yield from _check(written, situation, table, relation, body, column, column_first, not_valid=not_valid)
        case "CONSTR_FOREIGN":
            yield from _foreign(
                written, situation, table, relation, body, column, column_first, not_valid=not_valid, filled=filled
            )
        case "CONSTR_UNIQUE" | "CONSTR_PRIMARY":
            yield from _key(written, situation, table, relation, body, column, column_first)
        case "CONSTR_EXCLUSION":
            text = written.item_at(body["location"]) if written.text else "…"
            yield Hit(hazard="add-exclusion", relation=table, names={"table": table.written, "definition": text})
        case "CONSTR_NOTNULL" if column is None:
            name = strings(body["keys"])[0]
            if not body.get("skip_validation"):
                yield from set_not_null(situation, table, relation, name)
            elif not ((known := relation.columns.get(name)) and known.not_null):
                names = {"table": table.written, "column": quoted(name), "object": quoted(name)}
                yield _breaks_writers(relation, table, names | {"statement": written.on_one_line}, {name})


def _definition(written: Written, body: Node, name: str, column: str | None) -> str:
    """The same constraint, named and NOT VALID."""
    text = written.item_at(body["location"]) if written.text else "…"
    if text.lower().startswith("constraint"):
        text = text.split(None, 2)[2]
    if column is not None:  # at a column its end is not a comma: other constraints may follow
        text = _own_part(text, body)
    if column is not None and body["contype"] == "CONSTR_FOREIGN":
        text = f"FOREIGN KEY ({quoted(column)}) {text}"
    return f"CONSTRAINT {quoted(name)} {text} NOT VALID"


def _own_part(text: str, body: Node) -> str:
    if body["contype"] == "CONSTR_CHECK":
        depth = 0
        for at, character in enumerate(text):
            depth += (character == "(") - (character == ")")
            if character == ")" and depth == 0:
                return text[: at + 1]
    pieces: list[str] = []
    previous = ""
    for word in text.split():
        low = word.lower()
        if low in ("unique", "primary", "check", "constraint", "generated") or (
            low in ("not", "null") and previous not in ("set",)
        ):
            break
        if low == "default" and previous != "set":
            break
        pieces.append(word)
        previous = low
    return " ".join(pieces)


def _check(
    written: Written, situation: Situation, table: RelationName, relation: Relation, body: Node, column: str | None,
    column_first: str, *, not_valid: bool,
) -> Iterator[Hit]:  # fmt: skip
    name = body.get("conname") or derived(table.name, *([column] if column else []), "check")
    names = {
        "table": table.written,
        "constraint": quoted(name),
        "definition": _definition(written, body, name, column),
        "column_first": column_first,
        "object": quoted(name),
        "statement": written.on_one_line,
    }
    if not_valid:
        if body.get("is_enforced"):  # else no row is ever refused
            yield _breaks_writers(relation, table, names, not_null_columns(body.get("raw_expr", {})))
        return
    yield Hit(hazard="add-check", relation=table, names=names)


def _foreign(
    written: Written, situation: Situation, table: RelationName, relation: Relation, body: Node, column: str | None,
    column_first: str, *, not_valid: bool, filled: bool,
) -> Iterator[Hit]:  # fmt: skip
    columns = [column] if column else strings(body.get("fk_attrs"))
    name = body.get("conname") or derived(table.name, *columns, "fkey")
    referenced = relation_of(body["pktable"])
    parent = situation.relation(referenced)
    theirs = strings(body.get("pk_attrs")) or list(_primary_key(parent))
    names = {
        "table": table.written,
        "constraint": quoted(name),
        "definition": _definition(written, body, name, column),
        "referenced": referenced.written,
        "column_first": column_first,
        "column": ", ".join(map(quoted, columns)),
        "index_columns": listed(theirs),
        "new": quoted(derived(referenced.name, *theirs, "key")),
        "kind": "TABLE",
        "object": referenced.written,
    }
    if situation.exists(referenced) is False:
        yield Hit(hazard="missing-object", relation=None, names=names, even_new=True)
        return
    fades = parent.temporary or (parent.unlogged and not relation.unlogged)
    if relation.knows and parent.knows and not relation.temporary and fades:
        more = {"command": f"a foreign key to {referenced.written}", "object": "which is temporary or unlogged"}
        yield Hit(hazard="statement-refused", relation=table, names=names | more, even_new=True)
        return
    if parent.knows:
        yield from _target(situation, table, relation, parent, columns, theirs, names)
    if relation.knows and not any(
        each.key_columns[: len(columns)] == tuple(columns) for each in relation.indexes.values()
    ):
        more = {"index_columns": listed(columns), "new": quoted(derived(table.name, *columns, "idx"))}
        yield Hit(hazard="fk-without-index", relation=table, names=names | more)
    if not_valid:
        if relation.kind is RelationKind.PARTITIONED and body.get("skip_validation"):
            yield Hit(
                hazard="fk-on-partitioned-not-valid",
                relation=table,
                names=names,
                certain=situation.model.server_major is not None,
                unsure="whether the server is older than 18",
            )
        yield Hit(hazard="set-not-null-breaks-writers", relation=table, names=names | {"object": quoted(name),
                  "statement": written.on_one_line})  # fmt: skip
        return
    yield Hit(hazard="add-foreign-key", relation=table, names=names)


def _primary_key(relation: Relation) -> tuple[str, ...]:
    for constraint in relation.constraints.values():
        if constraint.kind is ConstraintKind.PRIMARY:
            return constraint.columns
    return ()


def _target(
    situation: Situation, table: RelationName, relation: Relation, parent: Relation, columns: Sequence[str],
    theirs: Sequence[str], names: dict[str, str],
) -> Iterator[Hit]:  # fmt: skip
    unique = [each for each in parent.indexes.values()
              if each.unique and not each.partial and not each.expression_columns and each.valid]  # fmt: skip
    if not any(set(each.key_columns) == set(theirs) for each in unique):
        if parent.borrows:
            return  # LIKE … INCLUDING INDEXES, a partition: an index that is not modelled may be there
        yield Hit(hazard="fk-no-unique-target", relation=table, names=names, even_new=True)
        return
    for ours, other in zip(columns, theirs, strict=False):
        mine, its = relation.columns.get(ours), parent.columns.get(other)
        if mine is None or its is None or mine.type is None or its.type is None:
            continue
        if not _comparable(mine.type.name, its.type.name):
            more = {"column": quoted(ours), "type": its.type.written, "new": quoted(derived(ours, "new"))}
            yield Hit(hazard="fk-type-mismatch", relation=table, names=names | more, even_new=True)


_FAMILIES = (
    frozenset({"int2", "int4", "int8", "numeric", "float4", "float8", "oid"}),
    frozenset({"text", "varchar", "bpchar", "name", "citext"}),
    frozenset({"date", "timestamp", "timestamptz"}),
    frozenset({"inet", "cidr"}),
)
_KNOWN = frozenset({"uuid", "bool", "bytea", "jsonb"}).union(*_FAMILIES)


def _comparable(first: str, second: str) -> bool:
    if first == second or first not in _KNOWN or second not in _KNOWN:
        return True
    return any(first in family and second in family for family in _FAMILIES)


def _key(
    written: Written, situation: Situation, table: RelationName, relation: Relation, body: Node, column: str | None,
    column_first: str,
) -> Iterator[Hit]:  # fmt: skip
    primary = body["contype"] == "CONSTR_PRIMARY"
    columns = [column] if column else strings(body.get("keys"))
    of_key = [] if primary else columns
    name = body.get("conname") or derived(table.name, *of_key, "pkey" if primary else "key")
    index_columns = listed(columns)
    if body.get("including"):
        index_columns += f" INCLUDE {listed(strings(body['including']))}"
    if body.get("nulls_not_distinct"):
        index_columns += " NULLS NOT DISTINCT"
    deferrable = (" DEFERRABLE" if body.get("deferrable") else "") + (
        " INITIALLY DEFERRED" if body.get("initdeferred") else ""
    )
    names = {
        "table": table.written,
        "constraint": quoted(name),
        "index_columns": index_columns,
        "deferrable": deferrable,
        "column_first": column_first,
        "column": ", ".join(map(quoted, columns)),
        "statement": written.on_one_line,
        "kind": "CONSTRAINT",
        "object": quoted(name),
    }
    if primary and situation.model.complete and _primary_key(relation):
        yield Hit(hazard="object-exists", relation=table, names=names)
        return
    if "indexname" in body:
        index = relation.indexes.get(body["indexname"])
        if index is None and situation.model.complete and relation.knows:
            more = {"kind": "INDEX", "object": quoted(body["indexname"])}
            yield Hit(hazard="missing-object", relation=table, names=names | more)
        if primary and index is not None:
            for each in index.key_columns:
                if _maybe_null(relation, each):
                    check = quoted(derived(table.name, each, "not_null"))
                    yield Hit(hazard="pk-using-index-nullable", relation=table,
                              names=names | {"column": quoted(each), "check": check})  # fmt: skip
        elif primary and relation.made_in is None:
            more = {"column": "<its columns>", "check": quoted(derived(table.name, "not_null"))}
            yield Hit(
                hazard="pk-using-index-nullable",
                relation=table,
                names=names | more,
                certain=False,
                unsure="whether the index's columns are NOT NULL already",
            )
        return
    if (
        relation.kind is RelationKind.PARTITIONED
        and relation.partition_key is not None
        and column is None
        and not set(partition_columns(relation)) <= set(columns)
    ):
        more = {"command": "a key that leaves out a column of the partition key", "object": table.written}
        yield Hit(hazard="statement-refused", relation=table, names=names | more)
        return
    yield Hit(hazard="add-primary-key" if primary else "add-unique", relation=table, names=names)


def partition_columns(relation: Relation) -> set[str]:
    """The columns by which a table is partitioned, as far as they are plain."""
    inside = (relation.partition_key or "").rpartition("(")[2].rstrip(")")
    return {each.strip().strip('"') for each in inside.split(",")} & relation.columns.keys()


def _maybe_null(relation: Relation, column: str) -> bool:
    known = relation.columns.get(column)
    return known is None or not known.not_null


def is_proved_not_null(relation: Relation, column: str) -> bool:
    """A validated CHECK (column IS NOT NULL) lets SET NOT NULL skip its scan since 12."""
    return any(
        constraint.validated and column in constraint.proves_not_null for constraint in relation.constraints.values()
    )


def set_not_null(situation: Situation, table: RelationName, relation: Relation, column: str) -> Iterator[Hit]:
    """SET NOT NULL, or a NOT NULL constraint that is not NOT VALID."""
    known = relation.columns.get(column)
    if known is not None and known.not_null:
        return
    names = {
        "table": table.written,
        "column": quoted(column),
        "check": quoted(derived(table.name, column, "not_null")),
        "object": quoted(column),
        "kind": "COLUMN",
        "statement": f"ALTER TABLE {table.written} ALTER COLUMN {quoted(column)} SET NOT NULL",
    }
    if relation.knows and situation.model.complete and known is None:
        yield Hit(hazard="missing-object", relation=table, names=names)
        return
    yield _breaks_writers(relation, table, names, {column}, unknown=known is None)
    if is_proved_not_null(relation, column):
        return
    yield Hit(hazard="set-not-null", relation=table, names=names)


def _breaks_writers(
    relation: Relation, table: RelationName, names: dict[str, str], columns: Collection[str], *, unknown: bool = False
) -> Hit:
    """INSERTs that leave such a column out put NULL there, where it has no default."""
    known = [relation.columns.get(each) for each in columns]
    complied = any(
        set(columns) <= each.proves_not_null and each.kind is ConstraintKind.CHECK
        for each in relation.constraints.values()
    )
    bare = any(each is not None and each.has_default is False and each.not_null is False for each in known)
    return Hit(
        hazard="set-not-null-breaks-writers",
        relation=table,
        names=names,
        level=Level.WARNING if (bare or unknown) and not complied else None,
        certain=not unknown or complied,
        unsure="whether it has a default, or may not be NULL already",
    )


def validate(
    situation: Situation, table: RelationName, relation: Relation, name: str, own_lock: LockMode
) -> Iterator[Hit]:
    """VALIDATE CONSTRAINT: cheap by itself, but not under the lock of an earlier statement or of another command."""
    known = relation.constraints.get(name)
    names = {"table": table.written, "constraint": quoted(name), "kind": "CONSTRAINT", "object": quoted(name)}
    if known is None and relation.knows and situation.model.complete:
        yield Hit(hazard="missing-object", relation=table, names=names)
        return
    if known is not None and known.validated:
        return
    held = strongest(situation.holds(relation.name), own_lock)
    if held.strength >= LockMode.SHARE.strength:
        yield Hit(hazard="validate-in-same-transaction", relation=table, names=names)


def drop_constraint(
    situation: Situation, table: RelationName, relation: Relation, command: Node, *, together: bool
) -> Iterator[Hit]:
    """DROP CONSTRAINT, by what it guaranteed; `together`: what gives it back may do so before anybody sees."""
    name = command["name"]
    known = relation.constraints.get(name)
    names = {
        "table": table.written,
        "constraint": quoted(name),
        "object": quoted(name),
        "kind": "CONSTRAINT",
        "oid": f"<the oid of {quoted(name)}>",
        "statement": f"ALTER TABLE {table.written} DROP CONSTRAINT {quoted(name)}",
    }
    cascade = command.get("behavior") == "DROP_CASCADE"
    if known is None:
        if relation.knows and situation.model.complete:
            if not command.get("missing_ok"):
                yield Hit(hazard="missing-object", relation=table, names=names)
            return
        yield _of_unknown_kind(table, name, names)
        if cascade:
            yield _cascade(table, names)
        return
    if situation.is_recent(known.made_in):
        return
    yield Hit(hazard="drop-constraint-lock", relation=table, names=names)
    foreign = [(child, each) for child, each in situation.model.referencing(relation.name)
               if _leads_to(each, known, relation)]  # fmt: skip
    if known.kind in (ConstraintKind.PRIMARY, ConstraintKind.UNIQUE) and foreign:
        if not cascade:
            more = {"object": quoted(name), "referenced": foreign[0][0].name.written}
            yield Hit(hazard="dependants-remain", relation=table, names=names | more)
            return
        yield _cascade(table, names)
    match known.kind:
        case ConstraintKind.FOREIGN:
            yield Hit(hazard="drop-fk", relation=table, names=names)
        case ConstraintKind.PRIMARY:
            yield Hit(hazard="drop-primary-key", relation=table, names=names)
        case ConstraintKind.UNIQUE:
            new = quoted(derived(table.name, *known.columns, "key2"))
            own = relation.indexes.get(known.index or name)
            unsure = None  # what is, where another unique index stands at the file's end
            if own is not None and relation.finds_another(own):
                unsure = "whether ON CONFLICT ON CONSTRAINT names it"
            elif together:
                unsure = "whether ON CONFLICT runs before the other unique index is there"
            yield Hit(hazard="drop-constraint-used-by-upsert", relation=table, unsure=unsure,
                      names=names | {"index_columns": listed(known.columns), "new": new})  # fmt: skip
        case ConstraintKind.NOT_NULL:
            yield Hit(hazard="drop-not-null", relation=table, names=names | {"column": ", ".join(known.columns)})
        case _ if not _superfluous(relation, known):
            yield Hit(hazard="drop-constraint", relation=table, names=names)


def _of_unknown_kind(table: RelationName, name: str, names: dict[str, str]) -> Hit:
    """What PostgreSQL itself names ``…_key`` is a UNIQUE (ChooseConstraintName); of others only a catalog can tell."""
    if name.endswith("_key") and name.startswith(f"{table.name}_"):
        columns = f"({name.removeprefix(f'{table.name}_').removesuffix('_key')})"
        return Hit(
            hazard="drop-constraint-used-by-upsert",
            relation=table,
            names=names | {"index_columns": columns, "new": quoted(derived(name, "2"))},
            certain=False,
            unsure="whether it is a unique one",
        )
    return Hit(
        hazard="drop-constraint",
        relation=table,
        names=names,
        certain=False,
        unsure="what it kept the rows to, and whether a foreign key or ON CONFLICT counts on it",
    )


def _cascade(table: RelationName, names: dict[str, str]) -> Hit:
    """Foreign keys that lead to it go too; no value does."""
    classes = (HazardClass.GUARANTEE_LOST,)
    return Hit(hazard="drop-cascade", relation=table, names=names, classes=classes, level=Level.WARNING)


def _leads_to(foreign: Constraint, key: Constraint, parent: Relation) -> bool:
    theirs = foreign.referenced_columns or _primary_key(parent)
    return set(theirs) == set(key.columns)


def _superfluous(relation: Relation, check: Constraint) -> bool:
    """A CHECK (c IS NOT NULL) says no more than the column's NOT NULL."""
    return bool(check.proves_not_null) and all(
        (column := relation.columns.get(name)) is not None and column.not_null for name in check.proves_not_null
    )
