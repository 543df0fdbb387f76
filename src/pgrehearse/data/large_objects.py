"""Large objects: rows of a catalog that no table's fingerprint sees."""

from collections.abc import Iterator

from pgrehearse.data.verdicts import LargeObjects, Unmeasured
from pgrehearse.postgres.connect import Connection

COUNT = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata"

MAY_READ = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')"

# Pages are compared where they stand; a large object without a page is an empty one.
CONTENT = """
COPY (SELECT m.oid, (SELECT pg_catalog.sum(pg_catalog.hash_record_extended(ROW(l.data), l.pageno))
                     FROM pg_catalog.pg_largeobject l WHERE l.loid = m.oid)
      FROM pg_catalog.pg_largeobject_metadata m ORDER BY m.oid) TO STDOUT
"""


def compare_large_objects(
    before: Connection, after: Connection
) -> tuple[LargeObjects | None, tuple[Unmeasured, ...]]:  # fmt: skip
    """Count and content by oid; None when there are none.  Reading the content is a superuser's right."""
    count_before, count_after = _count(before), _count(after)
    if not count_before:
        empty = LargeObjects(count_before=0, count_after=count_after, objects_lost=0, objects_changed=0)
        return (empty if count_after else None), ()
    if not (_may_read(before) and _may_read(after)):
        reason = "this role has no right to read pg_largeobject"
        return None, (Unmeasured(what="large objects", reason=reason),)
    lost = changed = 0
    theirs = _content(after)
    other = next(theirs, None)
    for oid, content in _content(before):
        while other is not None and other[0] < oid:
            other = next(theirs, None)
        if other is None or other[0] != oid:
            lost += 1
        elif other[1] != content:
            changed += 1
    for _ in theirs:  # read to its end: a stream left half-read would break the session
        pass
    facts = LargeObjects(
        count_before=count_before, count_after=count_after, objects_lost=lost, objects_changed=changed
    )  # fmt: skip
    return facts, ()


def _count(connection: Connection) -> int:
    row = connection.execute(COUNT).fetchone()
    assert row is not None
    return int(row[0])


def _may_read(connection: Connection) -> bool:
    row = connection.execute(MAY_READ).fetchone()
    return bool(row and row[0])


def _content(connection: Connection) -> Iterator[tuple[int, bytes]]:
    with connection.cursor() as cursor, cursor.copy(CONTENT) as copy:
        for line in copy:
            oid, _, content = bytes(line).partition(b"\t")
            yield int(oid), content
