"""The files that keep differing rows: CSV as `COPY … CSV` reads it, and SQL, one statement a line.

The folder and its files are readable by their owner only: they hold production's data.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import IO, LiteralString

from psycopg import sql

from pgrehearse.data.tables import Table
from pgrehearse.release.restore.counterparts import Counterpart, ForeignKey, Trigger

Values = Sequence[str | None]


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
    take it along; what is deleted makes room for what is unique; inserts come last, their parents' order does not
    matter while foreign keys are deferred.
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
_BACK: dict[bool, LiteralString] = {
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
        self._touched: dict[By, set[int]] = {}
        self._number = 0
        self._counterpart: Counterpart | None = None
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
        table = self._table
        for _ in range(copies):
            self._row(by, Change.INSERT, [column.name for column in table.columns], values)
        if by is not By.MIGRATION:
            statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({});").format(
                _place(table.restored),
                sql.SQL(", ").join(spelled(column.name) for column in table.columns),
                sql.SQL(", ").join(map(literal, values)),
            )
            for _ in range(copies):
                self._statement(by, _Phase.INSERTS, statement, 1)

    def delete(self, by: By, values: Values, *, copies: int = 1) -> None:
        table = self._table
        for _ in range(copies):
            self._row(by, Change.DELETE, [column.name for column in table.columns], values)
        if by is By.MIGRATION:
            return
        if table.key:
            where = self._where_key(values)
        else:
            alike = sql.SQL(" AND ").join(
                sql.SQL("NOT {c} IS DISTINCT FROM NULL" if value is None else
                        "{c} IS DISTINCT FROM NULL AND pg_catalog.concat({c}) = {v}")
                .format(c=spelled(column.name), v=literal(value))
                for column, value in zip(table.columns, values, strict=True)
            )  # fmt: skip
            where = sql.SQL("(tableoid, ctid) IN (SELECT tableoid, ctid FROM {} WHERE {} LIMIT {})").format(
                self._only, alike, sql.Literal(copies)
            )
        self._statement(by, _Phase.DELETES, sql.SQL("DELETE FROM {} WHERE {};").format(self._only, where), copies)

    def update(self, by: By, now: Values, before: Values, *, assigned: Sequence[int], left: Sequence[int]) -> None:
        """One row of both sides; positions ``left`` differ too, but the migration writes those columns as well."""
        table = self._table
        names = [column.name for column in table.columns]
        heads = ["changed_columns", *names, *(f"restored.{name}" for name in names)]
        changed = ", ".join(names[position] for position in sorted((*assigned, *left)))
        self._row(by, Change.UPDATE, heads, [changed, *now, *before])
        if by is By.MIGRATION:
            return
        references = [position for position in assigned if names[position] in table.foreign_key_columns]
        others = [position for position in assigned if position not in references]
        for phase, positions in ((_Phase.REFERENCES, references), (_Phase.UPDATES, others)):
            if positions:
                settings = sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(spelled(names[position]), literal(now[position]))
                    for position in positions
                )
                statement = sql.SQL("UPDATE {} SET {} WHERE {};").format(
                    self._only, settings, self._where_key(before)
                )  # fmt: skip
                self._statement(by, phase, statement, 1)
        if left:
            self.not_assigned += 1
            told = sql.SQL("; ").join(
                sql.SQL("{} is {} in the failed database, {} here").format(
                    spelled(names[position]), literal(now[position]), literal(before[position])
                )
                for position in left
            )
            comment = sql.SQL("-- not written back, the migration writes it too: {} {}: {}").format(
                _place(table.restored), self._where_key(before), told
            )
            self._line(by, _Phase.UPDATES, comment)

    def close(self) -> dict[By, Path]:
        """Put the SQL files together; the paths of those that hold a statement."""
        self._end_table()
        found = {}
        for by in (By.APPLICATION, By.UNCLEAR):
            phases = [phase for phase in _Phase if (by, phase) in self._sql]
            if phases:
                found[by] = self.directory / f"{by.value}.sql"
                with _create(found[by]) as file:
                    self._head(file, by)
                    for phase in phases:
                        part = self._sql[by, phase]
                        part.flush()
                        with Path(part.name).open(encoding="utf-8", errors="surrogateescape", newline="") as text:
                            shutil.copyfileobj(text, file)
                    self._foot(file, by)
        self._open.close()
        for part in self._sql.values():
            Path(part.name).unlink()
        return found

    @property
    def _table(self) -> Counterpart:
        assert self._counterpart is not None
        return self._counterpart

    @property
    def _only(self) -> sql.Composable:
        table = self._table.restored
        return sql.SQL("{}" if table.partitioned else "ONLY {}").format(_place(table))

    def _where_key(self, values: Values) -> sql.Composable:
        table = self._table
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}::{}").format(
                spelled(table.columns[position].name), literal(values[position]),
                sql.SQL(table.columns[position].type_name),
            )
            for position in table.key
        )  # fmt: skip

    def _row(self, by: By, change: Change, heads: Sequence[str], values: Values) -> None:
        file = self._csv.get((by, change))
        if file is None:
            file = _create(self.path_of(self._table.name, change.value, folder=by.value))
            self._csv[by, change] = file
            file.write(_csv_line(heads))
        file.write(_csv_line(values))
        self.counts[by, change] += 1

    def _statement(self, by: By, phase: _Phase, statement: sql.Composable, rows: int) -> None:
        self._touched.setdefault(by, set()).add(self._table.restored.oid)
        self._line(by, phase, statement, f"  -- rows: {rows}")

    def _line(self, by: By, phase: _Phase, statement: sql.Composable, after: str = "") -> None:
        file = self._sql.get((by, phase))
        if file is None:
            file = self._open.enter_context(_create(self.directory / f".{by.value}.{phase.value}.part"))
            self._sql[by, phase] = file
        file.write(f"{statement.as_string(None)}{after}\n")

    def _head(self, file: IO[str], by: By) -> None:
        lines = [*(f"-- {line}" for line in self._heading.splitlines()), "BEGIN;", *SETTINGS]
        path = sql.SQL("SET LOCAL search_path = {};").format(
            sql.SQL(", ").join(map(spelled, ["pg_catalog", *self._search_path]))
        )
        lines.append(path.as_string(None))
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
            if not key.deferred and (key.table.oid in touched or key.referenced_oid in touched)
        ]  # fmt: skip

    def _triggers_of(self, by: By) -> list[Trigger]:
        return [trigger for trigger in self._triggers if trigger.table.oid in self._touched.get(by, set())]

    @staticmethod
    def _alter(table: Table, what: LiteralString, name: str) -> str:
        return sql.SQL("ALTER TABLE {} ").format(_place(table)).as_string(None) + sql.SQL(what).format(
            spelled(name)
        ).as_string(None)

    def _end_table(self) -> None:
        for file in self._csv.values():
            file.close()
        self._csv.clear()


def literal(value: str | None) -> sql.Composable:
    """A literal on one line, whatever the value holds; its type is taken from where it stands."""
    if value is None:
        return sql.SQL("NULL")
    if not re.search(r"[\\\n\r]", value):
        return _Written("'" + value.replace("'", "''") + "'")
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n").replace("\r", "\\r")
    return _Written(f"E'{escaped}'")


class _Written(sql.Composable):
    """Text that is already SQL: psycopg's own literals would need a connection to know how to quote."""

    def as_bytes(self, context: object = None) -> bytes:
        return str(self._obj).encode(errors="surrogateescape")

    def as_string(self, context: object = None) -> str:
        return str(self._obj)


def spelled(*names: str) -> sql.Composable:
    """An identifier on one line, whatever the names hold: U& spells line breaks."""
    if not any("\n" in name or "\r" in name for name in names):
        return sql.Identifier(*names)
    parts = []
    for name in names:
        inner = name.replace('"', '""').replace("\\", "\\\\").replace("\n", "\\000a").replace("\r", "\\000d")
        parts.append(f'U&"{inner}"')
    return _Written(".".join(parts))


def _place(table: Table) -> sql.Composable:
    return spelled(table.namespace, table.relation)


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
