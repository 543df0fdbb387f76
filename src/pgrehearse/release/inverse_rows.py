"""Whether production's rows let the generated inverse run: asked of them as the gate asks for the way forward."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pgrehearse.hazards.sql_names import quoted
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.statements import Statement, TransactionNeed
from pgrehearse.postgres.connect import Connection
from pgrehearse.release.preconditions import (
    PreconditionKind,
    check_preconditions,
    derive_preconditions,
)
from pgrehearse.rollback.image import Image
from pgrehearse.rollback.perform import Ddl, weaken
from pgrehearse.schema.schema_object import Schema

INVERSE, IMAGES = "inverse", "before-images"  # what stands for a file: "inverse:3" is its third statement
SEARCH_PATH = "SELECT pg_catalog.set_config('search_path', '', false)"  # as `perform` runs it
SHOWN = 3
TRY_RESTORE = (
    "`pgrehearse rollback` would try the inverse, fail and change nothing: mend these rows first, or, where the "
    "restore is open, say `pgrehearse rollback --restore`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InverseRows:
    """What production's rows make of the inverse."""

    why_not: tuple[str, ...]  # with the keys of rows that a statement surely fails on
    told: tuple[str, ...]  # what would come back weaker or not whole, and what could not be asked


def ask_rows_of_inverse(
    session: Connection, ddl: Ddl, images: Sequence[Image], schema: Schema, *, statement_timeout_ms: int
) -> InverseRows:
    """Whether the rows of today let ``ddl`` run; ``schema`` is production's now.

    What the images put back in the middle counts as written then: where it may mend or break what is asked, that is
    told as not measured.  Read-only; locks and cost as of `check_preconditions`.
    """
    first_after_rows = len(ddl.statements) + 1
    files = [
        _as_file(INVERSE, ddl.statements, first=1),
        _as_file(IMAGES, list(_put_back(images)), first=1),
        _as_file(INVERSE, ddl.after_rows, first=first_after_rows),
    ]
    preconditions = derive_preconditions(files, schema, search_path=())
    why_not: list[str] = []
    told: list[str] = []
    left: list[str] = []  # of rows that the images put back
    for result in check_preconditions(session, preconditions, statement_timeout_ms=statement_timeout_ms):
        line = result.precondition.line
        if result.left_to_rehearsal or (result.holds and result.precondition.leaves_out is not None):
            left.append(f"{result.precondition.relation}: {result.precondition.what}")
        elif result.holds is None:
            told.append(result.sentence)  # "… not measured whether …"
        elif result.holds:
            continue
        elif result.precondition.kind is PreconditionKind.LOSSY:
            told.append(f"left behind: values that do not fit back whole, where no image holds them: {result.sentence}")
        elif line >= first_after_rows and weaken(ddl.after_rows[line - first_after_rows]) is not None:
            told.append(f"would hold for new rows only: {result.sentence}")
        else:
            why_not.append(f"would fail on rows written since: {result.sentence}")
    if left:
        shown = "; ".join(left[:SHOWN]) + ("; …" if len(left) > SHOWN else "")
        told.append(f"not measured of rows that come back from the images, as they did in the rehearsal: {shown}")
    if why_not:
        why_not.append(TRY_RESTORE)
    return InverseRows(why_not=tuple(why_not), told=tuple(told))


def _as_file(path: str, texts: Sequence[str], *, first: int) -> tuple[Migration, list[Statement]]:
    migration = Migration(version=path, name=path, path=path, kind=SourceKind.AD_HOC, content="\n".join(texts).encode())
    return migration, [_statement(SEARCH_PATH, 0), *(_statement(text, at) for at, text in enumerate(texts, first))]


def _statement(text: str, line: int) -> Statement:
    return Statement(index=line, text=text, line=line, column=1, kind="", need=TransactionNeed.ANY, beyond=None)


def _put_back(images: Sequence[Image]) -> Iterator[str]:
    """What putting rows back writes, as statements of that kind; nobody runs them."""
    for image in images:
        settled = image.settled
        if settled is None or settled.relation_after is None or image.plan.is_sequence:
            continue  # a table that comes back holds no row of today
        if settled.rows_added:
            yield f"DELETE FROM {image.relation}"  # noqa: S608  quoted by the server
        if settled.whole or settled.rows_absent:
            yield f"INSERT INTO {image.relation} DEFAULT VALUES"
        kept = zip(image.columns, settled.columns_after, strict=True)
        changed = [column.name for column, after in kept if after is not None and column not in image.key]
        if changed and settled.rows_changed:
            values = ", ".join(f"{quoted(name)} = NULL" for name in changed)
            yield f"UPDATE {image.relation} SET {values}"  # noqa: S608  quoted by the server
