"""The model: what a reader knows of the schema at one point of the files, from their text or from a catalog.

Filled by `against.read_catalog` from a database, or empty; every statement then changes it as the server would.
``None`` means "not known", never "no".  Names are always qualified: `RelationName` with its namespace.
Unlike other facts these are mutable: a folder of thousands of files changes one model in place.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from pgrehearse.hazards.constraint import Constraint, ConstraintKind
from pgrehearse.hazards.sql_names import RelationName

if TYPE_CHECKING:  # a lint without a database has no driver to load
    from pgrehearse.hazards.data_questions import DataQuestions


class RelationKind(Enum):
    """`pg_class.relkind`."""

    TABLE = "r"
    PARTITIONED = "p"
    VIEW = "v"
    MATERIALIZED_VIEW = "m"
    SEQUENCE = "S"
    FOREIGN = "f"
    COMPOSITE = "c"


class Volatility(Enum):
    """`pg_proc.provolatile`."""

    IMMUTABLE = "i"
    STABLE = "s"
    VOLATILE = "v"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """A column's type.  `columns.parse_type("character varying(255)[]")` makes one from `format_type`'s text."""

    name: str  # pg_type.typname: "int4", "varchar", "timestamptz", "mood"; never with the array's underscore
    namespace: str | None = None  # None: pg_catalog, or found by search_path
    modifiers: tuple[int, ...] = ()  # as written: varchar(255) -> (255,), numeric(10,2) -> (10, 2)
    dimensions: int = 0  # 1: an array (PostgreSQL does not tell dimensions apart)
    written: str = ""  # as SQL writes it


@dataclass(slots=True, kw_only=True)
class Column:
    name: str
    type: ColumnType | None = None
    not_null: bool | None = None
    has_default: bool | None = None  # a default, an identity or a generated value
    identity: str = ""  # pg_attribute.attidentity: "a", "d" or ""
    generated: str = ""  # pg_attribute.attgenerated: "s", "v" or ""
    null_fraction: float | None = None  # pg_stats.null_frac; 1.0 is an estimate too
    default_calls: frozenset[RelationName] = frozenset()  # functions (and, for nextval, sequences) of its default
    collation: str | None = None  # None: the type's own, or not known
    made_in: int | None = None  # the file that added it; None: it was there before


@dataclass(slots=True, kw_only=True)
class Index:
    """Kept at its table (`Relation.indexes`) under its own name."""

    name: str
    columns: tuple[str, ...] = ()  # plain key columns and INCLUDE, in order
    expression_columns: frozenset[str] = frozenset()  # named in an expression or in the predicate
    unique: bool = False
    primary: bool = False
    valid: bool = True
    constraint: str | None = None  # whose index it is
    expressions: bool = False  # some key is no plain column
    key_columns: tuple[str, ...] = ()  # without INCLUDE
    partial: bool = False
    method: str = "btree"
    made_in: int | None = None

    def infers(self, columns: Collection[str]) -> bool:
        """Whether ON CONFLICT over just these columns, without a WHERE, finds it; a deferrable one it then refuses.

        Source: infer_arbiter_indexes in plancat.c.
        """
        return (
            self.unique
            and self.valid
            and not self.partial
            and not self.expressions
            and self.method == "btree"
            and set(self.key_columns) == set(columns)
        )


@dataclass(slots=True, kw_only=True)
class Trigger:
    name: str
    function: RelationName | None = None
    events: frozenset[str] = frozenset()  # "insert", "update", "delete", "truncate"
    constraint: bool = False  # a constraint trigger
    initially_deferred: bool = False
    enabled: bool = True


@dataclass(slots=True, kw_only=True)
class Relation:
    """A table, view, sequence …"""

    name: RelationName
    kind: RelationKind | None = RelationKind.TABLE  # None: not known
    knows: bool = False  # everything below is complete, as a catalog or a CREATE in these files has it
    columns: dict[str, Column] = field(default_factory=dict)
    constraints: dict[str, Constraint] = field(default_factory=dict)
    indexes: dict[str, Index] = field(default_factory=dict)
    triggers: dict[str, Trigger] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)  # name -> event ("delete" …); views' own _RETURN is left out
    partition_of: RelationName | None = None
    partitions: set[RelationName] = field(default_factory=set)  # direct ones, and children by INHERITS
    has_default_partition: bool | None = None
    partition_bound: str | None = None  # pg_get_expr(relpartbound)
    partition_key: str | None = None  # pg_get_partkeydef: "RANGE (at)"
    uses: set[tuple[RelationName, str | None]] = field(default_factory=set)  # views: relation and column (None: all)
    calls: set[RelationName] = field(default_factory=set)  # views: functions
    owned_by: tuple[RelationName, str] | None = None  # sequences
    owner: str | None = None
    of_type: RelationName | None = None  # CREATE TABLE … OF
    row_security: bool | None = None
    policies: int | None = None
    policy_names: set[str] | None = None
    replica_identity: str | None = None  # pg_class.relreplident: "d" (the primary key), "n", "f" (full), "i"
    unlogged: bool | None = None
    temporary: bool = False
    access_method: str | None = None
    tablespace: str | None = None  # None: the database's
    size_bytes: int | None = None  # heap, indexes and TOAST
    rows: int | None = None  # pg_class.reltuples; None: never analysed, or not known
    is_empty: bool | None = None  # exactly: no row at all
    made_in: int | None = None  # the file that made it; None: it was there before
    perhaps_made: bool = False  # CREATE … IF NOT EXISTS: it may have been there, with rows
    row_type_used: bool | None = None  # another column is of this table's row type
    borrows: bool = False  # these files gave it parts of others: LIKE, INHERITS, PARTITION OF, ATTACH

    def finds_another(self, gone: Index) -> bool:
        """Whether ON CONFLICT over this index's columns finds another, and may use it."""
        return not (gone.partial or gone.expressions) and any(
            each is not gone and each.infers(gone.key_columns) and not self.is_deferrable(each)
            for each in self.indexes.values()
        )

    def is_deferrable(self, index: Index) -> bool:
        """Whether its constraint may wait for the COMMIT; a rename may have reached only one of the two names."""
        return any(
            each.deferrable or each.initially_deferred
            for each in self.constraints.values()
            if index.name == each.index or each.name == index.constraint
        )


