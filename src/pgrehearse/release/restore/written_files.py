"""The files that keep differing rows: CSV as `COPY … CSV` reads it, and SQL, one statement a line.

The folder and its files are readable by their owner only: they hold production's data.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import IO

from pgrehearse.data.tables import Table
from pgrehearse.release.restore.counterparts import Counterpart, ForeignKey, Trigger
from pgrehearse.release.restore.delete_order import DeleteOrder
from pgrehearse.release.restore.sql_lines import SqlLines, Values, place, spelled


class By(Enum):
    """Who made the difference."""

    APPLICATION = "application"
    MIGRATION = "migration"
    UNCLEAR = "unclear"  # either of them, or both


class Change(Enum):
    """What was done to a row since the backup."""

    INSERT = "inserts"
    UPDATE = "updates"
    DELETE = "deletes"


class _Phase(Enum):
    """The order in which rows are written back.

    A child that was given another parent leaves its old one before that is deleted, whose ON DELETE action would
    take it along; what is deleted makes room for what is unique, the rows of children before their parents'
    (`_children_first`); inserts come last, their parents' order does not matter while foreign keys are deferred.
    """

    REFERENCES = 1
    DELETES = 2
    UPDATES = 3
    INSERTS = 4


# What changes how a value's text is read, besides the session's own defaults.
SETTINGS = (
    "SET LOCAL client_encoding = 'UTF8';", "SET LOCAL standard_conforming_strings = on;",
    "SET LOCAL TimeZone = 'UTC';", "SET LOCAL DateStyle = 'ISO, YMD';", "SET LOCAL IntervalStyle = 'postgres';",
    "SET LOCAL lc_monetary = 'C';", "SET LOCAL lc_numeric = 'C';", "SET LOCAL xmloption = content;",
    "SET LOCAL xmlbinary = base64;", "SET LOCAL array_nulls = on;",
)  # fmt: skip
_BACK: dict[bool, str] = {
    True: "ALTER CONSTRAINT {} DEFERRABLE INITIALLY IMMEDIATE;",
    False: "ALTER CONSTRAINT {} NOT DEFERRABLE;",
}


class WrittenFiles:
    """An open folder of files.  Context manager; `close` finishes the SQL files."""

    def __init__(
        self, directory: Path, *, heading: str, foreign_keys: Sequence[ForeignKey], triggers: Sequence[Trigger],
        search_path: Sequence[str],
    ) -> None:  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
        self.directory = directory
        self._heading = heading
        self._foreign_keys = foreign_keys
        self._triggers = triggers
        self._search_path = search_path
        self._open = ExitStack()
        self._csv: dict[tuple[By, Change], IO[str]] = {}
        self._sql: dict[tuple[By, _Phase], IO[str]] = {}
        self._deletes: dict[By, IO[str]] = {}  # of the table that is being written
        self._deletes_of: dict[By, dict[int, Path]] = {}  # of each table, in the order they came
        self._ordered: dict[By, _OrderedDeletes] = {}  # of the table that is being written, if it refers to itself
        self._refers_to_itself = False
        self._touched: dict[By, set[int]] = {}
        self._number = 0
        self._counterpart: Counterpart | None = None
        self._lines_of: SqlLines | None = None
        self.counts: Counter[tuple[By, Change]] = Counter()
        self.not_assigned = 0

    def __enter__(self) -> "WrittenFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def begin(self, counterpart: Counterpart) -> None:
        """The rows that follow are of this table."""
        self._end_table()
        self._counterpart = counterpart
        self._lines_of = SqlLines(counterpart)
        self._refers_to_itself = DeleteOrder(counterpart, self._foreign_keys).is_needed
        self._number += 1
        self.counts = Counter()
        self.not_assigned = 0

    def path_of(self, name: str, suffix: str, *, folder: str | None = None) -> Path:
        """A file named for a table, whatever its name holds; the number keeps two such names apart."""
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:80]
        where = self.directory if folder is None else self.directory / folder
        where.mkdir(mode=0o700, exist_ok=True)
        return where / f"{self._number:05d}-{plain}.{suffix}.csv"

    def next_number(self) -> None:
        self._end_table()
        self._number += 1

    def insert(self, by: By, values: Values, *, copies: int = 1) -> None:
        for _ in range(copies):
            self._row(by, Change.INSERT, values)
            if by is not By.MIGRATION:
                self._statement(by, _Phase.INSERTS, self._lines.insert(values), 1)

    def delete(self, by: By, values: Values, *, copies: int = 1) -> None:
        for _ in range(copies):
            self._row(by, Change.DELETE, values)
        if by is By.MIGRATION:
            return
        if not self._refers_to_itself:
            self._statement(by, _Phase.DELETES, self._lines.delete(values, copies), copies)
            return
        if by not in self._ordered:
            self._ordered[by] = _OrderedDeletes(self._lines, DeleteOrder(self._table, self._foreign_keys))
        self._ordered[by].add(values, copies)

    def update(self, by: By, now: Values, before: Values, *, assigned: Sequence[int], left: Sequence[int]) -> None:
        """One row of both sides; positions ``left`` differ too, but the migration writes those columns as well."""
        table = self._table
        changed = ", ".join(table.columns[position].name for position in sorted((*assigned, *left)))
        self._row(by, Change.UPDATE, [changed, *now, *before])
        if by is By.MIGRATION:
            return
        references = [
            position for position in assigned if table.columns[position].name in table.foreign_key_columns
        ]  # fmt: skip
        others = [position for position in assigned if position not in references]
        for phase, positions in ((_Phase.REFERENCES, references), (_Phase.UPDATES, others)):
            if positions:
                self._statement(by, phase, self._lines.update(positions, now, before), 1)
        if left:
            self.not_assigned += 1
            self._line(by, _Phase.UPDATES, self._lines.not_assigned(left, now, before))

    def close(self) -> dict[By, Path]:
        """Put the SQL files together; the paths of those that hold a statement."""
        self._end_table()
        found = {}
        for by in (By.APPLICATION, By.UNCLEAR):
            parts = self._parts(by)
            if parts:
                found[by] = self.directory / f"{by.value}.sql"
                with _create(found[by]) as file:
                    self._head(file, by)
                    for part in parts:
                        with part.open(encoding="utf-8", errors="surrogateescape", newline="") as text:
                            shutil.copyfileobj(text, file)
                    self._foot(file, by)
                for part in parts:
                    part.unlink()
        return found

    def _parts(self, by: By) -> list[Path]:
        """In the order in which they are to run; all of them are closed."""
        self._open.close()
        parts: list[Path] = []
        for phase in _Phase:
            if phase is _Phase.DELETES:
                deletes = self._deletes_of.get(by, {})
                parts += [deletes[oid] for oid in _children_first(list(deletes), self._foreign_keys)]
            elif (by, phase) in self._sql:
                parts.append(Path(self._sql[by, phase].name))
        return parts

    @property
    def _table(self) -> Counterpart:
        assert self._counterpart is not None
        return self._counterpart

    @property
    def _lines(self) -> SqlLines:
        assert self._lines_of is not None
        return self._lines_of

    def _row(self, by: By, change: Change, values: Values) -> None:
        file = self._csv.get((by, change))
        if file is None:
            file = _create(self.path_of(self._table.name, change.value, folder=by.value))
            self._csv[by, change] = file
            heads = [column.name for column in self._table.columns]
            if change is Change.UPDATE:
                heads = ["changed_columns", *heads, *(f"restored.{name}" for name in heads)]
            file.write(_csv_line(heads))
        file.write(_csv_line(values))
        self.counts[by, change] += 1

    def _statement(self, by: By, phase: _Phase, statement: str, rows: int) -> None:
        self._touched.setdefault(by, set()).add(self._table.restored.oid)
        line = f"{statement}  -- rows: {rows}"
        if phase is _Phase.DELETES:
            self._delete_line(by, line)
        else:
            self._line(by, phase, line)

    def _delete_line(self, by: By, line: str) -> None:
        """A file for each table, open only while it is that table's turn: there may be thousands."""
        file = self._deletes.get(by)
        if file is None:
            path = self.directory / f".{by.value}.{_Phase.DELETES.value}.{self._number:05d}.part"
            file = self._deletes[by] = _create(path)
            self._deletes_of.setdefault(by, {})[self._table.restored.oid] = path
        file.write(line)
        file.write("\n")

    def _line(self, by: By, phase: _Phase, line: str) -> None:
        file = self._sql.get((by, phase))
        if file is None:
            file = self._open.enter_context(_create(self.directory / f".{by.value}.{phase.value}.part"))
            self._sql[by, phase] = file
        file.write(line)
        file.write("\n")

    def _head(self, file: IO[str], by: By) -> None:
        lines = [*(f"-- {line}" for line in self._heading.splitlines()), "BEGIN;", *SETTINGS]
        lines.append(f"SET LOCAL search_path = {', '.join(map(spelled, ['pg_catalog', *self._search_path]))};")
        lines += [self._alter(trigger.table, "DISABLE TRIGGER {};", trigger.name) for trigger in self._triggers_of(by)]
        lines += [
            self._alter(key.table, "ALTER CONSTRAINT {} DEFERRABLE INITIALLY DEFERRED;", key.name)
            for key in self._foreign_keys_of(by)
        ]
        lines.append("SET CONSTRAINTS ALL DEFERRED;")
        file.writelines(f"{line}\n" for line in lines)

    def _foot(self, file: IO[str], by: By) -> None:
        lines = ["SET CONSTRAINTS ALL IMMEDIATE;"]
        for key in self._foreign_keys_of(by):
            lines.append(self._alter(key.table, _BACK[key.deferrable], key.name))
        for trigger in self._triggers_of(by):
            enable = "ENABLE ALWAYS TRIGGER {};" if trigger.always else "ENABLE TRIGGER {};"
            lines.append(self._alter(trigger.table, enable, trigger.name))
        lines.append("COMMIT;")
        file.writelines(f"{line}\n" for line in lines)

    def _foreign_keys_of(self, by: By) -> list[ForeignKey]:
        touched = self._touched.get(by, set())
        return [
            key for key in self._foreign_keys
            if not key.deferred and not touched.isdisjoint((key.root_oid, key.referenced_oid))
        ]  # fmt: skip

    def _triggers_of(self, by: By) -> list[Trigger]:
        return [trigger for trigger in self._triggers if trigger.root_oid in self._touched.get(by, set())]

    @staticmethod
    def _alter(table: Table, what: str, name: str) -> str:
        return f"ALTER TABLE {place(table)} {what.format(spelled(name))}"

    def _end_table(self) -> None:
        for by, deletes in self._ordered.items():
            for statement, rows in deletes.statements():
                self._statement(by, _Phase.DELETES, statement, rows)
        self._ordered.clear()
        for file in (*self._csv.values(), *self._deletes.values()):
            file.close()
        self._csv.clear()
        self._deletes.clear()


