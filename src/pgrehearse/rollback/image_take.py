"""Copy what a plan destroys into the quarantine namespace, before it runs; and drop the copies again."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from pgrehearse.counted import counted
from pgrehearse.data.columns import Hashing
from pgrehearse.data.digest import hash_of_all
from pgrehearse.data.fingerprint import SEED
from pgrehearse.errors import ImagesNotTaken, ServerUnreachable
from pgrehearse.hazards.sql_names import derived
from pgrehearse.migrations.execution import is_lost
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.rollback.durability import kind_of_table
from pgrehearse.rollback.image import ADDED, LEFT, NAMESPACE, Image, SequenceAt, find_images, write_comment
from pgrehearse.rollback.image_columns import ImageColumn, LiveTable, find_oid, find_table, text_of
from pgrehearse.rollback.image_plan import ImagePlan
from pgrehearse.rollback.image_session import pinned
from pgrehearse.rollback.names import identifier, split_name

LONGEST_ID = 40  # bytes; the rest of a name's 63 says which image it is, and of what

NAMESPACE_OWNER = """
SELECT pg_catalog.pg_get_userbyid(n.nspowner),
       pg_catalog.has_schema_privilege(n.oid, 'CREATE') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
FROM pg_catalog.pg_namespace n WHERE n.nspname = 'pgrehearse_quarantine'
"""
IS_EMPTY = """
SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = 'pgrehearse_quarantine')
"""
# ALTER DEFAULT PRIVILEGES may have given others a right at once.
TABLE_GRANTEES = """
SELECT DISTINCT CASE g.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(g.grantee) END
FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) g
WHERE c.oid = %s::int8::oid AND g.grantee <> c.relowner
"""
NAMESPACE_GRANTEES = """
SELECT DISTINCT CASE g.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(g.grantee) END
FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) g
WHERE n.nspname = 'pgrehearse_quarantine' AND g.grantee <> n.nspowner
"""
SNAPSHOT_XMIN = "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::int8"


def take_images(session: Connection, plans: Sequence[ImagePlan], *, id: str) -> tuple[Image, ...]:  # noqa: A002
    """Copy what the plans name, count and compare it; committed when this returns.

    ``session`` is idle.  All copies are of one snapshot, in one transaction, so either all are there or none.  Called
    again with the same ``id``, it hands back what is there already.  Locks: ACCESS SHARE on the tables.  Cost: each
    copied column is read twice and written once, and its key indexed; space as the columns take.  Rights: the role
    reads the tables and may create a namespace, or owns `pgrehearse_quarantine`.

    Raises `ImagesNotTaken` (exit 1) when anything cannot be copied whole, and leaves nothing behind, and
    `ServerUnreachable` when the connection is lost.
    """
    if not id or len(id.encode()) > LONGEST_ID or not id.isprintable():
        raise ImagesNotTaken(f"{id!r} cannot name images: 1 to {LONGEST_ID} bytes are needed")
    if session.info.transaction_status != TransactionStatus.IDLE:
        raise ImagesNotTaken("images are taken in a transaction of their own, and the session is in one")
    try:
        with session.transaction():
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE")
            with pinned(session):
                return _take(session, tuple(plans), id)
    except psycopg.errors.InsufficientPrivilege as error:
        raise ImagesNotTaken(
            f"this role may not copy everything that the plan destroys: {error.diag.message_primary}",
            remedy="Grant SELECT on the table (with BYPASSRLS where row-level security is forced) and CREATE on the "
            "database, or choose another way of recovery.",
        ) from error
    except psycopg.OperationalError as error:  # its message holds no values
        told = f"the images could not be taken: {error.diag.message_primary or 'the connection was lost'}"
        if is_lost(session, error):
            raise ServerUnreachable(
                told, remedy="When the server answers again, promote again: it goes on with what is left."
            ) from error
        raise ImagesNotTaken(
            f"{told} ({error.sqlstate or 'no SQLSTATE'})",
            remedy="Free disk space on the server, then promote again."
            if isinstance(error, psycopg.errors.DiskFull)
            else "Mend what the server says, then promote again: it goes on with what is left.",
        ) from error
    except psycopg.Error as error:
        raise ImagesNotTaken(
            f"the images could not be taken: {type(error).__name__}, SQLSTATE {error.sqlstate or 'unknown'}"
        ) from error


def _take(session: Connection, plans: tuple[ImagePlan, ...], id: str) -> tuple[Image, ...]:  # noqa: A002
    there = find_images(session, id=id)
    if there:
        if tuple(image.plan for image in there) != plans:
            raise ImagesNotTaken(f"images of {id} are there already, and they are of something else")
        return there
    require_namespace(session)
    owner = str(fetch_value(session, "SELECT current_user::text"))
    xmin = int(fetch_value(session, SNAPSHOT_XMIN))
    images = []
    for number, plan in enumerate(plans, start=1):
        name = derived(id, str(number), split_name(plan.relation)[-1])
        make = _image_of_sequence if plan.is_sequence else _image_of_table
        image = make(session, plan, name, id, owner, xmin)
        keep_private(session, image.identifier)
        images.append(write_comment(session, image))
    return tuple(images)


def _image_of_table(
    session: Connection, plan: ImagePlan, name: str, id: str, owner: str, xmin: int  # noqa: A002
) -> Image:  # fmt: skip
    table = require_table(session, plan.relation)
    columns = choose_columns(plan, table)
    image = Image(
        id=id,
        table=name,
        plan=plan,
        relation_oid=table.oid,
        owner=owner,
        columns=columns,
        rows=0,
        snapshot_xmin=xmin,
        sequences=read_sequences(session, plan.sequences),
    )
    session.execute(
        sql.SQL("CREATE {} {} AS SELECT {} FROM ONLY {} t").format(
            kind_of_table(session), image.identifier, live_columns(columns), table.identifier
        )
    )
    if image.key:
        session.execute(
            sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(
                image.identifier, sql.SQL(", ").join(column.identifier for column in image.key)
            )
        )
    session.execute(sql.SQL("ANALYZE {}").format(image.identifier))
    rows, digest = session.execute(
        sql.SQL("SELECT pg_catalog.count(*), pg_catalog.sum({}) FROM ONLY {} t").format(
            _digest([text_of(column.live("t")) for column in columns]), table.identifier
        )
    ).fetchall()[0]
    copied, copied_digest = session.execute(
        sql.SQL("SELECT pg_catalog.count(*), pg_catalog.sum({}) FROM ONLY {} i").format(
            _digest([column.kept_text("i") for column in columns]), image.identifier
        )
    ).fetchall()[0]
    if (rows, digest) != (copied, copied_digest):
        found = counted(copied, "row")
        raise ImagesNotTaken(f"the copy of {plan.relation} is not equal to it: {found}, {rows} expected")
    return replace(image, rows=int(rows))


def _image_of_sequence(
    session: Connection, plan: ImagePlan, name: str, id: str, owner: str, xmin: int  # noqa: A002
) -> Image:  # fmt: skip
    oid = find_oid(session, plan.relation)
    if oid is None:
        raise ImagesNotTaken(f"{plan.relation} is not there, and the rehearsal says that the plan drops it")
    image = Image(
        id=id,
        table=name,
        plan=plan,
        relation_oid=oid,
        owner=owner,
        columns=(),
        rows=1,
        snapshot_xmin=xmin,
        sequences=read_sequences(session, (plan.relation,)),
    )
    session.execute(
        sql.SQL("CREATE {} {} AS SELECT last_value, is_called FROM {}").format(
            kind_of_table(session), image.identifier, identifier(plan.relation)
        )
    )
    return image


def drop_images(session: Connection, images: Sequence[Image]) -> None:
    """Drop them, and the namespace with the last of all.  Runs in the caller's transaction, or in its own."""
    with session.transaction():
        for image in images:
            for name in (image.table, image.companion(ADDED), image.companion(LEFT)):
                session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(NAMESPACE, name)))
        if fetch_value(session, IS_EMPTY):
            session.execute(sql.SQL("DROP SCHEMA IF EXISTS {}").format(sql.Identifier(NAMESPACE)))