@dataclass(slots=True, kw_only=True)
class UserType:
    """An enum, domain, composite or range type."""

    name: RelationName
    kind: str  # pg_type.typtype: "e", "d", "c", "r"
    labels: list[str] = field(default_factory=list)  # enum
    base: ColumnType | None = None  # domain
    constrained: bool | None = None  # domain: a CHECK or NOT NULL, also by a domain below it
    constraints: dict[str, Constraint] = field(default_factory=dict)  # domain
    made_in: int | None = None
    made_in_transaction: int | None = None


@dataclass(slots=True, kw_only=True)
class Function:
    """One overload."""

    name: RelationName
    arguments: str = ""  # pg_get_function_identity_arguments
    kind: str = "f"  # pg_proc.prokind
    language: str = "plpgsql"
    volatility: Volatility = Volatility.VOLATILE
    body: str | None = None
    definition: str | None = None  # the whole CREATE FUNCTION, where a file has it
    returns: str | None = None  # pg_get_function_result; None: not known, or a procedure
    returns_trigger: bool = False
    made_in: int | None = None


@dataclass(slots=True, kw_only=True)
class Model:
    """The schema as far as it is known."""

    complete: bool = False  # from a catalog: what is not here does not exist
    server_major: int | None = None
    timezone: str | None = None  # of the session that would migrate
    relations: dict[RelationName, Relation] = field(default_factory=dict)
    index_tables: dict[RelationName, RelationName] = field(default_factory=dict)  # index -> its table
    statistics: dict[RelationName, RelationName] = field(default_factory=dict)  # extended statistics -> their table
    types: dict[RelationName, UserType] = field(default_factory=dict)
    functions: dict[RelationName, list[Function]] = field(default_factory=dict)
    builtin_functions: frozenset[str] = frozenset()  # the server's own; empty: not known
    type_names: set[str] = field(default_factory=set)  # of all schemas, built-in ones too; empty: not known
    available_extensions: frozenset[str] | None = None  # that CREATE EXTENSION would find
    published: dict[RelationName, frozenset[str]] = field(default_factory=dict)  # "update", "delete" that are sent
    namespaces: dict[str, int | None] = field(default_factory=dict)  # name -> file that made it
    roles: set[str] = field(default_factory=set)
    sequences_granted_by_default: bool | None = None  # ALTER DEFAULT PRIVILEGES … ON SEQUENCES for some other role
    search_path: tuple[str, ...] = ("public",)
    # Asks the database whether its rows fit; None: no database, or an earlier statement may have changed anything.
    data: "DataQuestions | None" = None
    touched: set[RelationName] = field(default_factory=set)  # rows or shape changed by these files: ask no more

    # Who may lead there; an entry may be out of date, so each is looked at again.
    _children: dict[RelationName, dict[RelationName, None]] | None = field(default=None, repr=False)
    _users: dict[RelationName, dict[RelationName, None]] | None = field(default=None, repr=False)

    def find(self, name: RelationName) -> Relation | None:
        """The relation, or None where nothing is known of it."""
        return self.relations.get(name)

    def referencing(self, parent: RelationName) -> Iterator[tuple[Relation, Constraint]]:
        """Every foreign key that leads to `parent`, with its table."""
        if self._children is None:
            self._children = {}
            for relation in self.relations.values():
                for constraint in relation.constraints.values():
                    if constraint.referenced is not None:
                        self._children.setdefault(constraint.referenced, {})[relation.name] = None
        for child in tuple(self._children.get(parent, ())):
            known = self.relations.get(child)
            for constraint in tuple(known.constraints.values()) if known is not None else ():
                if known is not None and constraint.kind is ConstraintKind.FOREIGN and constraint.referenced == parent:
                    yield known, constraint

    def using(self, name: RelationName, column: str | None = None) -> Iterator[Relation]:
        """Views that name the relation, or that column of it."""
        if self._users is None:
            self._users = {}
            for relation in self.relations.values():
                for used, _ in relation.uses:
                    self._users.setdefault(used, {})[relation.name] = None
        for user in tuple(self._users.get(name, ())):
            known = self.relations.get(user)
            for used, used_column in known.uses if known is not None else ():
                if known is not None and used == name and (column is None or used_column in (None, column)):
                    yield known
                    break

    def note_links(self, relation: Relation) -> None:
        """After a relation got foreign keys, or uses others: `referencing` and `using` find it from here on."""
        if self._children is not None:
            for constraint in relation.constraints.values():
                if constraint.referenced is not None:
                    self._children.setdefault(constraint.referenced, {})[relation.name] = None
        if self._users is not None:
            for used, _ in relation.uses:
                self._users.setdefault(used, {})[relation.name] = None

    def typed(self, name: RelationName) -> Iterator[tuple[Relation, Column]]:
        """Columns of that user type.  Cost: all columns."""
        for relation in self.relations.values():
            for column in relation.columns.values():
                written = column.type
                if written is not None and written.name == name.name and written.namespace in (None, name.namespace):
                    yield relation, column
