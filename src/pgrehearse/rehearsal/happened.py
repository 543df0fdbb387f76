"""What the plan did, table by table and statement by statement, as declarations are held against it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pgrehearse.data.verdicts import ColumnLoss, DataComparison, TableLoss, TableVerdict
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.migrations.expectation import Expectation
from pgrehearse.rehearsal.commits import CommitEvidence, RowsWritten
from pgrehearse.rehearsal.declared_tables import Target

_RENAMES_LABEL = re.compile(r"\brename\s+value\b", re.IGNORECASE)
_BARE_TYPE = re.compile(r'^(?:.*\.)?"?(.*?)"?(?:\[\])*$')  # of what format_type() gives
Key = tuple[str, int]  # a migration's version and a statement's index in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Rows of one table that one statement wrote; or at a COMMIT, that deferred triggers of several did."""

    keys: tuple[Key, ...]
    place: str
    relation: str
    rows: RowsWritten


class Happened:
    """One rehearsal's comparison of data, its commits and its traces, asked by table.  Pure."""

    def __init__(
        self, data: DataComparison, commits: Sequence[CommitEvidence], traces: Sequence[StatementTrace]
    ) -> None:
        self.data = data
        # A new table may carry the name that a renamed one had.
        self.tables = {table.name: table for table in data.tables if table.verdict is not TableVerdict.NEW}
        self._new = {table.name_after: table for table in data.tables if table.verdict is TableVerdict.NEW}
        self._traces = traces
        paths = {trace.migration.version: trace.migration.path for trace in traces}
        kinds = {(trace.migration.version, trace.statement.index): trace.statement.kind for trace in traces}
        self._writings = tuple(_writings(commits, paths, kinds))
        self._uncounted = [each.key for commit in commits if commit.outside for each in commit.statements]

    # --- by the data ------------------------------------------------------------------------------------

    def losses(self, target: Target) -> tuple[TableLoss, ...]:
        """Of the table, or of each leaf of its tree."""
        return tuple(self.tables[name] for name in target.leaves if name in self.tables)

    def rows_before(self, target: Target) -> int:
        return sum(table.rows_before for table in self.losses(target))

    def rows_added(self, target: Target) -> int:
        """Rows that stand there now beyond those that were there and stayed."""
        if target.before is None:
            names = target.after.leaves if target.after is not None else ()
            return sum(self._new[name].rows_after for name in names if name in self._new)
        return sum(table.rows_after - table.rows_before + table.rows_lost for table in self.losses(target))

    def columns(self, target: Target, name: str) -> tuple[ColumnLoss, ...]:
        """That column in each leaf; ``name`` as the catalog spells it."""
        if name not in target.columns:
            return ()
        wanted = target.columns[name].sql_name
        return tuple(
            column
            for table in self.losses(target)
            for column in table.columns
            if column.name == wanted and column.verdict.value != "new"
        )

    # --- by the statements ------------------------------------------------------------------------------

    def written_below(self, expectation: Expectation, target: Target) -> RowsWritten | None:
        """What the statements that it speaks of wrote; None where one of them cannot be counted."""
        if any(expectation.covers(*key) for key in self._uncounted):
            return None
        found = RowsWritten()
        for writing in self._writings_of(target):
            if any(expectation.covers(*key) for key in writing.keys):
                found += writing.rows
        return found

    def strangers(self, target: Target, expectations: Iterable[Expectation]) -> tuple[Writing, ...]:
        """Statements that wrote to the table and that none of these speaks of."""
        known = tuple(expectations)
        return tuple(
            writing
            for writing in self._writings_of(target)
            if not any(expectation.covers(*key) for expectation in known for key in writing.keys)
        )

    def uncounted_beside(self, target: Target, expectations: Iterable[Expectation]) -> RowsWritten | None:
        """All that was counted of the table, where only statements that none of these speaks of were not; else None."""
        known = tuple(expectations)
        spoken_of = [any(each.covers(*key) for each in known) for key in self._uncounted]
        if not spoken_of or any(spoken_of):
            return None
        return sum((writing.rows for writing in self._writings_of(target)), RowsWritten())

    def only_updated(self, target: Target) -> bool:
        """Whether no statement took rows from it: what is missing then is there under another key or content."""
        return not self._uncounted and not any(writing.rows.deleted for writing in self._writings_of(target))

    def is_named_below(self, expectation: Expectation, target: Target) -> bool:
        """Whether a statement below names the table or locked it: nothing else can drop it or alter it."""
        bare = expectation.relation[-1]
        names = {target.name, *target.counted_as, *target.leaves}
        return any(
            _names(trace, bare) or not names.isdisjoint(trace.locks)
            for trace in self._traces
            if expectation.covers(trace.migration.version, trace.statement.index)
        )

    def relabels_below(self, expectation: Expectation, type_name: str) -> bool:
        """Whether a statement below exchanged labels of an enum: of this type, or else of any that the plan relabels.

        Such a statement names no table and locks none.  What a domain or a composite type is made of is not asked.
        """
        traces = [trace for trace in self._traces if _RENAMES_LABEL.search(trace.statement.text)]
        below = [each for each in traces if expectation.covers(each.migration.version, each.statement.index)]
        bare = _BARE_TYPE.sub(r"\1", type_name)
        return bool(below) and (len(below) == len(traces) or any(_names(each, bare) for each in below))

    def truncated_below(self, expectation: Expectation) -> bool:
        return any(
            trace.statement.kind == "TruncateStmt" and _names(trace, expectation.relation[-1])
            for trace in self._traces
            if expectation.covers(trace.migration.version, trace.statement.index)
        )

    def last_writer(self, expectation: Expectation, target: Target) -> Key | None:
        """The last statement below that wrote to the table: its now() is what a condition means."""
        keys = [key for writing in self._writings_of(target) for key in writing.keys if expectation.covers(*key)]
        return max(keys, default=None)

    def _writings_of(self, target: Target) -> tuple[Writing, ...]:
        return tuple(writing for writing in self._writings if writing.relation in target.counted_as)


def _names(trace: StatementTrace, name: str) -> bool:
    """Whether that name stands in a statement, as SQL may write it."""
    written = re.escape(name.replace('"', '""'))
    return re.search(rf"(?<![\w$]){written}(?![\w$])", trace.statement.text, re.IGNORECASE) is not None


def _writings(
    commits: Sequence[CommitEvidence], paths: Mapping[str, str], kinds: Mapping[Key, str]
) -> Iterator[Writing]:
    for commit in commits:
        for statement in commit.statements:
            place = f"{paths.get(statement.version, statement.version)}:{statement.line}"
            for relation, rows in statement.written.items():
                rows = rows.without_moves(kinds.get(statement.key, ""))
                yield Writing(keys=(statement.key,), place=place, relation=relation, rows=rows)
        keys = tuple(statement.key for statement in commit.statements)
        for relation, rows in commit.at_commit.items():
            yield Writing(keys=keys, place="deferred triggers at the COMMIT", relation=relation, rows=rows)
