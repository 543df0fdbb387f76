"""A plan compiled into segments: what is committed together, and what runs outside any transaction."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pgrehearse.errors import UnreadableSql
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.statements import DRIZZLE_KINDS, Statement, TransactionNeed

CONTROL = frozenset({TransactionNeed.BEGINS, TransactionNeed.COMMITS, TransactionNeed.ROLLS_BACK})


class SegmentKind(Enum):
    TRANSACTION = "transaction"  # our BEGIN and COMMIT around it
    AS_WRITTEN = "as-written"  # the file's own BEGIN … COMMIT
    OUTSIDE = "outside"  # one statement that refuses a transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingFile:
    """A migration with its statements, and how many of them an earlier run already committed."""

    migration: Migration
    statements: tuple[Statement, ...]
    statements_done: int = 0

    @property
    def remaining(self) -> tuple[Statement, ...]:
        return self.statements[self.statements_done :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file's share of a segment."""

    file: PendingFile
    statements: tuple[Statement, ...]
    statements_done: int  # of the whole file, once the segment is committed

    @property
    def migration(self) -> Migration:
        return self.file.migration

    @property
    def completes(self) -> bool:
        return self.statements_done == len(self.file.statements)

    @property
    def is_whole_file(self) -> bool:
        return self.completes and len(self.statements) == len(self.file.statements)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What is committed together, in the order of the files."""

    kind: SegmentKind
    parts: tuple[Part, ...]
    joins: bool = False  # may share its transaction with the neighbour that joins too

    @property
    def statements(self) -> tuple[Statement, ...]:
        return tuple(statement for part in self.parts for statement in part.statements)

    @property
    def rolls_back(self) -> bool:
        """As written, it ends in ROLLBACK: it leaves nothing, not even a note of its progress."""
        statements = self.statements
        return self.kind is SegmentKind.AS_WRITTEN and statements[-1].need is TransactionNeed.ROLLS_BACK


def compile_segments(
    files: Iterable[PendingFile], mode: TransactionMode, *, refusing: frozenset[tuple[str, int]] = frozenset()
) -> tuple[Segment, ...]:
    """The segments in order.  Pure.

    ``refusing`` names statements (version, index) of which only the server could tell that they
    refuse a transaction.  A file with transaction commands of its own is run as written in every mode.
    Raises `UnreadableSql` for a file that ends inside its own transaction.
    """
    segments: list[Segment] = []
    for file in files:
        for segment in _file_segments(file, mode, refusing):
            if segments and segments[-1].joins and segment.joins:
                segment = Segment(kind=segment.kind, parts=segments.pop().parts + segment.parts, joins=True)
            segments.append(segment)
    return tuple(segments)


def needs_progress(segments: Iterable[Segment]) -> bool:
    """Whether some file is not wholly one transaction, so that its parts must be recorded."""
    return any(not part.is_whole_file for segment in segments for part in segment.parts) or any(
        segment.kind is SegmentKind.OUTSIDE for segment in segments
    )


def _file_segments(file: PendingFile, mode: TransactionMode, refusing: frozenset[tuple[str, int]]) -> Iterator[Segment]:
    as_written = bool(file.remaining) and any(statement.need in CONTROL for statement in file.statements)
    pieces = list((_as_written if as_written else _by_mode)(file, mode, refusing))
    done = file.statements_done
    last = len(pieces) - 1
    for position, (kind, statements) in enumerate(pieces):
        done += len(statements)
        segment = Segment(
            kind=kind,
            parts=(Part(file=file, statements=tuple(statements), statements_done=done),),
            joins=kind is SegmentKind.TRANSACTION and _joins(file, mode) and not as_written,
        )
        yield segment
        if segment.rolls_back and position == last:
            yield Segment(kind=SegmentKind.TRANSACTION, parts=(Part(file=file, statements=(), statements_done=done),))


def _joins(file: PendingFile, mode: TransactionMode) -> bool:
    if mode is TransactionMode.AUTO:
        return file.migration.kind in DRIZZLE_KINDS
    return mode is TransactionMode.PLAN


def _refuses(file: PendingFile, statement: Statement, refusing: frozenset[tuple[str, int]]) -> bool:
    return statement.need is TransactionNeed.REFUSES or (file.migration.version, statement.index) in refusing


def _by_mode(
    file: PendingFile, mode: TransactionMode, refusing: frozenset[tuple[str, int]]
) -> Iterator[tuple[SegmentKind, Sequence[Statement]]]:
    """A file without transaction commands.  ``plan`` and ``file`` send everything inside, to fail as the tool would."""
    if mode in {TransactionMode.PLAN, TransactionMode.FILE} or not file.remaining:
        yield SegmentKind.TRANSACTION, file.remaining
        return
    together: list[Statement] = []
    for statement in file.remaining:
        if _refuses(file, statement, refusing):
            if together:
                yield SegmentKind.TRANSACTION, together
                together = []
            yield SegmentKind.OUTSIDE, [statement]
        elif mode is TransactionMode.STATEMENT:
            yield SegmentKind.TRANSACTION, [statement]
        else:
            together.append(statement)
    if together:
        yield SegmentKind.TRANSACTION, together


def _as_written(
    file: PendingFile, _mode: TransactionMode, refusing: frozenset[tuple[str, int]]
) -> Iterator[tuple[SegmentKind, Sequence[Statement]]]:
    """A file with transaction commands, in any mode: each block is one transaction, each other statement another.

    drizzle opens a transaction before the file and commits after it, so there a file may COMMIT first
    and leave a BEGIN open at its end; psql would silently roll that back, so elsewhere it is refused.
    """
    drizzle = file.migration.kind in DRIZZLE_KINDS
    in_block = drizzle and file.statements_done == 0
    block: list[Statement] = []
    for statement in file.remaining:
        if in_block or statement.need in CONTROL:
            block.append(statement)
            in_block = statement.need not in {TransactionNeed.COMMITS, TransactionNeed.ROLLS_BACK}
            if not in_block:
                yield SegmentKind.AS_WRITTEN, block
                block = []
        elif _refuses(file, statement, refusing):
            yield SegmentKind.OUTSIDE, [statement]
        else:
            yield SegmentKind.TRANSACTION, [statement]
    if not block:
        return
    if not drizzle:
        opened = block[0]
        raise UnreadableSql(
            f"{file.migration.path}:{opened.line}:{opened.column}: "
            "this transaction is never ended, so psql would roll it back without a word",
            remedy="Add COMMIT, or remove BEGIN and leave the transaction to pgrehearse.",
        )
    yield SegmentKind.TRANSACTION, block