# --- what refreshing and settling need too


def require_table(session: Connection, relation: str) -> LiveTable:
    """The ordinary table of that name.  Raises `ImagesNotTaken`."""
    oid = find_oid(session, relation)
    table = find_table(session, oid) if oid is not None else None
    if table is None:
        raise ImagesNotTaken(f"{relation} is not there as a table, and the rehearsal says that the plan writes to it")
    return table


def choose_columns(plan: ImagePlan, table: LiveTable) -> tuple[ImageColumn, ...]:
    """The columns to copy: what the plan names; a generated one only where it is part of the key."""
    key = {split_name(name)[0] for name in plan.key}
    wanted = key | {split_name(name)[0] for name in plan.names_after if plan.columns is None or name in plan.columns}
    missing = wanted - {column.name for column in table.columns}
    if missing:
        raise ImagesNotTaken(f"{plan.relation} has no column {', '.join(sorted(missing))}; the rehearsed one had it")
    return tuple(
        column for column in table.columns
        if (plan.columns is None or column.name in wanted) and (column.name in key or not column.generated)
    )  # fmt: skip


def live_columns(columns: Iterable[ImageColumn]) -> sql.Composable:
    """The select list that reads them as the image holds them."""
    return sql.SQL(", ").join(sql.SQL("{} AS {}").format(column.live("t"), column.identifier) for column in columns)


