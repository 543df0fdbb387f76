"""Where the rows of a database are: its tables, their columns, keys and types, read from the catalogs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One live column of a table."""

    number: int  # pg_attribute.attnum: what a rename keeps
    name: str
    sql_name: str  # quoted only where SQL needs it
    type_oid: int
    typmod: int
    not_null: bool
    stored: str = ""  # all else of its catalog entry that decides how stored bytes are read

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute of a composite type."""

    number: int
    name: str
    type_oid: int
    typmod: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A data type and what it is made of; oid 0 stands for absent."""

    oid: int
    name: str  # as format_type() gives it under an empty search_path
    kind: str  # pg_type.typtype
    category: str
    base_oid: int
    base_typmod: int
    element_oid: int
    subtype_oid: int
    has_text_function: bool  # casting it to text is a function of its own, not its output
    attributes: tuple[Attribute, ...]
    labels: tuple[tuple[int, str], ...]  # an enum's: pg_enum.oid and label
    stored: str = ""  # all else of its catalog entry that decides how stored bytes are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table or partitioned table."""

    oid: int
    namespace: str
    relation: str
    name: str  # namespace.relation, quoted only where SQL needs it
    partitioned: bool
    readable: bool  # USAGE on the namespace and SELECT on the table
    row_security: bool  # policies apply to this role
    is_empty: bool  # known to hold no row without reading it
    parent_oid: int | None  # of a partition
    columns: tuple[Column, ...]
    keys: tuple[tuple[int, ...], ...]  # column numbers, the primary key first
    is_heap: bool = False  # PostgreSQL's own table access method
    size_bytes: int = 0  # of its main fork
    file: int | None = None  # relfilenode
    toast_file: int | None = None

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.namespace, self.relation)

    def find_column(self, number: int) -> Column | None:
        return next((column for column in self.columns if column.number == number), None)

    def find_named(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The tables of one database.  Partitioned ones are there for their trees; rows stand at the leaves."""

    by_oid: dict[int, Table]
    types: dict[int, Type]
    foreign: tuple[str, ...]
    foreign_partitions: tuple[tuple[str, int], ...] = ()  # their names and the oid of the parent
    _by_name: dict[tuple[str, str], Table] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = {(table.namespace, table.relation): table for table in self.by_oid.values()}
        object.__setattr__(self, "_by_name", names)

    def find_named(self, table: Table) -> Table | None:
        """The table that carries this one's name here."""
        return self._by_name.get((table.namespace, table.relation))

    def root_of(self, table: Table) -> Table:
        """The top of its partition tree; the table itself when it is no partition."""
        while table.parent_oid is not None and table.parent_oid in self.by_oid:
            table = self.by_oid[table.parent_oid]
        return table

    @property
    def leaves(self) -> tuple[Table, ...]:
        return tuple(table for table in self.by_oid.values() if not table.partitioned)

    def leaves_by_tree(self) -> dict[int, tuple[str, ...]]:
        """The names of all leaves below each partitioned table, at whatever depth; foreign ones too."""
        found: dict[int, list[str]] = {oid: [] for oid, table in self.by_oid.items() if table.partitioned}
        leaves = [(table.name, table.parent_oid) for table in self.leaves if table.parent_oid is not None]
        for name, parent in (*leaves, *self.foreign_partitions):
            above = self.by_oid.get(parent)
            while above is not None:
                found[above.oid].append(name)
                above = self.by_oid.get(above.parent_oid) if above.parent_oid is not None else None
        return {oid: tuple(names) for oid, names in found.items()}


def read_tables(
    connection: Connection, *, ignore_relations: frozenset[str] = frozenset(), wanted_types: Iterable[int] = ()
) -> Tables:
    """Read them with four catalog queries, whatever their number; takes no lasting locks.

    ``ignore_relations`` holds ``namespace.relation`` names, quoted as SQL needs or not at all; an ignored
    partitioned table ignores its leaves.  ``connection`` must have been through `prepare_session`.
    """
    columns: dict[int, list[Column]] = {}
    for oid, number, name, sql_name, type_oid, typmod, not_null, stored in connection.execute(QUERIES["columns"]):
        columns.setdefault(oid, []).append(
            Column(
                number=number, name=name, sql_name=sql_name, type_oid=type_oid, typmod=typmod, not_null=not_null,
                stored=stored,
            )
        )  # fmt: skip
    keys: dict[int, list[tuple[int, ...]]] = {}
    for oid, numbers in connection.execute(QUERIES["keys"]):
        keys.setdefault(oid, []).append(tuple(numbers))
    found: dict[int, Table] = {}
    foreign: list[str] = []
    foreign_partitions: list[tuple[str, int]] = []
    ignored: set[int] = set()
    for oid, namespace, relation, name, kind, readable, row_security, parent, is_heap, *files in connection.execute(
        QUERIES["relations"]
    ):
        size_bytes, file, toast_file = files
        if name in ignore_relations or f"{namespace}.{relation}" in ignore_relations:
            ignored.add(oid)
        elif kind == "f":
            foreign.append(name)
            if parent is not None:
                foreign_partitions.append((name, parent))
            continue
        own = tuple(columns.get(oid, ()))
        never_null = {column.number for column in own if column.not_null}
        found[oid] = Table(
            oid=oid,
            namespace=namespace,
            relation=relation,
            name=name,
            partitioned=kind == "p",
            readable=readable,
            row_security=row_security,
            is_empty=is_heap and size_bytes == 0,  # without a block: the cheapest exact count there is
            parent_oid=parent,
            columns=own,
            keys=tuple(key for key in keys.get(oid, ()) if never_null.issuperset(key)),
            is_heap=is_heap,
            size_bytes=size_bytes,
            file=file,
            toast_file=toast_file,
        )
    kept = {oid: table for oid, table in found.items() if not _is_below(table, found, ignored)}
    types = read_types(connection, wanted_types=wanted_types)
    return Tables(by_oid=kept, types=types, foreign=tuple(foreign), foreign_partitions=tuple(foreign_partitions))


def read_types(connection: Connection, *, wanted_types: Iterable[int] = ()) -> dict[int, Type]:
    """The types of all columns of all tables, with what they are made of, and those wanted; locks nothing."""
    return {row[0]: _type(row) for row in connection.execute(QUERIES["types"], {"wanted": list(wanted_types)})}


def _is_below(table: Table, tables: dict[int, Table], ignored: set[int]) -> bool:
    while table.oid not in ignored:
        if table.parent_oid is None or table.parent_oid not in tables:
            return False
        table = tables[table.parent_oid]
    return True


def _type(row: tuple[Any, ...]) -> Type:
    oid, name, kind, category, base, base_typmod, element, subtype, has_function, *parts = row
    numbers, names, type_oids, typmods, label_oids, labels, stored = parts
    return Type(
        oid=oid,
        name=name,
        kind=kind,
        category=category,
        base_oid=base,
        base_typmod=base_typmod,
        element_oid=element,
        subtype_oid=subtype,
        has_text_function=has_function,
        attributes=tuple(
            Attribute(number=number, name=attribute, type_oid=type_oid, typmod=typmod)
            for number, attribute, type_oid, typmod in zip(numbers, names, type_oids, typmods, strict=True)
        ),
        labels=tuple(zip(label_oids, labels, strict=True)),
        stored=stored,
    )
