"""Roles, schemas, types and extensions that a statement names and a catalog does not have: it fails."""

from collections.abc import Iterator
from typing import Any

from pgrehearse.hazards.columns import SERIALS
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node, constant_of, name_of, strings, walk
from pgrehearse.hazards.written import Written

_ALWAYS = frozenset({"pg_catalog", "information_schema", "pg_temp", "pg_toast"})
# What a statement of the kind makes stands under this key.
_MADE = {"CreateStmt": "relation", "ViewStmt": "view", "CreateSeqStmt": "sequence", "CompositeTypeStmt": "typevar"}
_MADE_BY_LIST = {"CreateFunctionStmt": "funcname", "CreateEnumStmt": "typeName", "CreateDomainStmt": "domainname"}
_TYPED = frozenset({
    "AlterTableStmt", "CompositeTypeStmt", "CreateDomainStmt", "CreateFunctionStmt", "CreateStmt",
    "CreateTableAsStmt", "DeleteStmt", "IndexStmt", "InsertStmt", "MergeStmt", "SelectStmt", "UpdateStmt", "ViewStmt",
})  # fmt: skip
_TYPE_AT = {"ColumnDef": "typeName", "TypeCast": "typeName", "FunctionParameter": "argType"}


def missing_references(written: Written, situation: Situation) -> Iterator[Hit]:
    """What is not there for certain; without a catalog, or after a blind statement, nothing."""
    if not situation.model.complete or written.conditional or written.caught:
        return
    for kind, found in (("EXTENSION", _extensions), ("ROLE", _roles), ("SCHEMA", _namespaces), ("TYPE", _types)):
        if situation.blind and kind != "EXTENSION":  # which no statement makes available
            continue
        for name in dict.fromkeys(found(written, situation)):
            yield Hit(hazard="missing-object", relation=None, names={"kind": kind, "object": name}, even_new=True)


def _roles(written: Written, situation: Situation) -> Iterator[str]:
    tree, roles = written.tree, situation.model.roles
    if not roles or (written.kind == "DropRoleStmt" and tree.get("missing_ok")):
        return
    for body in _role_specs(tree):
        if body.get("roletype", "ROLESPEC_CSTRING") == "ROLESPEC_CSTRING" and body.get("rolename", "") not in roles:
            yield quoted(body.get("rolename", ""))
    if written.kind == "GrantRoleStmt":
        for each in tree.get("granted_roles", ()):
            if (name := each["AccessPriv"].get("priv_name", "")) not in roles:
                yield quoted(name)
    elif written.kind == "VariableSetStmt" and tree.get("name") in ("role", "session_authorization"):
        value = constant_of(tree["args"][0]) if tree.get("args") else None
        if isinstance(value, str) and value not in {*roles, "none"}:
            yield quoted(value)


def _role_specs(tree: Any) -> Iterator[Node]:
    """Some stand under a key of their own, others in lists."""
    stack = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if "roletype" in value:
                yield value
            stack.extend(each for each in value.values() if isinstance(each, dict | list))
        else:
            stack.extend(each for each in value if isinstance(each, dict | list))


def _namespaces(written: Written, situation: Situation) -> Iterator[str]:
    tree, known = written.tree, {*situation.model.namespaces, *_ALWAYS}
    named: list[str | None] = []
    if (key := _MADE.get(written.kind)) is not None:
        named.append(tree[key].get("schemaname"))
    elif (key := _MADE_BY_LIST.get(written.kind)) is not None:
        named.append(name_of(tree[key]).namespace)
    elif written.kind == "CreateTableAsStmt":
        named.append(tree["into"]["rel"].get("schemaname"))
    elif written.kind == "AlterObjectSchemaStmt":
        named.append(tree.get("newschema"))
    elif written.kind == "GrantStmt" and (
        tree.get("targtype") == "ACL_TARGET_ALL_IN_SCHEMA" or tree.get("objtype") == "OBJECT_SCHEMA"
    ):
        named += strings(tree.get("objects"))
    elif written.kind == "RenameStmt" and tree.get("renameType") == "OBJECT_SCHEMA":
        named.append(tree.get("subname"))
    for name in named:
        if name is not None and name not in known:
            yield quoted(name)


def _types(written: Written, situation: Situation) -> Iterator[str]:
    """By the bare name, so that whatever search_path is in force can lead to it."""
    model = situation.model
    if not model.type_names or written.kind not in _TYPED or _makes_a_shell(written):
        return
    found = [body[_TYPE_AT[kind]] for kind, body in walk(written.tree) if kind in _TYPE_AT and _TYPE_AT[kind] in body]
    found += [written.tree[key] for key in ("returnType", "typeName") if isinstance(written.tree.get(key), dict)]
    for type_name in found:
        if type_name.get("pct_type") or not type_name.get("names"):
            continue
        name = name_of(type_name["names"])
        if name.namespace is None and name.name in SERIALS:
            continue
        if name.name not in model.type_names and not _made(name, situation):
            yield name.written


def _makes_a_shell(written: Written) -> bool:
    """A function in C may speak of a type that is to come."""
    languages = [each["DefElem"] for each in written.tree.get("options", ()) if "DefElem" in each]
    return written.kind == "CreateFunctionStmt" and any(
        each.get("defname") == "language" and each["arg"]["String"].get("sval", "").lower() in ("c", "internal")
        for each in languages
    )


def _made(name: RelationName, situation: Situation) -> bool:
    """By these files, or under another name before."""
    names = (*situation.model.types, *situation.model.relations)
    return any(each.name == name.name for each in names)


def _extensions(written: Written, situation: Situation) -> Iterator[str]:
    available = situation.model.available_extensions
    if written.kind == "CreateExtensionStmt" and available and written.tree["extname"] not in available:
        yield quoted(written.tree["extname"])
