"""Inside the migration's transaction, before its COMMIT: of each image, keep what the migration destroyed.

What is kept of a row: its values before; whether it is still there (`pgrehearse present`); and of a row that is, the
text of what the migration left in its columns (`pgrehearse after`), so that a value which the application writes later
is told apart from one which the migration wrote.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pgrehearse.counted import counted
from pgrehearse.errors import ImagesNotKept
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.rollback.durability import SCRATCH, kind_of_table, make_durable
from pgrehearse.rollback.image import ADDED, NAMESPACE, Image, ImageState, Reshaped, Settled, write_comment
from pgrehearse.rollback.image_columns import (
    Expression,
    ImageColumn,
    LiveTable,
    differs,
    find_oid,
    find_table,
    row_text,
    same_key,
)
from pgrehearse.rollback.image_refresh import (
    HALF_OF_XIDS,
    OWN_XID,
    fetch_count,
    has_shape_of,
    require_current,
    written_since,
)
from pgrehearse.rollback.image_session import pinned
from pgrehearse.rollback.image_take import keep_private
from pgrehearse.rollback.names import split_name
from pgrehearse.rollback.written_behind import read_file_node

PRESENT, AFTER = sql.Identifier("pgrehearse present"), sql.Identifier("pgrehearse after")
DIGEST = sql.Identifier("pgrehearse digest")
KEY_IS_UNIQUE = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_index i
    WHERE i.indrelid = %s::int8::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND (i.indkey::int2[])[0:i.indnkeyatts - 1] <@ %s::int2[])
"""
XMIN_OF = "SELECT c.xmin::pg_catalog.text::pg_catalog.int8 FROM pg_catalog.pg_class c WHERE c.oid = %s::int8::oid"


def settle_images(session: Connection, images: Sequence[Image], *, last: bool = True) -> tuple[Image, ...]:
    """Keep in each image the rows that this transaction destroyed or changed, and nothing else.

    In the transaction that `refresh_images` ran in, after the migration's last statement.  The image of a table that
    is gone, or of which only columns went, stays as it is.  ``last=False``, where the plan has more transactions to
    come: an image of which this one destroyed nothing stays a copy, to be refreshed in the next; of the table's new
    shape (a column added, a name changed) the image then says that the plan made it.

    Locks: those that the migration has, and ACCESS SHARE.  Cost: a scan of each table that is still there, and reading
    the rows by key that this transaction wrote; a table that was rewritten is joined whole with its image.
    Hands back the images as they now are.  Raises `ImagesNotKept` (exit 1) when rows went that the image does not
    hold, and when images were not refreshed in this transaction.
    """
    images = require_current(session, images)
    own_xid = int(fetch_value(session, OWN_XID))
    with pinned(session, role=images[0].owner) if images else session.transaction():
        return tuple(_settle(session, image, own_xid, last=last) for image in images)


def _settle(session: Connection, image: Image, own_xid: int, *, last: bool) -> Image:
    if image.state is ImageState.SETTLED:
        return _require_left_alone(session, image)
    if image.refreshed_in != own_xid:
        raise ImagesNotKept(f"the image of {image.relation} was not refreshed in this transaction")
    if image.plan.is_sequence:
        gone = find_oid(session, image.relation) is None
        return image if not gone and not last else _settled(session, image, _nothing_kept())
    table = _find_after(session, image)
    if table is None:
        return _settled(
            session,
            image,
            Settled(
                relation_after=None,
                columns_after=tuple(None for _ in image.columns),
                whole=True,
                rows_absent=image.rows,
                rows_changed=0,
                rows_added=0,
                added_table=None,
                digested=(),
            ),
        )
    return _Settling(session, image, table, own_xid, last=last).run()


def _settled(session: Connection, image: Image, settled: Settled) -> Image:
    make_durable(session, image.identifier)
    if settled.added_table is not None:
        make_durable(session, sql.Identifier(NAMESPACE, settled.added_table))
    return write_comment(session, image, state=ImageState.SETTLED, settled=settled)


