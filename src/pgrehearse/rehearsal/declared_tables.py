"""Which table a declaration names, before the plan and after it, and what became of its columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pgrehearse.migrations.expectation import Expectation, Verb
from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.declared_rows import KINDS, TABLES, Column, Relation, read_columns, read_relations
from pgrehearse.rehearsal.moments import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one declaration speaks of."""

    name: str  # namespace.relation as the catalog has it; as written where nothing is named so
    before: Relation | None = None  # None: the plan makes it
    after: Relation | None = None  # by oid, else by name; None: it is gone
    columns: Mapping[str, Column] = field(default_factory=dict)  # of the pristine table, by name
    dropped: frozenset[str] = frozenset()  # of those: gone, or another one of the same name
    retyped: frozenset[str] = frozenset()
    problem: str | None = None  # why there is nothing that it could speak of

    @property
    def leaves(self) -> tuple[str, ...]:
        """Where the rows stand that were there before."""
        return self.before.leaves if self.before is not None else ()

    @property
    def counted_as(self) -> frozenset[str]:
        """The names under which the rows that a statement writes are counted."""
        return frozenset(found.root for found in (self.before, self.after) if found is not None)

    @property
    def is_partition(self) -> bool:
        """Whether the rows that are written to it are counted at its tree's root."""
        return self.before is not None and self.before.root != self.before.name

    @property
    def was_dropped(self) -> bool:
        """Whether another table carries its name, or none."""
        return self.before is not None and (self.after is None or self.after.oid != self.before.oid)


def find_targets(
    pristine: Connection, clone: Connection, expectations: Sequence[Expectation], moments: Mapping[str, Moment]
) -> tuple[Target, ...]:
    """One for each expectation.  Two small catalog queries, and two for each table that is named.

    ``moments``: of some statement of each file, by version; its search_path decides between equal names.
    """
    names = {expectation.relation[-1] for expectation in expectations}
    before = read_relations(pristine, names)
    after = read_relations(clone, names, [found.oid for found in before])
    # A table may be called by the name that the plan gives it.
    before = read_relations(pristine, names, [found.oid for found in after])
    return tuple(
        _find(pristine, clone, expectation, before, after, moments.get(expectation.version))
        for expectation in expectations
    )


def _find(
    pristine: Connection,
    clone: Connection,
    expectation: Expectation,
    before: Sequence[Relation],
    after: Sequence[Relation],
    moment: Moment | None,
) -> Target:
    written = ".".join(expectation.relation)
    found = _named(expectation, before, moment) or _named(expectation, after, moment)
    if not found:
        return Target(name=written, problem=f"there is no table {written}, neither before the plan nor after it")
    if len(found) > 1:
        several = " and ".join(each.name for each in found)
        return Target(name=written, problem=f"{written} may be {several}: write its schema")
    (relation,) = found
    if relation.kind not in TABLES:
        return Target(name=relation.name, problem=f"{relation.name} is {KINDS[relation.kind]}: name the table itself")
    was = next((each for each in before if each.oid == relation.oid), None)
    now = next((each for each in after if each.oid == relation.oid and each.kind in TABLES), None)
    if now is None:
        now = next((each for each in after if each.parts == relation.parts and each.kind in TABLES), None)
    if was is None:
        problem = None if expectation.verb is Verb.INSERTS else f"{relation.name} is made by the plan: nothing is lost"
        return Target(name=relation.name, after=now, problem=problem)
    mine = read_columns(pristine, was)
    theirs = read_columns(clone, now) if now is not None else {}
    same = now is not None and now.oid == was.oid
    by_name = {column.name: column for column in theirs.values()}
    pairs = {column.name: theirs.get(number) if same else by_name.get(column.name) for number, column in mine.items()}
    columns = {column.name: column for column in mine.values()}
    problem = None
    if expectation.column is not None and expectation.column not in columns:
        problem = f"{was.name} had no column {expectation.column} before the plan"
    return Target(
        name=was.name,
        before=was,
        after=now,
        columns=columns,
        dropped=frozenset(name for name, now in pairs.items() if now is None),
        retyped=frozenset(name for name, now in pairs.items() if now is not None and now.type != columns[name].type),
        problem=problem,
    )


def _named(expectation: Expectation, relations: Sequence[Relation], moment: Moment | None) -> list[Relation]:
    found = [each for each in relations if each.parts[-len(expectation.relation) :] == expectation.relation]
    if len(found) < 2 or moment is None:
        return found
    for namespace in (part.strip().strip('"') for part in moment.search_path.split(",")):
        first = [each for each in found if each.parts[0] == namespace]
        if first:
            return first
    return found
