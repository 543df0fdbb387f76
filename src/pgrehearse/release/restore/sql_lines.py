"""One row as a line of SQL that writes it back, whatever its names and values hold.

What is quoted once for a table is quoted once: a million rows are a million lines.  Nothing here is executed; the
lines go into a file that a person reads first.
"""

import re
from collections.abc import Sequence

from psycopg import sql

from pgrehearse.data.tables import Table
from pgrehearse.release.restore.counterparts import Counterpart

Values = Sequence[str | None]


class SqlLines:
    """Statements for the rows of one table of the restored database."""

    def __init__(self, counterpart: Counterpart) -> None:
        self._names = [spelled(column.name) for column in counterpart.columns]
        self._key = [(position, counterpart.columns[position].type_name) for position in counterpart.key]
        self.place = place(counterpart.restored)
        self._only = self.place if counterpart.restored.partitioned else f"ONLY {self.place}"
        listed = ", ".join(self._names)
        self._insert = "".join(["INSERT INTO ", self.place, " (", listed, ") OVERRIDING SYSTEM VALUE VALUES ("])

    def insert(self, values: Values) -> str:
        return f"{self._insert}{', '.join(map(literal, values))});"

    def delete(self, values: Values, copies: int) -> str:
        """By key; of a keyless table as many of the rows that are alike."""
        if self._key:
            return "".join(["DELETE FROM ", self._only, " WHERE ", self.key(values), ";"])
        alike = " AND ".join(
            f"NOT {name} IS DISTINCT FROM NULL"
            if value is None
            else f"{name} IS DISTINCT FROM NULL AND pg_catalog.concat({name}) = {literal(value)}"
            for name, value in zip(self._names, values, strict=True)
        )
        found = ["SELECT tableoid, ctid FROM ", self._only, " WHERE ", alike, f" LIMIT {copies}"]
        return "".join(["DELETE FROM ", self._only, " WHERE (tableoid, ctid) IN (", *found, ");"])

    def delete_together(self, keys: Sequence[str]) -> str:
        """The rows with these keys (as `key` writes them) in one statement, for those that refer to each other."""
        return "".join(["DELETE FROM ", self._only, " WHERE ", " OR ".join(f"({key})" for key in keys), ";"])

    def update(self, positions: Sequence[int], now: Values, before: Values) -> str:
        settings = ", ".join(f"{self._names[position]} = {literal(now[position])}" for position in positions)
        return "".join(["UPDATE ", self._only, " SET ", settings, " WHERE ", self.key(before), ";"])

    def not_assigned(self, positions: Sequence[int], now: Values, before: Values) -> str:
        """A comment in place of an update that would carry the migration's own value along."""
        told = "; ".join(
            f"{self._names[position]} is {literal(now[position])} in the failed database, "
            f"{literal(before[position])} here"
            for position in positions
        )
        return f"-- not written back, the migration writes it too: {self.place} {self.key(before)}: {told}"

    @property
    def is_keyed(self) -> bool:
        return bool(self._key)

    def key(self, values: Values) -> str:
        return " AND ".join(
            f"{self._names[position]} = {literal(values[position])}::{type_name}" for position, type_name in self._key
        )


def literal(value: str | None) -> str:
    """A literal on one line; its type is taken from where it stands."""
    if value is None:
        return "NULL"
    quoted = value.replace("'", "''")
    if "\\" not in value and "\n" not in value and "\r" not in value:
        return f"'{quoted}'"
    escaped = quoted.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"E'{escaped}'"


def spelled(*names: str) -> str:
    """An identifier on one line: U& spells line breaks."""
    if not any(re.search(r"[\n\r]", name) for name in names):
        return sql.Identifier(*names).as_string(None)
    parts = []
    for name in names:
        inner = name.replace('"', '""').replace("\\", "\\\\").replace("\n", "\\000a").replace("\r", "\\000d")
        parts.append(f'U&"{inner}"')
    return ".".join(parts)


def place(table: Table) -> str:
    return spelled(table.namespace, table.relation)