def _nothing_kept() -> Settled:
    return Settled(
        relation_after=None, columns_after=(), whole=True, rows_absent=None, rows_changed=None, rows_added=0,
        added_table=None, digested=(),
    )  # fmt: skip


def _require_left_alone(session: Connection, image: Image) -> Image:
    """An earlier transaction of the plan settled it: nothing holds what this one would destroy of the same table."""
    table = _find_after(session, image)
    gone = table is None and image.settled is not None and image.settled.relation_after is not None
    rewritten = "SELECT pg_catalog.pg_stat_get_xact_tuples_updated(%s) + pg_catalog.pg_stat_get_xact_tuples_deleted(%s)"
    if gone or (table is not None and fetch_value(session, rewritten, (table.oid, table.oid))):
        raise ImagesNotKept(
            f"two transactions of the plan destroy rows of {image.relation}, and the image holds what the first took"
        )
    return image


def _find_after(session: Connection, image: Image) -> LiveTable | None:
    """The table that goes on from it: the same one under whatever name, else the one that the rehearsal named."""
    table = find_table(session, image.relation_oid)
    if table is None and image.plan.name_after is not None:
        oid = find_oid(session, image.plan.name_after)
        table = find_table(session, oid) if oid is not None else None
    return table


@dataclass(frozen=True, slots=True)
class _Pair:
    """A column of the image and what it became."""

    before: ImageColumn
    after: ImageColumn


