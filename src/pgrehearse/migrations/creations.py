"""What migration files would leave behind that was not there before, as far as their text makes it certain.

`status` looks for these objects in the catalog: a migration that no ledger row records and whose
objects exist has run, wholly or half.  Saying so wrongly would be worse than saying nothing, so every
object is left out that may exist for another reason: made by an earlier file, made with IF NOT EXISTS
or OR REPLACE, dropped or renamed before, or after a statement whose effects the text does not show.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pglast
from pglast import ast, enums

from pgrehearse.errors import PgRehearseError
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.statements import split_file


class ObjectKind(Enum):
    """What is looked for."""

    NAMESPACE = "schema"
    TABLE = "table"
    COLUMN = "column"
    CONSTRAINT = "constraint"
    INDEX = "index"
    VIEW = "view"
    SEQUENCE = "sequence"
    TYPE = "type"
    ENUM_VALUE = "enum value"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseObject:
    """One object by its name; columns, constraints, indexes and enum values belong to an owner."""

    kind: ObjectKind
    namespace: str
    name: str
    owner: str | None = None  # the table of a column, constraint or index; the type of an enum value

    def __str__(self) -> str:
        place = self.namespace if self.kind is not ObjectKind.NAMESPACE else ""
        parts = [place, self.owner if self.kind is not ObjectKind.INDEX else None, self.name]
        return f"{self.kind.value} {'.'.join(part for part in parts if part)}"

    @property
    def key(self) -> tuple[str | None, ...]:
        """What it is told apart by: an index by its own name alone, the rest within their owner."""
        return self.kind.value, self.namespace, None if self.kind is ObjectKind.INDEX else self.owner, self.name

    @property
    def relation(self) -> tuple[str, str]:
        """The relation or type with which it goes."""
        return self.namespace, self.owner or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Creations:
    """What one unrecorded migration would make, and what else it does that leaves no such trace."""

    objects: tuple[DatabaseObject, ...]
    untraceable: tuple[str, ...]  # its other statements, as "UPDATE" or "ALTER TABLE"; without repetition


@dataclass(frozen=True, slots=True, kw_only=True)
class _Makes:
    thing: DatabaseObject
    tolerant: bool = False  # IF NOT EXISTS, OR REPLACE: existing before is no surprise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Removes:
    """Drops or renames one thing away, or a whole relation with all that belongs to it."""

    namespace: str
    relation: str | None  # None: everything of the namespace
    thing: DatabaseObject | None = None


class _Obscures:
    """From here on the text does not show what exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traceless:
    """Changes data or definitions without making an object."""

    label: str = ""  # "UPDATE", "ALTER TABLE"


_Effect = _Makes | _Removes | _Obscures | _Traceless

# A DO body with one of these may drop, rename or call; without them it makes things at most (drizzle's
# own "EXCEPTION WHEN duplicate_object" blocks).
_OBSCURING_WORDS = re.compile(r"\b(?:drop|rename|execute|call|perform|select|set)\b", re.IGNORECASE)
_HARMLESS_FUNCTIONS = frozenset({"setval", "nextval", "currval", "pg_get_serial_sequence", "max", "min", "coalesce"})
_TWO_WORDS = frozenset({"ALTER", "CREATE", "DROP", "REFRESH", "SECURITY"})


@dataclass(slots=True)
class _Known:
    """What the files read so far say of the database."""

    existing: set[DatabaseObject] = field(default_factory=set)  # made by recorded files, and not dropped since
    spoken_for: set[tuple[str | None, ...]] = field(default_factory=set)  # keys of what may exist for another reason
    relations_touched: set[tuple[str, str]] = field(default_factory=set)
    namespaces_touched: set[str] = field(default_factory=set)

    def remove(self, effect: _Removes) -> None:
        if effect.relation is None:
            self.namespaces_touched.add(effect.namespace)
        elif effect.thing is None:
            self.relations_touched.add((effect.namespace, effect.relation))
        else:
            self.spoken_for.add(effect.thing.key)
        self.existing = {thing for thing in self.existing if not _goes_with(thing, effect)}

    def may_exist_anyway(self, thing: DatabaseObject) -> bool:
        return (
            thing.key in {known.key for known in self.existing}
            or thing.key in self.spoken_for
            or thing.relation in self.relations_touched
            or thing.namespace in self.namespaces_touched
        )