class _OrderedDeletes:
    """Deleted rows of a table that refers to itself, kept until all of them are known."""

    def __init__(self, lines: SqlLines, order: DeleteOrder) -> None:
        self._lines = lines
        self._order = order
        self._rows: list[tuple[str, int]] = []  # a key, or a keyless row's whole statement; how many rows

    def add(self, values: Values, copies: int) -> None:
        self._order.add(values)
        kept = self._lines.key(values) if self._lines.is_keyed else self._lines.delete(values, copies)
        self._rows.append((kept, copies))

    def statements(self) -> Iterator[tuple[str, int]]:
        """Each with the number of rows that it deletes."""
        ordered, circle = self._order.children_first()
        if not self._lines.is_keyed:
            yield from (self._rows[number] for number in (*ordered, *circle))
            return
        for number in ordered:
            yield self._lines.delete_together([self._rows[number][0]]), 1
        if circle:
            yield self._lines.delete_together([self._rows[number][0] for number in circle]), len(circle)


def _children_first(tables: Sequence[int], foreign_keys: Iterable[ForeignKey]) -> list[int]:
    """Each table behind all that refer to it, but for those that it refers to itself, in a circle.

    ON DELETE CASCADE would take a child's rows along with their parent's, and RESTRICT refuses at once, deferred or
    not.
    """
    children: dict[int, list[int]] = {oid: [] for oid in tables}
    for key in foreign_keys:
        if key.root_oid in children and key.referenced_oid in children:
            children[key.referenced_oid].append(key.root_oid)
    order: dict[int, None] = {}
    seen: set[int] = set()
    waiting = [(oid, False) for oid in reversed(tables)]
    while waiting:
        oid, are_done = waiting.pop()  # its children
        if are_done:
            order[oid] = None
        elif oid not in seen:
            seen.add(oid)
            waiting.append((oid, True))
            waiting += [(child, False) for child in reversed(children[oid]) if child not in seen]
    return list(order)


def _create(path: Path) -> IO[str]:
    path.touch(mode=0o600)
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


def _csv_line(values: Iterable[str | None]) -> str:
    return ",".join(map(_csv_field, values)) + "\n"


def _csv_field(value: str | None) -> str:
    """NULL is nothing at all, an empty string is quoted, as COPY tells them apart."""
    if value is None:
        return ""
    if value == "" or value == "\\." or re.search(r'[",\n\r]', value):
        return '"' + value.replace('"', '""') + '"'
    return value
