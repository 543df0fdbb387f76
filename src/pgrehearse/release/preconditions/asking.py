"""Turn what a statement requires into a precondition, or into the reason why only the rehearsal can tell."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pgrehearse.hazards.sql_names import quoted
from pgrehearse.release.preconditions.expressions import Asked, NotAsked
from pgrehearse.release.preconditions.precondition import Precondition, PreconditionKind, Test
from pgrehearse.release.preconditions.shape import Shape, TableNow
from pgrehearse.schema.schema_object import ObjectKind

SHOWN = 100  # characters of an expression


@dataclass(slots=True)
class Asking:
    """What one plan asks, statement by statement."""

    shape: Shape
    file: str = ""
    line: int = 0
    found: list[Precondition] = field(default_factory=list)
    only_perhaps: str | None = None  # why the statement at hand may not run, or may fail without harm

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    def ask(
        self,
        kind: PreconditionKind,
        table: TableNow,
        what: str,
        test: Callable[[], Test],
        *,
        columns: Sequence[str] = (),
        expressions: Iterable[Asked | NotAsked] = (),
        descends: bool = True,
        parent: tuple[TableNow, Sequence[str]] | None = None,
    ) -> None:
        """``columns`` as the statement names them; ``test`` is called only where production can be asked.

        Nothing is asked of a table that the plan makes and leaves empty.
        """
        if table.kind is ObjectKind.FOREIGN_TABLE:
            return  # the server takes a foreign table's constraints on trust
        expressions = tuple(expressions)
        named = [*columns, *(name for each in expressions if isinstance(each, Asked) for name in each.columns)]
        if table.production is None and table.rows_added is None and self.shape.hidden is None:
            return
        because = (
            self.only_perhaps
            or self.shape.hidden
            or self._why_left(table, named, descends=descends)
            or (self._why_parent_left(*parent) if parent is not None else None)
            or next((each.because for each in expressions if isinstance(each, NotAsked)), None)
        )
        on_production = [table.columns[name].production for name in dict.fromkeys(named) if name in table.columns]
        family = self.shape.family(table) if descends else (table,)
        self.found.append(
            Precondition(
                kind=kind,
                relation=table.shown or f"{quoted(table.namespace)}.{quoted(table.name)}",
                descendants=tuple(member.shown for member in family[1:] if member.shown),
                columns=tuple(name for name in on_production if name is not None),
                what=what,
                file=self.file,
                line=self.line,
                test=test() if because is None else None,
                left_because=because,
                leaves_out=next((member.rows_added for member in family if member.rows_added), None),
                search_path=self.shape.search_path if self.shape.path_was_set else None,
            )
        )

    def leave(self, kind: PreconditionKind, relation: str, what: str, because: str) -> None:
        """Say that only the rehearsal can tell."""
        self.found.append(
            Precondition(
                kind=kind,
                relation=relation,
                columns=(),
                what=what,
                file=self.file,
                line=self.line,
                test=None,
                left_because=self.only_perhaps or self.shape.hidden or because,
            )
        )

    def _why_left(self, table: TableNow, columns: Sequence[str], *, descends: bool) -> str | None:
        if table.production is None:
            return f"{table.name} is made at {table.made_at} and filled: {table.rows_added}"
        for member in self.shape.family(table) if descends else (table,):
            if member.rows_removed is not None:
                return member.rows_removed
            for name in columns:
                column = member.columns.get(name)
                if column is not None and column.production is None:
                    return f"column {name} is new ({column.added})"
                if column is not None and column.written is not None:
                    return column.written
        return None

    def _why_parent_left(self, parent: TableNow, columns: Sequence[str]) -> str | None:
        """Rows added to a parent can end an orphan's plight; rows removed from it cannot."""
        if parent.production is None:
            return f"{parent.name} is made at {parent.made_at}"
        for member in self.shape.family(parent):
            if member.rows_added is not None:
                return member.rows_added
            for name in columns:
                column = member.columns.get(name)
                if column is not None and (column.production is None or column.written is not None):
                    return column.written or f"column {name} is new ({column.added})"
        return None


def listed(names: Iterable[str]) -> str:
    return "(" + ", ".join(quoted(name) for name in names) + ")"


def cut(text: str) -> str:
    """An expression of the user's own, short enough for one line."""
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