def find_creations(
    recorded: Iterable[Migration], unrecorded: Sequence[Migration], *, creation_namespace: str | None
) -> dict[str, Creations]:
    """By version, what each unrecorded migration would newly make.

    ``creation_namespace`` is where an unqualified name lands (the first of the session's
    ``current_schemas``); None leaves unqualified names out.  Files that cannot be parsed are left out, and
    so is every file from the first on whose text does not show what it does (DO with EXECUTE, DROP …
    CASCADE, function calls).  Pure; cost: parsing, about 1 ms per 100 statements.
    """
    known = _Known()
    for migration in recorded:
        for effect in _read_effects(migration, creation_namespace) or ():
            if isinstance(effect, _Makes):
                known.existing.add(effect.thing)
            elif isinstance(effect, _Removes):
                known.existing = {thing for thing in known.existing if not _goes_with(thing, effect)}
    found: dict[str, Creations] = {}
    for migration in unrecorded:
        effects = _read_effects(migration, creation_namespace)
        if effects is None or any(isinstance(effect, _Obscures) for effect in effects):
            break
        found[migration.version] = _net(effects, known)
    return found


def _net(effects: Sequence[_Effect], known: _Known) -> Creations:
    made: list[DatabaseObject] = []
    untraceable: dict[str, None] = {}
    for effect in effects:
        if isinstance(effect, _Removes):
            made = [thing for thing in made if not _goes_with(thing, effect)]
            known.remove(effect)
        elif isinstance(effect, _Makes):
            if not effect.tolerant and not known.may_exist_anyway(effect.thing):
                made.append(effect.thing)
            known.spoken_for.add(effect.thing.key)  # a later file that makes it again proves nothing by it
        elif isinstance(effect, _Traceless):
            untraceable[effect.label] = None
    return Creations(objects=tuple(made), untraceable=tuple(untraceable))


def _goes_with(thing: DatabaseObject, removal: _Removes) -> bool:
    if removal.thing is not None:
        return thing.key == removal.thing.key
    if removal.relation is None:
        return thing.namespace == removal.namespace
    return thing.relation == (removal.namespace, removal.relation)


def _read_effects(migration: Migration, namespace: str | None) -> tuple[_Effect, ...] | None:
    try:
        statements = split_file(migration.content, path=migration.path, kind=migration.kind)
        effects: list[_Effect] = []
        for statement in statements:
            if statement.kind not in _READERS:  # building Python's tree costs 16 times what parsing does
                if statement.kind not in _SILENT:
                    effects.append(_Traceless(label=_label(statement.text)))
                continue
            for raw in pglast.parse_sql(statement.text):
                effects += (
                    _Traceless(label=_label(statement.text)) if isinstance(effect, _Traceless) else effect
                    for effect in _effects_of(raw.stmt, namespace)
                )
    except (PgRehearseError, pglast.parser.ParseError):
        return None
    return tuple(effects)


def _label(text: str) -> str:
    words = text.split(maxsplit=2)[:2]
    return " ".join(words if words[0].upper() in _TWO_WORDS else words[:1]).upper()


def _effects_of(node: Any, default: str | None) -> Iterator[_Effect]:
    """One statement's effects; an unqualified name without a default namespace makes none."""
    reader = _READERS.get(type(node).__name__)
    if reader is not None:
        yield from reader(node, default)
    elif type(node).__name__ in _SILENT:
        return
    else:
        yield _Traceless()


def _create_table(node: Any, default: str | None) -> Iterator[_Effect]:
    relation = node.relation
    namespace = relation.schemaname or default
    if relation.relpersistence == "t" or namespace is None:
        return
    owner = relation.relname
    yield _Makes(thing=_thing(ObjectKind.TABLE, namespace, owner), tolerant=node.if_not_exists)
    for element in node.tableElts or ():
        if isinstance(element, ast.ColumnDef) and element.colname:
            column = _thing(ObjectKind.COLUMN, namespace, element.colname, owner)
            yield _Makes(thing=column, tolerant=node.if_not_exists)


def _create_table_as(node: Any, default: str | None) -> Iterator[_Effect]:
    relation = node.into.rel
    namespace = relation.schemaname or default
    if relation.relpersistence == "t" or namespace is None:
        return
    materialized = node.objtype == enums.ObjectType.OBJECT_MATVIEW
    kind = ObjectKind.VIEW if materialized else ObjectKind.TABLE
    yield _Makes(thing=_thing(kind, namespace, relation.relname), tolerant=node.if_not_exists)


