"""Inside the migration's transaction, before its first statement: the image is the table, to the row."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.pq import TransactionStatus

from pgrehearse.counted import counted
from pgrehearse.errors import ImagesNotKept, ImagesNotTaken
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.rollback.durability import SCRATCH
from pgrehearse.rollback.image import NAMESPACE, Image, ImageState, read_again, write_comment
from pgrehearse.rollback.image_columns import ImageColumn, LiveTable, find_table, same_key
from pgrehearse.rollback.image_session import pinned
from pgrehearse.rollback.image_take import SNAPSHOT_XMIN, choose_columns, live_columns, read_sequences

SNAPSHOT_XMAX = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::int8"
OWN_XID = "SELECT pg_catalog.pg_current_xact_id()::text::int8"
HALF_OF_XIDS = 2**31  # beyond this distance 32 bits do not tell earlier from later

# A row's xmin is the transaction that wrote it, in 32 bits.  A window of transactions is told by its distance from
# the first; a row as old as the server that lies in it by chance counts as written, which costs time and nothing else.
WRITTEN_SINCE = "((t.xmin::pg_catalog.text::pg_catalog.int8 - {first}) & 4294967295) <= {span}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What had been written to one table since its image was taken."""

    relation: str
    rows: int
    rows_written: int  # inserted or updated since, at most; 0 where the whole table was copied again
    rows_deleted: int
    copied_again: bool


def refresh_images(session: Connection, images: Sequence[Image]) -> tuple[Refreshed, ...]:
    """Lock the tables against writers, prove each image equal to its table, and make it so where it is not.

    In the migration's own transaction (READ COMMITTED), before its first statement.  Locks: SHARE ROW EXCLUSIVE on
    the tables, all in one statement and in the order of their names, held to the end: writers wait, readers go on.

    The proof: an image holds every row version that its snapshot saw.  A version seen now and not written since
    that snapshot was seen then too; so where none was written since, and there are as many rows as then, image and
    table are equal.  That is one scan that looks at no value.  Rows written since are copied by their keys; a keyless
    table with changes, or one not kept in a heap, is copied again.

    psycopg's errors (lock timeout, deadlock) pass through.  Raises `ImagesNotKept` (exit 1) where an image is not
    there, the table has another shape than it was taken of or an earlier transaction of the plan left, or the
    isolation hides what others committed.
    """
    images = require_current(session, images)
    waiting = [image for image in images if image.state is ImageState.TAKEN]
    if not waiting:
        return ()
    if fetch_value(session, "SELECT pg_catalog.current_setting('transaction_isolation')") != "read committed":
        raise ImagesNotKept(
            "the migration's transaction is not READ COMMITTED, so it cannot see what was written before its lock",
            remedy="Nothing was committed.  Take the isolation level out of the file, then rehearse it again.",
        )
    with pinned(session, role=waiting[0].owner):
        tables = {image.table: _require_same_shape(session, image) for image in waiting if not image.plan.is_sequence}
        spoilt = {image.table for image in waiting if image.table in tables and _count(session, image) != image.rows}
        if tables:
            names = sorted((table.namespace, table.name) for table in tables.values())
            session.execute(
                sql.SQL("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE").format(
                    sql.SQL(", ONLY ").join(sql.Identifier(*name) for name in names)
                )
            )
        own_xid = int(fetch_value(session, OWN_XID))
        refreshed = []
        for image in waiting:
            table = tables.get(image.table)
            sequences = read_sequences(session, [sequence.name for sequence in image.sequences])
            if table is None:
                _write_sequence(session, image, own_xid)
                continue
            # The shape was read before the lock; whoever held the table meanwhile may have changed it.
            _require_same_shape(session, image)
            xmin = int(fetch_value(session, SNAPSHOT_XMIN))
            found = _copy_again(session, image, table) if image.table in spoilt else _refresh(session, image, table)
            refreshed.append(found)
            write_comment(
                session, image, rows=found.rows, snapshot_xmin=xmin, refreshed_in=own_xid, sequences=sequences
            )
        return tuple(refreshed)


def require_current(session: Connection, images: Sequence[Image]) -> tuple[Image, ...]:
    """The images as the database has them.  Raises `ImagesNotKept` outside a transaction and where one is missing."""
    if session.info.transaction_status != TransactionStatus.INTRANS:
        raise ImagesNotKept("images are refreshed and settled inside the migration's own transaction")
    found = read_again(session, images)
    if len(found) != len(images):
        missing = {image.relation for image in images} - {image.relation for image in found}
        raise ImagesNotKept(f"the image of {', '.join(sorted(missing))} is not in the quarantine namespace any more")
    return found


def written_since(first: int, span: int) -> sql.Composable:
    """SQL: whether the row ``t`` was written by a transaction ``first`` … ``first + span``."""
    return sql.SQL(WRITTEN_SINCE).format(first=sql.Literal(first % 2**32), span=sql.Literal(span))


