"""Which rows an inverse would leave behind if it ran now: told before it runs, from what production holds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.counted import agree, counted
from pgrehearse.postgres.connect import Connection
from pgrehearse.rollback.aside import count_aside, find_going
from pgrehearse.rollback.image import ADDED, NAMESPACE, Image, Settled
from pgrehearse.rollback.image_columns import Expression, ImageColumn, LiveTable, find_oid, find_table, same_key
from pgrehearse.rollback.image_session import pinned
from pgrehearse.rollback.image_settle import PRESENT, after_text
from pgrehearse.rollback.kept_out import KeptOut
from pgrehearse.rollback.moved_rows import MovedByPlan, Sibling, added_key, find_moved, find_moved_by_plan
from pgrehearse.rollback.written_behind import written_behind

SHOWN_KEYS = 5
TIMEOUT_MS = 30_000
_FOUND = "SELECT pg_catalog.count(*), (pg_catalog.array_agg(f.key ORDER BY f.key))[1:{shown}] FROM ({rows}) f"

# What is told of one row, and of several.
NEWER_ROW = (
    "that it deleted has a newer row under its key, and stands in pgrehearse_quarantine then",
    "that it deleted have a newer row under their key, and stand in pgrehearse_quarantine then",
)
GONE = (
    "is gone under its key since, deleted or given another, and stays so; the image keeps the one before",
    "are gone under their key since, deleted or given another, and stay so; the image keeps the ones before",
)
MOVED = (
    "is gone from its partition and may have moved to another, which holds a row of its number; the one before "
    "stands in pgrehearse_quarantine then",
    "are gone from their partition and may have moved to another, which holds a row of their number; the ones before "
    "stand in pgrehearse_quarantine then",
)
GONE_ELSEWHERE = (
    "that it moved to another partition is gone there since, and stays so; the image keeps the one before",
    "that it moved to another partition are gone there since, and stay so; the image keeps the ones before",
)
WRITTEN_ELSEWHERE = (
    "that it moved to another partition was written there since, and stays there; the one before stands in "
    "pgrehearse_quarantine then",
    "that it moved to another partition were written there since, and stay there; the ones before stand in "
    "pgrehearse_quarantine then",
)
WRITTEN = (
    "holds values written since, which stay; the ones before stand in pgrehearse_quarantine then",
    "hold values written since, which stay; the ones before stand in pgrehearse_quarantine then",
)


STAYING = ("that it added was written since, and stays", "that it added were written since, and stay")
WRITTEN_UNDER = (
    "was written since and gets a value back by its key, as one does that was deleted and written anew",
    "were written since and get a value back by their key, as those do that were deleted and written anew",
)


def find_left_behind(
    session: Connection, images: Sequence[Image], changes: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """Sentences: what was written since to what goes, and which rows the images will not put back, by key.

    ``changes``: the receipt's ``schema.changes``; what they added goes, and so promises nothing any more.

    Read-only, in a transaction of its own of at most `TIMEOUT_MS` per query.  Locks: ACCESS SHARE.  Cost: each image is
    joined with its table by key, and once more for each unique or exclusion promise and foreign key of the table; each
    table that the plan added or added a column to is scanned.
    """
    told: list[str] = []
    try:
        with session.transaction():
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            session.execute("SELECT pg_catalog.set_config('statement_timeout', %s, true)", (str(TIMEOUT_MS),))
            with pinned(session):
                for what, rows in count_aside(session, find_going(changes), images):
                    told.append(f"left behind: {counted(rows, 'row')} of {what}, copied to pgrehearse_quarantine")
                shown = [each for image in images if (each := _shown(session, image, changes)) is not None]
                for each in shown:
                    told += _of_image(session, each, shown, images, changes)
    except psycopg.Error as error:
        reason = error.diag.message_primary or type(error).__name__
        told.append(f"which rows would be left behind could not be counted: {reason}")
    return tuple(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A settled image, and its table as it is now."""

    image: Image
    settled: Settled
    table: LiveTable
    behind: Expression  # whether the row ``t`` was written since

    @property
    def key(self) -> list[tuple[ImageColumn, ImageColumn]]:
        """The image's columns with those of the table."""
        return [(column, _after(self.image, self.settled, column)) for column in self.image.key]

    @property
    def as_sibling(self) -> Sibling:
        kept = zip(added_key(self.image), self.key, strict=True)
        return Sibling(
            table=self.table,
            added=sql.Identifier(NAMESPACE, self.image.companion(ADDED)),
            key=[(column, after) for column, (_, after) in kept],
        )

    def kept_out(self, session: Connection, images: Sequence[Image]) -> KeptOut:
        return KeptOut(
            session, self.image, self.table, images, key_text=_key_text(self.image), behind=self.behind
        )  # fmt: skip