def _create_view(node: Any, default: str | None) -> Iterator[_Effect]:
    namespace = node.view.schemaname or default
    if node.view.relpersistence != "t" and namespace is not None:
        yield _Makes(thing=_thing(ObjectKind.VIEW, namespace, node.view.relname), tolerant=node.replace)


def _create_sequence(node: Any, default: str | None) -> Iterator[_Effect]:
    namespace = node.sequence.schemaname or default
    if node.sequence.relpersistence != "t" and namespace is not None:
        thing = _thing(ObjectKind.SEQUENCE, namespace, node.sequence.relname)
        yield _Makes(thing=thing, tolerant=node.if_not_exists)


def _create_index(node: Any, default: str | None) -> Iterator[_Effect]:
    namespace = node.relation.schemaname or default
    if node.idxname and namespace is not None:
        thing = _thing(ObjectKind.INDEX, namespace, node.idxname, node.relation.relname)
        yield _Makes(thing=thing, tolerant=node.if_not_exists)


def _create_type(node: Any, default: str | None) -> Iterator[_Effect]:
    names = node.domainname if isinstance(node, ast.CreateDomainStmt) else node.typeName
    yield from _made_type(*_split_names(names, default))


def _create_composite_type(node: Any, default: str | None) -> Iterator[_Effect]:
    yield from _made_type(node.typevar.schemaname or default, node.typevar.relname)


def _made_type(namespace: str | None, name: str) -> Iterator[_Effect]:
    if namespace is not None:
        yield _Makes(thing=_thing(ObjectKind.TYPE, namespace, name))


def _create_namespace(node: Any, _default: str | None) -> Iterator[_Effect]:
    if node.schemaElts:  # its elements are made inside it; few write this, and none of the tools
        yield _Obscures()
    elif node.schemaname:
        thing = _thing(ObjectKind.NAMESPACE, node.schemaname, node.schemaname)
        yield _Makes(thing=thing, tolerant=node.if_not_exists)


def _alter_enum(node: Any, default: str | None) -> Iterator[_Effect]:
    namespace, name = _split_names(node.typeName, default)
    if namespace is None:
        return
    if node.oldVal is not None:
        for value in (node.oldVal, node.newVal):
            thing = _thing(ObjectKind.ENUM_VALUE, namespace, value, name)
            yield _Removes(namespace=namespace, relation=name, thing=thing)
    else:
        thing = _thing(ObjectKind.ENUM_VALUE, namespace, node.newVal, name)
        yield _Makes(thing=thing, tolerant=node.skipIfNewValExists)


def _alter_table(node: Any, default: str | None) -> Iterator[_Effect]:
    namespace = node.relation.schemaname or default
    if namespace is None:
        return
    owner = node.relation.relname
    kinds = enums.AlterTableType
    for command in node.cmds:
        if command.behavior == enums.DropBehavior.DROP_CASCADE:
            yield _Obscures()
        elif command.subtype == kinds.AT_AddColumn:
            thing = _thing(ObjectKind.COLUMN, namespace, command.def_.colname, owner)
            yield _Makes(thing=thing, tolerant=command.missing_ok or node.missing_ok)
        elif command.subtype == kinds.AT_AddConstraint:
            if command.def_.indexname:  # USING INDEX renames the index
                yield _Removes(namespace=namespace, relation=owner)
            elif command.def_.conname:
                yield _Makes(thing=_thing(ObjectKind.CONSTRAINT, namespace, command.def_.conname, owner))
        elif command.subtype == kinds.AT_DropColumn:
            # Indexes and constraints that use the column go with it, and their names become free.
            yield _Removes(namespace=namespace, relation=owner)
        elif command.subtype == kinds.AT_DropConstraint:
            for kind in (ObjectKind.CONSTRAINT, ObjectKind.INDEX):
                yield _Removes(namespace=namespace, relation=owner, thing=_thing(kind, namespace, command.name, owner))
        else:
            yield _Traceless()


def _rename(node: Any, default: str | None) -> Iterator[_Effect]:
    """Old and new name both become uncertain, with everything that belongs to them."""
    if node.renameType == enums.ObjectType.OBJECT_SCHEMA:
        for name in (node.subname, node.newname):
            yield _Removes(namespace=name, relation=None)
        return
    if node.relation is not None:
        namespace, name = node.relation.schemaname or default, node.relation.relname
    else:
        namespace, name = _split_names(node.object if isinstance(node.object, tuple) else None, default)
    if namespace is None or not name:
        yield _Obscures()
        return
    if node.renameType == enums.ObjectType.OBJECT_INDEX:
        yield _Obscures()  # its table is not in the text
        return
    yield _Removes(namespace=namespace, relation=name)
    yield _Removes(namespace=namespace, relation=node.newname)