class _Settling:
    """One table that is still there."""

    def __init__(self, session: Connection, image: Image, table: LiveTable, own_xid: int, *, last: bool) -> None:
        self._session = session
        self._image = image
        self._table = table
        self._own_xid = own_xid
        self._last = last
        self._after = tuple(self._find_column(column) for column in image.columns)
        key = {column.name for column in image.key}
        pairs = [
            _Pair(before, after) for before, after in zip(image.columns, self._after, strict=True) if after is not None
        ]
        self._key = [pair for pair in pairs if pair.before.name in key]
        self._compared = [pair for pair in pairs if pair.before.name not in key]
        self._columns_went = None in self._after
        self._retyped = any(pair.before.type != pair.after.type for pair in pairs)
        self._kept = sql.Identifier(NAMESPACE, image.companion("kept"))
        self._kind = kind_of_table(session)
        self._added = sql.Identifier(NAMESPACE, image.companion(ADDED))
        self._behind: int | None = None

    def run(self) -> Image:
        if self._image.key and len(self._key) != len(self._image.key):
            raise ImagesNotKept(f"the key of {self._image.relation} is gone, and the rehearsal said that it stays")
        rows = fetch_count(self._session, self._table.identifier)
        self._make_added()
        span = self._span()
        self._behind = None if span is None else self._own_xid + span + 1
        written = sql.SQL("true") if span is None else written_since(self._own_xid, span)
        touched = self._count_written(written)
        if touched == 0 and rows == self._image.rows and self._may_stay:
            return self._stay()
        if self._image.key:
            return self._settle_by_key(rows, touched, written)
        return self._settle_by_content()

    @property
    def _may_stay(self) -> bool:
        """Whether it may be settled by a later transaction, if nothing of it was destroyed."""
        return not (self._last or self._columns_went or self._retyped)

    def _stay(self) -> Image:
        """The lock is held until the COMMIT: whoever changes the table's shape after it is not the plan."""
        self._drop(self._added)
        if self._table.written == self._image.relation and has_shape_of(self._image, self._table):
            return self._image
        shape = Reshaped(relation=self._table.written, columns=self._table.columns)
        return write_comment(self._session, self._image, reshaped=shape)

    # --- by key

    def _settle_by_key(self, rows: int, touched: int, written: Expression) -> Image:
        added = self._add_new_rows(written) if touched else 0
        absent = self._image.rows - (rows - added) if self._key_is_unique() else self._count_absent()
        if absent and self._image.partial:
            raise ImagesNotKept(
                f"{counted(absent, 'row')} of {self._image.relation} went, and the rehearsal said that only "
                "values would: the image does not hold them whole"
            )
        if self._columns_went and not absent and (not touched or not self._compared):
            return self._keep_whole(rows_added=added)
        changed = self._keep_changed(touched, written)
        if self._may_stay and not (added or absent or changed):
            self._drop(self._kept)
            return self._stay()
        if absent:
            self._session.execute(
                sql.SQL("INSERT INTO {} SELECT i.*, false, NULL FROM {} i WHERE NOT EXISTS ({})").format(
                    self._kept, self._image.identifier, self._match("SELECT FROM ONLY {} t WHERE {}")
                )
            )
        return self._replace(rows_absent=absent, rows_changed=changed, rows_added=added)

    def _key_is_unique(self) -> bool:
        """Whether no two rows can have one key now: a plan may have dropped what saw to that."""
        numbers = [pair.after.number for pair in self._key]
        return bool(fetch_value(self._session, KEY_IS_UNIQUE, (self._table.oid, numbers)))

    def _count_absent(self) -> int:
        query = sql.SQL("SELECT pg_catalog.count(*) FROM {} i WHERE NOT EXISTS ({})")
        found = self._session.execute(
            query.format(self._image.identifier, self._match("SELECT FROM ONLY {} t WHERE {}"))
        ).fetchone()
        assert found is not None  # a count
        return int(found[0])

    def _keep_changed(self, touched: int, written: Expression) -> int:
        """Rows that are still there, with what stands in them now."""
        different: Expression = sql.SQL(" OR ").join(
            differs(pair.before, pair.after, "i", "t") for pair in self._compared
        )
        if self._columns_went:
            condition: Expression = sql.SQL("true")
        elif not touched or not self._compared:
            condition = sql.SQL("false")
        else:
            condition = sql.SQL("{} AND ({})").format(written, different)
        found = self._session.execute(
            sql.SQL(
                "CREATE {} {} AS SELECT i.*, true AS {}, {} AS {} FROM {} i JOIN ONLY {} t ON {} WHERE {}"
            ).format(
                self._kind, self._kept, PRESENT, self._after_values(), AFTER, self._image.identifier,
                self._table.identifier, self._same_key(), condition,
            )
        )  # fmt: skip
        return found.rowcount

    def _add_new_rows(self, written: Expression) -> int:
        keys = sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(self._as_kept(pair), pair.before.identifier) for pair in self._key
        )
        found = self._session.execute(
            sql.SQL(
                "INSERT INTO {} SELECT {}, {} FROM ONLY {} t WHERE {} AND NOT EXISTS (SELECT FROM {} i WHERE {})"
            ).format(
                self._added, keys, self._digest(), self._table.identifier, written, self._image.identifier,
                self._same_key(),
            )
        )  # fmt: skip
        return found.rowcount

    def _as_kept(self, pair: _Pair) -> Expression:
        """A key's value now, as the image's column of the same name would hold it."""
        if pair.before.native and pair.after.native and pair.before.base_oid == pair.after.base_oid:
            return pair.after.live("t")
        return pair.after.live_text("t")

    def _same_key(self) -> Expression:
        return sql.SQL(" AND ").join(same_key(pair.before, pair.after, "i", "t") for pair in self._key)

    def _match(self, template: str) -> Expression:
        return sql.SQL(template).format(self._table.identifier, self._same_key())

    # --- by content, where nothing tells rows apart

    def _settle_by_content(self) -> Image:
        """Rows are paired with their equals first, so that none takes another's key.

        Those left over are paired by the columns that the rehearsal saw unchanged and by their number among equal ones.
        """
        changed = {split_name(name)[0] for name in self._image.plan.changed}
        fixed = [pair for pair in self._compared if pair.before.name not in changed]
        moving = [pair for pair in self._compared if pair.before.name in changed]
        before = self._numbered(
            [pair.before.kept_text("i") for pair in fixed], [pair.before.kept_text("i") for pair in moving]
        )
        now = self._numbered(
            [pair.after.live_text("t") for pair in fixed], [pair.after.live_text("t") for pair in moving]
        )
        different: Expression = sql.SQL(" OR ").join(differs(pair.before, pair.after, "i", "t") for pair in moving)
        condition = sql.SQL("true") if self._columns_went else (different if moving else sql.SQL("false"))
        # Every numbering stands once, so that both sides of the answer mean the same rows.
        paired = sql.SQL(
            "WITH b AS MATERIALIZED (SELECT i.ctid AS at, {} FROM {} i), "
            "n AS MATERIALIZED (SELECT t.ctid AS at, {} FROM ONLY {} t), "
            "e AS MATERIALIZED (SELECT content, moving, number, b.at AS before, n.at AS now "
            "FROM b FULL JOIN n USING (content, moving, number)), "
            "o AS MATERIALIZED (SELECT before, now, content, pg_catalog.row_number() OVER "
            "(PARTITION BY now IS NULL, content ORDER BY moving, number) AS number "
            "FROM e WHERE before IS NULL OR now IS NULL) "
            "SELECT before, now FROM e WHERE before IS NOT NULL AND now IS NOT NULL UNION ALL "
            "SELECT ob.before, oa.now FROM (SELECT * FROM o WHERE now IS NULL) ob "
            "FULL JOIN (SELECT * FROM o WHERE before IS NULL) oa USING (content, number)"
        ).format(before, self._image.identifier, now, self._table.identifier)
        pairs = sql.Identifier(NAMESPACE, self._image.companion("pairs"))
        self._session.execute(sql.SQL("CREATE {} {} AS {}").format(SCRATCH, pairs, paired))
        found = self._session.execute(
            sql.SQL(
                "CREATE {} {} AS SELECT i.*, true AS {}, {} AS {} FROM {} p JOIN {} i ON i.ctid = p.before "
                "JOIN ONLY {} t ON t.ctid = p.now WHERE {}"
            ).format(
                self._kind, self._kept, PRESENT, self._after_values(), AFTER, pairs, self._image.identifier,
                self._table.identifier, condition,
            )
        )  # fmt: skip
        rows_changed = found.rowcount
        absent = self._session.execute(
            sql.SQL(
                "INSERT INTO {} SELECT i.*, false, NULL FROM {} p JOIN {} i ON i.ctid = p.before WHERE p.now IS NULL"
            ).format(self._kept, pairs, self._image.identifier)
        ).rowcount
        added = self._session.execute(
            sql.SQL(
                "INSERT INTO {} SELECT {} FROM {} p JOIN ONLY {} t ON t.ctid = p.now WHERE p.before IS NULL"
            ).format(self._added, self._digest(), pairs, self._table.identifier)
        ).rowcount
        self._drop(pairs)
        if self._may_stay and not (added or absent or rows_changed):
            self._drop(self._kept)
            return self._stay()
        return self._replace(rows_absent=absent, rows_changed=rows_changed, rows_added=added)

    def _numbered(self, fixed: list[Expression], moving: list[Expression]) -> Expression:
        return sql.SQL(
            "{0} AS content, {1} AS moving, pg_catalog.row_number() OVER (PARTITION BY {0}, {1}) AS number"
        ).format(row_text(fixed), row_text(moving))

    # --- both

    def _find_column(self, column: ImageColumn) -> ImageColumn | None:
        """By its number, which a rename keeps; else by the name that the rehearsal saw it take."""
        if self._table.oid == self._image.relation_oid and (found := self._table.find_number(column.number)):
            return found
        written = next(
            (name for name in self._image.plan.names_after if split_name(name)[0] == column.name), None
        )  # fmt: skip
        name_after = self._image.plan.names_after[written] if written is not None else None
        return None if name_after is None else self._table.find_column(split_name(name_after)[0])

    def _after_values(self) -> Expression:
        """Parallel to the image's columns; NULL too for what is gone."""
        values = [
            sql.SQL("NULL") if after is None else after.live_text("t") for after in self._after
        ]  # fmt: skip
        return sql.SQL("ARRAY[{}]::pg_catalog.text[]").format(sql.SQL(", ").join(values))

    def _digested(self) -> list[tuple[str, ImageColumn]]:
        """Every column that was there before, whether the image has it or not: who changed any has changed the row."""
        by_image = {column.name: after for column, after in zip(self._image.columns, self._after, strict=True)}
        found = []
        for written, written_after in self._image.plan.names_after.items():
            name = split_name(written)[0]
            after = by_image.get(name)
            if after is None and written_after is not None:
                after = self._table.find_column(split_name(written_after)[0])
            if after is not None and not after.generated:
                found.append((name, after))
        return found

    def _digest(self) -> Expression:
        texts = [after.live_text("t") for _, after in self._digested()]
        return sql.SQL("ARRAY[{}]::pg_catalog.text[]").format(sql.SQL(", ").join(texts))

    def _make_added(self) -> None:
        columns = [
            sql.SQL("{} {}").format(
                pair.before.identifier,
                sql.SQL(
                    pair.before.stored_type
                    if pair.before.native and pair.after.native and pair.before.base_oid == pair.after.base_oid
                    else "pg_catalog.text"
                ),
            )
            for pair in self._key
        ]
        columns.append(sql.SQL("{} pg_catalog.text[]").format(DIGEST))
        self._session.execute(sql.SQL("CREATE {} {} ({})").format(self._kind, self._added, sql.SQL(", ").join(columns)))

    def _span(self) -> int | None:
        """How far its latest subtransaction's number lies behind its own; None where rows do not tell their writer."""
        oid = find_oid(self._session, self._added.as_string(self._session))
        newest = int(fetch_value(self._session, XMIN_OF, (oid,)))
        span = (newest - self._own_xid) % 2**32
        return None if not self._table.is_heap or span >= HALF_OF_XIDS else span

    def _count_written(self, written: Expression) -> int:
        row = self._session.execute(
            sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {} t WHERE {}").format(self._table.identifier, written)
        ).fetchone()
        assert row is not None  # a count
        return int(row[0])

    def _keep_whole(self, *, rows_added: int) -> Image:
        return self._say(whole=True, rows_absent=None, rows_changed=None, rows_added=rows_added)

    def _replace(self, *, rows_absent: int, rows_changed: int, rows_added: int) -> Image:
        """What was destroyed takes the place of the copy."""
        self._drop(self._image.identifier)
        self._session.execute(
            sql.SQL("ALTER TABLE {} RENAME TO {}").format(self._kept, sql.Identifier(self._image.table))
        )
        return self._say(whole=False, rows_absent=rows_absent, rows_changed=rows_changed, rows_added=rows_added)

    def _say(self, *, whole: bool, rows_absent: int | None, rows_changed: int | None, rows_added: int) -> Image:
        if not rows_added:
            self._drop(self._added)
        else:
            keep_private(self._session, self._added)
        keep_private(self._session, self._image.identifier)
        settled = Settled(
            relation_after=self._table.written,
            columns_after=self._after,
            whole=whole,
            rows_absent=rows_absent,
            rows_changed=rows_changed,
            rows_added=rows_added,
            added_table=self._image.companion(ADDED) if rows_added else None,
            digested=tuple((name, after.type) for name, after in self._digested()),
            behind=self._behind,
            file_node=read_file_node(self._session, self._table),
        )
        return _settled(self._session, self._image, settled)

    def _drop(self, table: sql.Identifier) -> None:
        self._session.execute(sql.SQL("DROP TABLE {}").format(table))


def after_text(position: int) -> Expression:
    """SQL: what the migration left in the image's column of that position, as text."""
    return sql.SQL("i.{}[{}]").format(AFTER, sql.Literal(position + 1))