def _require_same_shape(session: Connection, image: Image) -> LiveTable:
    table = find_table(session, image.relation_oid)
    written = image.relation if image.reshaped is None else image.reshaped.relation
    if table is None or table.written != written:
        raise ImagesNotKept(f"{image.relation} is not the table any more that its image was taken of")
    if not has_shape_of(image, table):
        raise ImagesNotKept(f"the columns of {image.relation} were changed since its image was taken")
    return table


def has_shape_of(image: Image, table: LiveTable) -> bool:
    """Whether the table's columns are those that the image was taken of, or that the plan has left since."""
    if image.reshaped is not None:
        return table.columns == image.reshaped.columns
    try:
        return choose_columns(image.plan, table) == image.columns
    except ImagesNotTaken:
        return False


def live_of(image: Image, table: LiveTable) -> dict[ImageColumn, ImageColumn]:
    """The table's columns of the image's: the plan may have renamed them since, their number stays."""
    by_number = {column.number: column for column in table.columns}
    return {column: by_number[column.number] for column in image.columns}


def _refresh(session: Connection, image: Image, table: LiveTable) -> Refreshed:
    xmax = int(fetch_value(session, SNAPSHOT_XMAX))
    span = xmax - image.snapshot_xmin
    if not table.is_heap or span >= HALF_OF_XIDS:
        return _copy_again(session, image, table)
    written = written_since(image.snapshot_xmin, span)
    rows, since = session.execute(
        sql.SQL("SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {}) FROM ONLY {} t").format(
            written, table.identifier
        )
    ).fetchall()[0]
    if since == 0 and rows == image.rows:
        return Refreshed(relation=image.relation, rows=rows, rows_written=0, rows_deleted=0, copied_again=False)
    if not image.key:
        return _copy_again(session, image, table)
    live = live_of(image, table)
    names = sql.SQL(", ").join(column.identifier for column in image.columns)
    key = sql.SQL(", ").join(column.identifier for column in image.key)
    others = [column for column in image.columns if column not in image.key]
    update = sql.SQL(", ").join(
        sql.SQL("{0} = EXCLUDED.{0}").format(column.identifier) for column in others
    )  # fmt: skip
    session.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM ONLY {} t WHERE {} ON CONFLICT ({}) DO {}").format(
            image.identifier,
            names,
            live_columns(live.values()),
            table.identifier,
            written,
            key,
            sql.SQL("UPDATE SET {}").format(update) if others else sql.SQL("NOTHING"),
        )
    )
    # The image now has every key of the table; whatever it has beyond them was deleted.
    deleted = _count(session, image) - rows
    if deleted and _delete_gone(session, image, table) != deleted:
        raise ImagesNotKept(f"the image of {image.relation} could not be made equal to it")
    return Refreshed(
        relation=image.relation, rows=rows, rows_written=since, rows_deleted=deleted, copied_again=False
    )  # fmt: skip


def _delete_gone(session: Connection, image: Image, table: LiveTable) -> int:
    """Take out of the image what the table has not, and say how many rows that were."""
    gone = sql.Identifier(NAMESPACE, image.companion("gone"))
    live = live_of(image, table)
    match = sql.SQL(" AND ").join(same_key(column, live[column], "i", "t") for column in image.key)
    # CREATE TABLE AS may join in parallel, DELETE never does: writers wait meanwhile.
    session.execute(
        sql.SQL(
            "CREATE {} {} AS SELECT i.ctid AS at FROM {} i WHERE NOT EXISTS (SELECT FROM ONLY {} t WHERE {})"
        ).format(SCRATCH, gone, image.identifier, table.identifier, match)
    )
    deleted = session.execute(
        sql.SQL("DELETE FROM {} i USING {} g WHERE i.ctid = g.at").format(image.identifier, gone)
    ).rowcount
    session.execute(sql.SQL("DROP TABLE {}").format(gone))
    return deleted


def _copy_again(session: Connection, image: Image, table: LiveTable) -> Refreshed:
    session.execute(sql.SQL("TRUNCATE {}").format(image.identifier))
    session.execute(
        sql.SQL("INSERT INTO {} SELECT {} FROM ONLY {} t").format(
            image.identifier, live_columns(live_of(image, table).values()), table.identifier
        )
    )
    rows = _count(session, image)
    there = int(fetch_count(session, table.identifier))
    if rows != there:
        raise ImagesNotKept(f"the image of {image.relation} has {counted(rows, 'row')}, the table {there}")
    return Refreshed(relation=image.relation, rows=rows, rows_written=0, rows_deleted=0, copied_again=True)


def _write_sequence(session: Connection, image: Image, own_xid: int) -> None:
    sequences = read_sequences(session, (image.relation,))
    session.execute(
        sql.SQL("UPDATE {} SET last_value = {}, is_called = {}").format(
            image.identifier, sql.Literal(sequences[0].last_value), sql.Literal(sequences[0].is_called)
        )
    )
    write_comment(session, image, sequences=sequences, refreshed_in=own_xid)


def _count(session: Connection, image: Image) -> int:
    return fetch_count(session, image.identifier)


def fetch_count(session: Connection, relation: sql.Identifier) -> int:
    """How many rows it has itself, its children left out."""
    row = session.execute(sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {} t").format(relation)).fetchone()
    assert row is not None  # a count
    return int(row[0])