def _drop(node: Any, default: str | None) -> Iterator[_Effect]:
    kinds = enums.ObjectType
    if node.behavior == enums.DropBehavior.DROP_CASCADE:
        yield _Obscures()
        return
    for item in node.objects:
        if node.removeType == kinds.OBJECT_SCHEMA:
            yield _Removes(namespace=item.sval, relation=None)
            continue
        if node.removeType in (kinds.OBJECT_INDEX, kinds.OBJECT_FUNCTION, kinds.OBJECT_PROCEDURE):
            if node.removeType == kinds.OBJECT_INDEX:
                yield from _dropped_index(item, default)
            continue
        names = item.names if isinstance(item, ast.TypeName) else item
        namespace, name = _split_names(names if isinstance(names, tuple) else None, default)
        if namespace is None or not name:
            yield _Obscures()
        else:
            yield _Removes(namespace=namespace, relation=name)


def _dropped_index(names: Any, default: str | None) -> Iterator[_Effect]:
    """The text names no table, so the index's name is uncertain on every table of the namespace."""
    namespace, name = _split_names(names, default)
    if namespace is None:
        yield _Obscures()
    else:
        yield _Removes(namespace=namespace, relation=name, thing=_thing(ObjectKind.INDEX, namespace, name, None))


def _do_block(node: Any, _default: str | None) -> Iterator[_Effect]:
    text = " ".join(option.arg.sval for option in node.args if option.defname == "as")
    if _OBSCURING_WORDS.search(text):
        yield _Obscures()
    else:
        yield _Traceless()


def _select(node: Any, _default: str | None) -> Iterator[_Effect]:
    names = set(_called_functions(node))
    if names - _HARMLESS_FUNCTIONS or node.intoClause is not None:
        yield _Obscures()
    else:
        yield _Traceless()


def _obscure(_node: Any, _default: str | None) -> Iterator[_Effect]:
    yield _Obscures()


def _setting(node: Any, _default: str | None) -> Iterator[_Effect]:
    """Where unqualified names land is decided by search_path and, through "$user", by the role."""
    if node.name in ("search_path", "role", "session_authorization") or node.name is None:
        yield _Obscures()


def _called_functions(node: Any) -> Iterator[str]:
    if isinstance(node, ast.FuncCall):
        yield node.funcname[-1].sval
    if isinstance(node, ast.Node):
        for attribute in node:
            yield from _called_functions(getattr(node, attribute))
    elif isinstance(node, tuple):
        for item in node:
            yield from _called_functions(item)


def _split_names(names: Any, default: str | None) -> tuple[str | None, str]:
    """A list of name parts as (namespace, name)."""
    parts = [part.sval for part in names or () if isinstance(part, ast.String)]
    if not parts:
        return None, ""
    return (parts[-2] if len(parts) > 1 else default), parts[-1]


def _thing(kind: ObjectKind, namespace: str, name: str, owner: str | None = None) -> DatabaseObject:
    return DatabaseObject(kind=kind, namespace=namespace, name=name, owner=owner)


_READERS = {
    "CreateStmt": _create_table,
    "CreateTableAsStmt": _create_table_as,
    "ViewStmt": _create_view,
    "CreateSeqStmt": _create_sequence,
    "IndexStmt": _create_index,
    "CreateEnumStmt": _create_type,
    "CreateRangeStmt": _create_type,
    "CreateDomainStmt": _create_type,
    "CompositeTypeStmt": _create_composite_type,
    "CreateSchemaStmt": _create_namespace,
    "AlterEnumStmt": _alter_enum,
    "AlterTableStmt": _alter_table,
    "RenameStmt": _rename,
    "AlterObjectSchemaStmt": _obscure,
    "DropStmt": _drop,
    "DropOwnedStmt": _obscure,
    "DoStmt": _do_block,
    "CallStmt": _obscure,
    "ExecuteStmt": _obscure,
    "SelectStmt": _select,
    "VariableSetStmt": _setting,
    "AlterExtensionStmt": _obscure,
}
_SILENT = frozenset({"TransactionStmt", "VariableShowStmt", "CommentStmt"})