def _shown(session: Connection, image: Image, changes: Sequence[Mapping[str, Any]]) -> _Shown | None:
    settled = image.settled
    if settled is None or image.plan.is_sequence or settled.relation_after is None:
        return None
    oid = find_oid(session, settled.relation_after)
    table = find_table(session, oid) if oid is not None else None
    if table is None:
        return None
    anew = _is_written_anew(image, settled, changes)
    behind = sql.SQL("false") if anew else written_behind(session, settled, table)
    return _Shown(image=image, settled=settled, table=table, behind=behind)


def _of_image(
    session: Connection,
    mine: _Shown,
    shown: Sequence[_Shown],
    images: Sequence[Image],
    changes: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    image, settled, table, behind = mine.image, mine.settled, mine.table, mine.behind
    if not image.key:
        yield (
            f"{image.relation}: no key that the plan leaves alone tells its rows apart, so which of them would be left "
            "behind shows only when it is done"
        )
        return
    present: Expression = sql.SQL("true") if settled.whole else sql.SQL("i.{}").format(PRESENT)
    key = mine.key
    match = sql.SQL(" AND ").join(same_key(column, after, "i", "t") for column, after in key)
    there = sql.SQL("EXISTS (SELECT FROM ONLY {} t WHERE {})").format(table.identifier, match)
    moved = find_moved(session, table, key)
    others = [each for each in shown if each is not mine and each.settled.rows_added and each.image.key]
    elsewhere = find_moved_by_plan(session, table, key, [each.as_sibling for each in others])
    key_text = _key_text(image)
    by_key = [
        (sql.SQL("SELECT {} AS key FROM {} i WHERE {}").format(key_text, image.identifier, condition), sentences)
        for condition, sentences in (
        (sql.SQL("NOT ({}) AND {}").format(present, there), NEWER_ROW),
        *(() if elsewhere is None else _elsewhere(session, elsewhere, others, images, present, there)),
        (sql.SQL("{} AND NOT {} AND NOT {}").format(present, there, moved), GONE),
        (sql.SQL("{} AND NOT {} AND {}").format(present, there, moved), MOVED),
        (sql.SQL("{} AND {}").format(present, _newer(image, settled, table, match)), WRITTEN),
        (sql.SQL("{} AND {}").format(present, _comes_under(image, settled, table, match, behind)), WRITTEN_UNDER),
        )
    ]  # fmt: skip
    told_apart = mine.kept_out(session, images)
    staying = ((rows, STAYING) for rows in told_apart.find_staying())
    kept_out = ((rows, (told, told)) for rows, told in told_apart.find(changes))
    for rows, (of_one, of_many) in chain(by_key, staying, kept_out):
        if rows is None:
            yield f"{image.relation}: {of_many}"
            continue
        found = session.execute(sql.SQL(_FOUND).format(shown=sql.Literal(SHOWN_KEYS), rows=rows)).fetchone()
        if found is not None and found[0]:
            rest = ", …" if found[0] > SHOWN_KEYS else ""
            those = f"{counted(found[0], 'row')} of {image.relation} {agree(found[0], of_one, of_many)}"
            left = "" if (of_one, of_many) == WRITTEN_UNDER else "left behind: "
            yield f"{left}{those} ({'; '.join(found[1])}{rest})"


def _elsewhere(
    session: Connection,
    moved: MovedByPlan,
    others: Sequence[_Shown],
    images: Sequence[Image],
    present: Expression,
    there: Expression,
) -> Iterator[tuple[Expression, tuple[str, str]]]:
    """Of rows that the migration moved to partitions of ``others``: those that do not come back from there."""
    by_oid = {each.table.oid: each for each in others}
    stays = [
        sql.SQL("NOT {}").format(by_oid[sibling.table.oid].kept_out(session, images).goes)
        for sibling in moved.siblings
    ]  # fmt: skip
    away = sql.SQL("NOT ({}) AND NOT {}").format(present, there)
    gone = sql.SQL("{} AND {} AND NOT {}").format(away, moved.moved, moved.still)
    yield sql.SQL("{} AND NOT {}").format(gone, moved.elsewhere), GONE_ELSEWHERE
    yield sql.SQL("{} AND {}").format(gone, moved.elsewhere), MOVED
    yield sql.SQL("{} AND {}").format(away, moved.still_where(stays)), WRITTEN_ELSEWHERE


def _after(image: Image, settled: Settled, column: ImageColumn) -> ImageColumn:
    after = settled.columns_after[image.columns.index(column)]
    assert after is not None  # settling needs every column of the key
    return after


def _newer(image: Image, settled: Settled, table: LiveTable, match: Expression) -> Expression:
    """Whether a value that the migration wrote over holds neither what it left nor what was there before."""
    differing: list[Expression] = [sql.SQL("false")]
    for position, (column, after) in enumerate(zip(image.columns, settled.columns_after, strict=True)):
        if after is None or settled.whole or column in image.key:
            continue
        differing.append(
            sql.SQL("({0} IS DISTINCT FROM {1} AND {2} IS DISTINCT FROM {1} AND {2} IS DISTINCT FROM {0})").format(
                column.kept_text("i"), after_text(position), after.live_text("t")
            )
        )
    return sql.SQL("EXISTS (SELECT FROM ONLY {} t WHERE {} AND ({}))").format(
        table.identifier, match, sql.SQL(" OR ").join(differing)
    )


def _is_written_anew(image: Image, settled: Settled, changes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the way back may write all rows of the table anew, after which none tells its writer."""
    names = {image.relation, settled.relation_after}
    if any(
        change["effect"] == "changed" and names & {change["relation"], change["name"]}
        for change in changes
        if change["kind"] in ("column", "table")
    ):
        return True
    columns = zip(image.columns, settled.columns_after, strict=True)
    return any(after is None and column.generated for column, after in columns)


def _comes_under(image: Image, settled: Settled, table: LiveTable, match: Expression, behind: Expression) -> Expression:
    """Whether a value comes back into a row that was written since."""
    comes: list[Expression] = [sql.SQL("false")]
    for position, (column, after) in enumerate(zip(image.columns, settled.columns_after, strict=True)):
        if column in image.key or column.generated:
            continue
        if after is None:
            comes.append(sql.SQL("{} IS NOT NULL").format(column.kept_text("i")))
        elif not settled.whole:
            comes.append(
                sql.SQL("({0} IS DISTINCT FROM {1} AND {2} IS NOT DISTINCT FROM {1})").format(
                    column.kept_text("i"), after_text(position), after.live_text("t")
                )
            )
    return sql.SQL("EXISTS (SELECT FROM ONLY {} t WHERE {} AND {} AND ({}))").format(
        table.identifier, match, behind, sql.SQL(" OR ").join(comes)
    )


def _key_text(image: Image) -> Expression:
    parts = [sql.SQL("{} || {}").format(sql.Literal(f"{key.name}="), key.kept_text("i")) for key in image.key]
    return sql.SQL("pg_catalog.concat_ws(', ', {})").format(sql.SQL(", ").join(parts))
