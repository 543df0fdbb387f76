"""One table's way back: rows that the migration added go, values and rows that it destroyed come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.errors import PutBackFailed
from pgrehearse.postgres.connect import Connection
from pgrehearse.rollback.durability import SCRATCH, kind_of_table, make_durable
from pgrehearse.rollback.foreign_keys import ForeignKey
from pgrehearse.rollback.image import ADDED, LEFT, NAMESPACE, Image
from pgrehearse.rollback.image_columns import (
    Expression,
    ImageColumn,
    LiveTable,
    differs,
    row_text,
    same_key,
    text_of,
)
from pgrehearse.rollback.image_settle import DIGEST, PRESENT, after_text
from pgrehearse.rollback.image_take import keep_private
from pgrehearse.rollback.moved_rows import Sibling, added_key, find_moved, find_moved_by_plan
from pgrehearse.rollback.written_behind import written_behind

REASON = sql.Identifier("pgrehearse reason")
KEY_TAKEN = "the application has written a row under its key since"
WRITTEN_SINCE = "the application has written another value since"
GONE_SINCE = "the application has changed or deleted the row since; nothing tells which"
MOVED_SINCE = "the row is gone from its partition, and another one holds a row of its number: it may have moved"
STANDS_ELSEWHERE = "the migration moved the row to another partition, where the application has written or uses it"
FORBIDDEN = "a constraint forbids it now: its parent is gone, or another row has its unique value"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableBack:
    """What came back into one table."""

    relation: str
    rows_back: int  # that the migration had deleted
    values_back: int  # rows in which overwritten or dropped values stand again
    values_back_written: int  # of these, rows that the application has written since: by key they are the same
    added_removed: int  # rows that the migration had added
    added_left: int  # of these, rows that stand, because the application changed or refers to them
    rows_deleted_since: int  # that the application deleted after the migration, or gave another key: they stay so
    rows_left: int  # that could not come back, or whose newer value was kept
    left_table: str | None  # where these stand as they were before the migration, with the reason


class TablePutBack:
    """The work on one table.  Each step may be called again after others have made room for it."""

    def __init__(
        self,
        session: Connection,
        image: Image,
        table: LiveTable,
        *,
        parents: Sequence[ForeignKey],
        children: Sequence[ForeignKey],
        deferred: Sequence[ForeignKey],
    ) -> None:
        if image.settled is None:
            raise PutBackFailed(f"the image of {image.relation} was never settled")
        self.table = table
        self._session = session
        self._image = image
        self._settled = image.settled
        self._parents = parents
        self._children = children
        self._deferred = deferred
        self._left = sql.Identifier(NAMESPACE, image.companion(LEFT))
        self._added = sql.Identifier(NAMESPACE, image.companion(ADDED))
        self._live = {column.name: self._require_column(column.name) for column in image.columns}
        self._canonical = [self._canonical_after(position) for position in range(len(image.columns))]
        self._matches = sql.Identifier(NAMESPACE, image.companion("matches"))
        self._gone_table = self._settled.relation_after is None
        self._has_rows = self._gone_table or not self._settled.whole  # rows to insert may stand in the image
        self._values: list[str] | None = None  # rows of the image whose values are still to come; None: all
        self._rows: list[str] | None = None
        self._values_begun = self._removed_once = False
        self._back = self._values_back = self._values_written = self._removed = self._deleted_since = 0
        self._stands_elsewhere: Expression = sql.SQL("false")  # a row i, where the migration moved it
        self._went_on: list[str] = []  # rows that it moved, and that the application deleted or moved on
        self._behind = written_behind(session, self._settled, table)
        session.execute(
            sql.SQL("CREATE {} {} AS SELECT i.*, NULL::pg_catalog.text AS {} FROM {} i WHERE false").format(
                kind_of_table(session), self._left, REASON, image.identifier
            )
        )
        self._to_come = self._settled.rows_absent or 0
        self._added_gone = self._count_added_gone()
        if not self._has_rows:
            self._rows = []
        elif image.key:
            self._to_come -= self._leave(sql.SQL("{} AND {}").format(self._absent(), self._exists()), KEY_TAKEN)

    @property
    def unfinished(self) -> bool:
        """Whether anything is left that another round might bring."""
        return bool(self._values) or bool(self._rows) or self._removed < self._settled.rows_added - self._added_gone

    def follow(self, others: Sequence["TablePutBack"]) -> None:
        """Before any row is removed or put back: rows that the migration moved to partitions of ``others`` are one.

        Such a row comes back only once it has left the partition that it was moved to, and never where the application
        has deleted it there.
        """
        if self._rows == [] or not self._image.key or not self._to_come:
            return
        siblings = [
            Sibling(table=other.table, added=other._added, key=other._added_key())  # noqa: SLF001  of this class
            for other in others
            if other is not self and other._settled.rows_added and other._image.key  # noqa: SLF001
        ]
        key = [(column, self._live[column.name]) for column in self._image.key]
        found = find_moved_by_plan(self._session, self.table, key, siblings)
        if found is None:
            return
        self._stands_elsewhere = found.still
        gone = sql.SQL("{} AND {} AND NOT {}").format(self._wanted(), found.moved, found.still)
        self._went_on = self._ask_rows(gone)
        if self._went_on:
            moved_on = self._leave(sql.SQL("{} AND {}").format(gone, found.elsewhere), MOVED_SINCE)
            self._deleted_since += len(self._went_on) - moved_on
            self._to_come -= len(self._went_on)

    # --- rows that the migration added

    def remove_added(self) -> int:
        """Remove those that still stand as the migration made them and that nothing refers to."""
        if not self._settled.rows_added or (self._removed_once and not self._image.key):
            return 0  # without a key a second look would take the application's own rows of the same content
        self._removed_once = True
        live = [self._require_column(name) for name, _ in self._settled.digested]
        digest = row_text([column.live_text("t") for column in live])
        added = row_text([self._added_text(position, live[position]) for position in range(len(live))])
        if self._image.key:
            match = sql.SQL(" AND ").join(same_key(column, live, "a", "t") for column, live in self._added_key())
            chosen: Expression = sql.SQL(
                "SELECT t.ctid AS at FROM ONLY {} t JOIN {} a ON {} AND {} = {} WHERE NOT {}"
            ).format(self.table.identifier, self._added, match, added, digest, self._behind)
        else:
            number = sql.SQL("pg_catalog.row_number() OVER (PARTITION BY {})")
            chosen = sql.SQL(
                "SELECT n.at AS at "
                "FROM (SELECT t.ctid AS at, {0} AS content, {1} AS number FROM ONLY {2} t WHERE NOT {6}) n "
                "JOIN (SELECT {3} AS content, {4} AS number FROM {5} a) a USING (content, number)"
            ).format(
                digest, number.format(digest), self.table.identifier, added, number.format(added), self._added,
                self._behind,
            )  # fmt: skip
        found = self._session.execute(sql.SQL("SELECT c.at::pg_catalog.text FROM ({}) c").format(chosen))
        removed, _ = self._halving([at for (at,) in found], self._delete)
        self._removed += removed
        return removed

    def _added_text(self, position: int, live: ImageColumn) -> Expression:
        text = sql.SQL("a.{}[{}]").format(DIGEST, sql.Literal(position + 1))
        return self._as_it_prints(text, self._settled.digested[position][1], live, self._added)

    def _delete(self, rows: list[str]) -> int:
        return self._session.execute(
            sql.SQL("DELETE FROM ONLY {} t WHERE {} {}").format(
                self.table.identifier, _among("t", rows), self._unreferenced()
            )
        ).rowcount

    def _added_key(self) -> list[tuple[ImageColumn, ImageColumn]]:
        return [(column, self._live[column.name]) for column in added_key(self._image)]

    def _count_added_gone(self) -> int:
        """Those that the application deleted, or gave another key; without a key nothing tells."""
        if not self._settled.rows_added or not self._image.key:
            return 0
        match = sql.SQL(" AND ").join(same_key(column, live, "a", "t") for column, live in self._added_key())
        return self._count(
            sql.SQL("SELECT pg_catalog.count(*) FROM {} a WHERE NOT EXISTS (SELECT FROM ONLY {} t WHERE {})").format(
                self._added, self.table.identifier, match
            )
        )

    def _unreferenced(self) -> Expression:
        """ON DELETE CASCADE would take the application's rows along."""
        return sql.SQL(" ").join(
            sql.SQL("AND NOT EXISTS (SELECT FROM {} r WHERE {})").format(
                sql.Identifier(*key.child_name),
                sql.SQL(" AND ").join(
                    sql.SQL("r.{} = t.{}").format(sql.Identifier(child), sql.Identifier(parent))
                    for child, parent in zip(key.child_columns, key.parent_columns, strict=True)
                ),
            )
            for key in self._children
        )

    # --- values that it overwrote, and columns that it dropped

    def put_values_back(self) -> int:
        """Put back the values that still stand as the migration left them."""
        if self._gone_table or self._values == []:
            return 0
        if not self._values_begun:
            self._values_begun = True
            self._find_written_since()
        if not self._conditions():
            self._values = []
            return 0
        written = self._count_written(self._values)
        done, self._values = self._halving_all(self._values, self._update)
        self._values_written += written - self._count_written(self._values)
        self._values_back += done
        return done

    def _update(self, rows: list[str] | None) -> int:
        changes = [
            sql.SQL("{} = CASE WHEN {} THEN {} ELSE t.{} END").format(
                live.identifier, condition, self._restored(column), live.identifier
            )
            for column, live, condition in self._conditions()
        ]
        some: Expression = sql.SQL(" OR ").join(condition for _, _, condition in self._conditions())
        if self._image.key:
            source: Expression = sql.SQL("{} i WHERE {} AND {}").format(
                self._image.identifier, self._present(), self._same_key()
            )
        else:
            source = sql.SQL("{} m JOIN {} i ON i.ctid = m.before WHERE t.ctid = m.now").format(
                self._matches, self._image.identifier
            )
        statement = sql.SQL("UPDATE ONLY {} t SET {} FROM {} AND ({}) {}").format(
            self.table.identifier, sql.SQL(", ").join(changes), source, some, _only(rows)
        )
        return self._session.execute(statement).rowcount

    def _count_written(self, rows: list[str] | None) -> int:
        """Of these to get a value back, how many were written since: updated, or deleted and written anew by key."""
        if not self._image.key or rows == [] or not (self._settled.whole or self._settled.rows_changed):
            return 0
        some: Expression = sql.SQL(" OR ").join(condition for _, _, condition in self._conditions())
        return self._count(
            sql.SQL("SELECT pg_catalog.count(*) FROM {} i JOIN ONLY {} t ON {} WHERE {} AND {} AND ({}) {}").format(
                self._image.identifier, self.table.identifier, self._same_key(), self._present(), self._behind, some,
                sql.SQL("") if rows is None else sql.SQL("AND {}").format(_among("i", rows)),
            )
        )  # fmt: skip

    def _conditions(self) -> list[tuple[ImageColumn, ImageColumn, Expression]]:
        """Of each column that may be written: when the value before takes its place again."""
        key = {column.name for column in self._image.key}
        found: list[tuple[ImageColumn, ImageColumn, Expression]] = []
        for position, column in enumerate(self._image.columns):
            live = self._live[column.name]
            if column.name in key or live.generated:
                continue
            if self._settled.columns_after[position] is None:
                found.append((column, live, differs(column, live, "i", "t")))
            elif not self._settled.whole:
                found.append((column, live, sql.SQL("({} AND {} IS NOT DISTINCT FROM {})").format(
                    self._was_changed(position), live.live_text("t"), self._canonical[position]
                )))  # fmt: skip
        return found

    def _was_changed(self, position: int) -> Expression:
        before = self._image.columns[position].kept_text("i")
        return sql.SQL("{} IS DISTINCT FROM {}").format(before, after_text(position))

    def _find_written_since(self) -> None:
        """Rows of which the application has written a value that the migration had left, or which it has deleted."""
        if not self._image.key:
            self._match_by_content()
            self._leave(
                sql.SQL("{} AND NOT EXISTS (SELECT FROM {} m WHERE m.before = i.ctid)").format(
                    self._present(), self._matches
                ),
                GONE_SINCE,
            )
            return
        gone = sql.SQL("{} AND NOT {}").format(self._present(), self._exists())
        deleted = self._count(
            sql.SQL("SELECT pg_catalog.count(*) FROM {} i WHERE {}").format(self._image.identifier, gone)
        )
        if deleted:
            key = [(column, self._live[column.name]) for column in self._image.key]
            moved = sql.SQL("{} AND {}").format(gone, find_moved(self._session, self.table, key))
            self._deleted_since += deleted - self._leave(moved, MOVED_SINCE)
        if self._settled.whole:
            return
        written = [
            sql.SQL("({} AND {} IS DISTINCT FROM {} AND {})").format(
                self._was_changed(position), live.live_text("t"), self._canonical[position],
                differs(column, live, "i", "t"),
            )
            for position, column in enumerate(self._image.columns)
            if not (live := self._live[column.name]).generated
            and self._settled.columns_after[position] is not None
            and column not in self._image.key
        ]  # fmt: skip
        if written:
            self._leave(
                sql.SQL("{} AND EXISTS (SELECT FROM ONLY {} t WHERE {} AND ({}))").format(
                    self._present(), self.table.identifier, self._same_key(), sql.SQL(" OR ").join(written)
                ),
                WRITTEN_SINCE,
            )

    def _match_by_content(self) -> None:
        """Which row of the table is which of the image, told by all that the migration left in it."""
        positions = [
            position for position, column in enumerate(self._image.columns)
            if self._settled.columns_after[position] is not None and not self._live[column.name].generated
        ]  # fmt: skip
        expected = row_text([self._canonical[position] for position in positions])
        now = row_text([self._live[self._image.columns[position].name].live_text("t") for position in positions])
        number = sql.SQL("pg_catalog.row_number() OVER (PARTITION BY {})")
        self._session.execute(
            sql.SQL(
                "CREATE {} {} AS SELECT e.at AS before, n.at AS now "
                "FROM (SELECT i.ctid AS at, {} AS content, {} AS number FROM {} i WHERE {}) e "
                "JOIN (SELECT t.ctid AS at, {} AS content, {} AS number FROM ONLY {} t WHERE NOT {}) n "
                "USING (content, number)"
            ).format(
                SCRATCH, self._matches, expected, number.format(expected), self._image.identifier, self._present(),
                now, number.format(now), self.table.identifier, self._behind,
            )
        )  # fmt: skip

    # --- rows that it deleted

    def put_rows_back(self) -> int:
        """Put back the rows whose key is free, whose parents are there, and that stand in no other partition."""
        if self._rows == []:
            return 0
        wanted = self._wanted()
        may_come = sql.SQL("({} AND NOT {})").format(self._has_parents(), self._stands_elsewhere)
        ready = sql.SQL("{} AND {}").format(wanted, may_come)
        if self._rows is None:
            try:
                with self._session.transaction():
                    self._back = self._insert(ready)
            except psycopg.errors.IntegrityError:
                self._rows = self._ask_rows(wanted)
            else:
                others = sql.SQL("{} AND NOT {}").format(wanted, may_come)
                self._rows = self._ask_rows(others) if self._back != self._to_come else []
                return self._back
        fit = set(self._ask_rows(ready))
        done, failed = self._halving(
            [row for row in self._rows if row in fit], lambda rows: self._insert(_among("i", rows))
        )
        self._back += done
        self._rows = [row for row in self._rows if row not in fit] + failed
        return done

    def _wanted(self) -> Expression:
        wanted = self._absent()
        if self._image.key:
            wanted = sql.SQL("{} AND NOT {}").format(wanted, self._exists())
        if self._went_on:
            wanted = sql.SQL("{} AND NOT {}").format(wanted, _among("i", self._went_on))
        return wanted

    def _insert(self, condition: Expression) -> int:
        columns = [column for column in self._image.columns if not self._live[column.name].generated]
        return self._session.execute(
            sql.SQL("INSERT INTO {} {} SELECT {} FROM {} i WHERE {}").format(
                self.table.identifier,
                sql.SQL("({}) OVERRIDING SYSTEM VALUE").format(
                    sql.SQL(", ").join(column.identifier for column in columns)
                )
                if columns
                else sql.SQL(""),
                sql.SQL(", ").join(self._restored(column) for column in columns),
                self._image.identifier,
                condition,
            )
        ).rowcount

    def _has_parents(self) -> Expression:
        """A row that refers into its own table is tried with the others: its parent may come with it."""
        conditions: list[Expression] = [sql.SQL("true")]
        for key in self._parents:
            if self.table.oid in key.parents or key in self._deferred or not set(key.child_columns) <= set(self._live):
                continue
            values = [self._restored(self._image_column(name)) for name in key.child_columns]
            conditions.append(
                sql.SQL("(({}) OR EXISTS (SELECT FROM {} p WHERE {}))").format(
                    sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(value) for value in values),
                    sql.Identifier(*key.parent_name),
                    sql.SQL(" AND ").join(
                        sql.SQL("p.{} = {}").format(sql.Identifier(parent), value)
                        for parent, value in zip(key.parent_columns, values, strict=True)
                    ),
                )
            )
        return sql.SQL(" AND ").join(conditions)

    # --- the end

    def finish(self) -> TableBack:
        """Set aside what could not come back, and say how much did."""
        if self._rows:
            left = _among("i", self._rows)
            self._leave(sql.SQL("{} AND {}").format(left, self._stands_elsewhere), STANDS_ELSEWHERE)
            self._leave(sql.SQL("{} AND NOT {}").format(left, self._stands_elsewhere), FORBIDDEN)
        if self._values:
            self._leave(_among("i", self._values), FORBIDDEN)
        rows_left = self._count(sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(self._left))
        if rows_left:
            keep_private(self._session, self._left)
            make_durable(self._session, self._left)
        else:
            self._session.execute(sql.SQL("DROP TABLE {}").format(self._left))
        self._session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self._matches))
        return TableBack(
            relation=self._image.relation,
            rows_back=self._back,
            values_back=self._values_back,
            values_back_written=self._values_written,
            added_removed=self._removed,
            added_left=self._settled.rows_added - self._removed - self._added_gone,
            rows_deleted_since=self._deleted_since,
            rows_left=rows_left,
            left_table=self._left.as_string(self._session) if rows_left else None,
        )

    def _leave(self, condition: Expression, reason: str) -> int:
        return self._session.execute(
            sql.SQL("INSERT INTO {} SELECT i.*, {} FROM {} i WHERE {}").format(
                self._left, sql.Literal(reason), self._image.identifier, condition
            )
        ).rowcount

    # --- pieces of SQL

    def _absent(self) -> Expression:
        if self._gone_table:
            return sql.SQL("true")
        return sql.SQL("false") if self._settled.whole else sql.SQL("NOT i.{}").format(PRESENT)

    def _present(self) -> Expression:
        if self._gone_table:
            return sql.SQL("false")
        return sql.SQL("true") if self._settled.whole else sql.SQL("i.{}").format(PRESENT)

    def _same_key(self) -> Expression:
        return sql.SQL(" AND ").join(
            same_key(column, self._live[column.name], "i", "t") for column in self._image.key
        )  # fmt: skip

    def _exists(self) -> Expression:
        return sql.SQL("EXISTS (SELECT FROM ONLY {} t WHERE {})").format(self.table.identifier, self._same_key())

    def _restored(self, column: ImageColumn) -> Expression:
        return sql.SQL("CAST({} AS {})").format(column.kept("i"), sql.SQL(self._live[column.name].type))

    def _canonical_after(self, position: int) -> Expression:
        """What the migration left, as the column prints it now that the inverse has given it its type back."""
        before, after = self._image.columns[position], self._settled.columns_after[position]
        left = after_text(position)
        if after is None or self._settled.whole:
            return left
        return self._as_it_prints(left, after.type, self._live[before.name], self._image.identifier)

    def _as_it_prints(self, text: Expression, type_after: str, live: ImageColumn, source: sql.Identifier) -> Expression:
        """The text of a value of another type as this column prints it; where it cannot be cast, as it stands."""
        if type_after == live.type:
            return text
        back = text_of(sql.SQL("CAST(CAST({} AS {}) AS {})").format(text, sql.SQL(type_after), sql.SQL(live.type)))
        alias = sql.SQL("a" if source is self._added else "i")
        try:
            with self._session.transaction():
                self._session.execute(sql.SQL("SELECT pg_catalog.count({}) FROM {} {}").format(back, source, alias))
        except psycopg.errors.DatabaseError as error:
            if error.sqlstate is None or error.sqlstate[:2] not in ("22", "42"):  # a value or a type that is not there
                raise
            return text
        return back

    def _require_column(self, name: str) -> ImageColumn:
        found = self.table.find_column(name)
        if found is None:
            raise PutBackFailed(f"the inverse left no column {name} in {self._image.relation} to put values back into")
        return found

    def _image_column(self, name: str) -> ImageColumn:
        return next(column for column in self._image.columns if column.name == name)

    def _ask_rows(self, condition: Expression) -> list[str]:
        found = self._session.execute(
            sql.SQL("SELECT i.ctid::pg_catalog.text FROM {} i WHERE {}").format(self._image.identifier, condition)
        )
        return [at for (at,) in found]

    def _count(self, query: sql.Composed) -> int:
        row = self._session.execute(query).fetchone()
        assert row is not None  # a count
        return int(row[0])

    def _halving_all(self, rows: list[str] | None, work: Callable[[list[str] | None], int]) -> tuple[int, list[str]]:
        """All rows in one statement if that succeeds; which rows there are is asked only when it does not."""
        if rows is None:
            try:
                with self._session.transaction():
                    return work(None), []
            except psycopg.errors.IntegrityError:
                rows = self._ask_rows(self._present())
        return self._halving(rows, work)

    def _halving(self, rows: list[str], work: Callable[[list[str]], int]) -> tuple[int, list[str]]:
        """How many rows were written, and the rows that a constraint forbids."""
        if not rows:
            return 0, []
        try:
            with self._session.transaction():
                return work(rows), []
        except psycopg.errors.IntegrityError:
            if len(rows) == 1:
                return 0, rows
        middle = len(rows) // 2
        done, failed = self._halving(rows[:middle], work)
        more, also_failed = self._halving(rows[middle:], work)
        return done + more, failed + also_failed


def _only(rows: list[str] | None) -> Expression:
    return sql.SQL("") if rows is None else sql.SQL("AND {}").format(_among("i", rows))


def _among(alias: str, rows: list[str]) -> Expression:
    """Never a parameter: in a query with parameters a name's own ``%`` would be read as one."""
    return sql.SQL("{}.ctid = ANY ({}::pg_catalog.tid[])").format(sql.SQL(alias), sql.Literal(rows))
