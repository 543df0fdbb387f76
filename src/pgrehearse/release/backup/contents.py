"""What a database holds, as numbers that a restored copy must have too: rows, values, sequences, large objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnContent:
    """``sum`` is seeded by the row's key; None in a table without one, where the rows' sum stands for all."""

    values: int  # that are not NULL
    sum: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContent:
    """One table's rows.  Equal contents mean equal rows, in whatever order."""

    namespace: str
    relation: str
    name: str  # namespace.relation, quoted where SQL needs it
    rows: int
    key: tuple[str, ...]  # the columns that tell its rows apart; (): none do
    keys: str
    columns: Mapping[str, ColumnContent]

    def as_json(self) -> dict[str, Any]:
        return {
            "namespace": self.namespace,
            "relation": self.relation,
            "rows": self.rows,
            "key": list(self.key),
            "keys": self.keys,
            "columns": {name: [column.values, column.sum] for name, column in self.columns.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceContent:
    """Where one sequence stands; ``next_value`` is what nextval() would give, were it not at its end."""

    name: str
    last_value: int
    is_called: bool
    increment: int
    cycles: bool

    @property
    def next_value(self) -> int:
        return self.last_value + self.increment if self.is_called else self.last_value


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeObjectContent:
    count: int
    content: str  # by what a client reads, with oid and owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything that a restored copy is compared by."""

    tables: tuple[TableContent, ...]
    sequences: tuple[SequenceContent, ...]
    large_objects: LargeObjectContent
    not_held: tuple[str, ...]  # sentences: tables whose rows the dump does not have, or not all of them

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    def as_json(self) -> dict[str, Any]:
        return {
            "tables": {table.name: table.as_json() for table in self.tables},
            "sequences": {
                each.name: [each.last_value, each.is_called, each.increment, each.cycles] for each in self.sequences
            },
            "large_objects": {"count": self.large_objects.count, "content": self.large_objects.content},
            "rows_not_held": list(self.not_held),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Contents":
        return cls(
            tables=tuple(
                TableContent(
                    namespace=table["namespace"],
                    relation=table["relation"],
                    name=name,
                    rows=table["rows"],
                    key=tuple(table["key"]),
                    keys=table["keys"],
                    columns={
                        column: ColumnContent(values=values, sum=total)
                        for column, (values, total) in table["columns"].items()
                    },
                )
                for name, table in body["tables"].items()
            ),
            sequences=tuple(
                SequenceContent(name=name, last_value=last, is_called=called, increment=increment, cycles=cycles)
                for name, (last, called, increment, cycles) in body["sequences"].items()
            ),
            large_objects=LargeObjectContent(**body["large_objects"]),
            not_held=tuple(body["rows_not_held"]),
        )