def keep_private(session: Connection, table: sql.Identifier) -> None:
    """Take away whatever right ALTER DEFAULT PRIVILEGES gave others on a new table."""
    oid = find_oid(session, table.as_string(session))
    for (grantee,) in session.execute(TABLE_GRANTEES, (oid,)).fetchall():
        session.execute(sql.SQL("REVOKE ALL ON TABLE {} FROM {}").format(table, _grantee(grantee)))


def read_sequences(session: Connection, names: Sequence[str]) -> tuple[SequenceAt, ...]:
    """Where they stand now.  Sequences know no snapshot."""
    found = []
    for name in names:
        row = session.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(identifier(name))).fetchone()
        assert row is not None  # a sequence has one row
        found.append(SequenceAt(name=name, last_value=row[0], is_called=row[1]))
    return tuple(found)


def _digest(texts: Sequence[sql.Composable]) -> sql.Composable:
    """Of each column by itself: a row's text takes five times as long, and beyond 1 GB there is none."""
    return hash_of_all([Hashing.TEXT] * len(texts), texts, SEED)


def require_namespace(session: Connection) -> None:
    row = session.execute(NAMESPACE_OWNER).fetchone()
    if row is None:
        session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(NAMESPACE)))
        session.execute(
            sql.SQL("COMMENT ON SCHEMA {} IS {}").format(
                sql.Identifier(NAMESPACE), sql.Literal("what migrations destroyed, kept by pgrehearse to put it back")
            )
        )
        for (grantee,) in session.execute(NAMESPACE_GRANTEES).fetchall():
            session.execute(
                sql.SQL("REVOKE ALL ON SCHEMA {} FROM {}").format(sql.Identifier(NAMESPACE), _grantee(grantee))
            )
    elif not row[1]:
        raise ImagesNotTaken(
            f"the namespace {NAMESPACE} belongs to {row[0]}, and this role may not create tables in it",
            remedy=f"Promote as {row[0]}, or grant this role USAGE and CREATE on {NAMESPACE}.",
        )


def _grantee(name: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if name is None else sql.Identifier(name)
