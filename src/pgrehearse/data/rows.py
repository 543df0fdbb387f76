"""Tables that differ, row by row: exact numbers of rows lost and of values changed.

Both sides send (hash of the key, hash of each column) in the order of the key's hash and are merged as
they stream in: the server sorts, we hold one row of each side.  Only ranges of keys whose sums differ are read
(`buckets`).  Rows found on one side only are kept, up to `MOST_KEPT`, to look for each other by content:
a row whose key was changed is not a row lost.
"""

from contextlib import closing

from psycopg import sql

from pgrehearse.data.buckets import INDEXED_SHARE, Ranges, cutting_column, find_differing_ranges
from pgrehearse.data.fingerprint import Side, key_sql
from pgrehearse.data.merging import Merge
from pgrehearse.data.row_stream import KindOf, RowComparison, RowSource

WORTH_BUCKETS = 20_000  # rows; fewer are sent at once
MOST_KEPT = 50_000  # rows of each side; some 500 bytes each, of as many tables at a time as there are jobs
MOST_MERGED = 20_000  # rows lost whose likes are looked for
WORTH_TEXTS = 400_000  # rows sent; of more, only columns of another type come with their text


def compare_rows(
    before: RowSource,
    after: RowSource,
    *,
    rows: int,
    successors: dict[int, int],
    kind_of: KindOf,
    examples: int = 0,
    known: Ranges | None = None,
) -> RowComparison:
    """Match the rows of the two sides: by key, then by content.

    ``rows`` is the larger side's count, ``known`` the ranges that differ where these were looked for already,
    ``successors`` maps a table's position before to the one that goes on from it.
    Memory is bounded by `MOST_KEPT`; the server sorts what is sent once a side.
    """
    layout = before.layout
    ranges = known
    if ranges is None and rows > WORTH_BUCKETS:
        ranges = find_differing_ranges(before.cutting(), after.cutting(), rows=rows)
    sent = rows if ranges is None else ranges.rows
    texts = [
        position for position, column in enumerate(layout.compared)
        if (column.retyped or sent <= WORTH_TEXTS or (examples and position in layout.key))
        and not layout.by_content
    ]  # fmt: skip
    indexed = ranges is not None and cutting_column(layout) is not None and ranges.rows < rows * INDEXED_SHARE
    merge = Merge(
        layout, len(before.tables), successors, texts=texts, kind_of=kind_of, examples=examples, most_kept=MOST_KEPT
    )
    with (
        closing(before.lines(ranges, texts, indexed=indexed)) as ours,
        closing(after.lines(ranges, texts, indexed=indexed)) as theirs,
    ):
        merge.run(ours, theirs)
    found = merge.finish()
    _count_merged(found, before, after)
    return found


COUNT_CONTENT = (
    "SELECT leaf, c, pg_catalog.count(*) FROM"
    " (SELECT {leaf} AS leaf, {key} AS k, {content} AS c FROM ONLY {table}) AS s"
    " WHERE k = ANY ({keys}::pg_catalog.int8[]) GROUP BY 1, 2"
)
FIND_CONTENT = (
    "SELECT DISTINCT c FROM (SELECT {content} AS c FROM ONLY {table}) AS s"
    " WHERE c = ANY ({contents}::pg_catalog.int8[])"
)


def _count_merged(found: RowComparison, before: RowSource, after: RowSource) -> None:
    """Of the rows lost under their key: how many equal a row that is still there in every other column."""
    layout = before.layout
    if layout.keyless:
        return  # counted while merging
    others = len(layout.compared) - len(layout.key)
    if not found.all_lost_kept or not others or layout.by_content or len(found.lost) > MOST_MERGED:
        for tally in found.before:
            tally.rows_merged = None if tally.rows_lost and (others or layout.by_content) else 0
        return
    if not found.lost:
        return
    turned = layout.turned_round()
    contents: list[tuple[int, int, int]] = []
    for leaf, table in enumerate(before.tables):
        keys = [int(row.key) for row in found.lost if row.leaf == leaf]
        if keys:
            query = sql.SQL(COUNT_CONTENT).format(
                leaf=sql.Literal(leaf), key=key_sql(layout, table, Side.BEFORE), keys=sql.Literal(keys),
                content=key_sql(turned, table, Side.BEFORE), table=table.identifier,
            )  # fmt: skip
            contents += before.connection.execute(query).fetchall()
    wanted = sql.Literal([content for _, content, _ in contents])
    still: set[int] = set()
    for table in after.tables:
        query = sql.SQL(FIND_CONTENT).format(
            content=key_sql(turned, table, Side.AFTER), table=table.identifier, contents=wanted
        )
        still |= {content for (content,) in after.connection.execute(query)}
    for leaf, content, rows in contents:
        if content in still:
            tally = found.before[leaf]
            tally.rows_merged = (tally.rows_merged or 0) + rows
