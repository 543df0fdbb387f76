"""Where a reader of the files stands: the model, the file, the transaction and its locks, the session's settings."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pgrehearse.hazards.model import Index, Model, Relation, RelationKind
from pgrehearse.hazards.sql_names import DEFAULT_NAMESPACE, RelationName
from pgrehearse.postgres.locks import LockMode, strongest

UTC = frozenset(
    {"utc", "etc/utc", "gmt", "etc/gmt", "zulu", "etc/zulu", "universal", "uct", "etc/uct", "0", "+00", "+00:00"}
)


@dataclass(slots=True, kw_only=True)
class Situation:
    """Grows statement by statement; `changes.apply_statement` keeps it true."""

    model: Model
    one_plan: bool = False  # all files are pending: what one makes is new to the others
    file: int = 0
    blind: bool = False  # an earlier statement may have made or dropped anything
    doubted: set[RelationName] = field(default_factory=set)  # changed by what may not have run: not as the model has it
    in_block: bool = False  # several statements share this transaction
    opened_by_file: bool = False  # by its own BEGIN
    transaction: int = 0  # counts transactions; a statement by itself is one
    held: dict[RelationName, LockMode] = field(default_factory=dict)  # by this transaction, on what was there before
    written: dict[RelationName, str] = field(
        default_factory=dict
    )  # rows changed in this transaction -> by what command
    updated: dict[RelationName, set[str]] = field(default_factory=dict)  # columns that its UPDATEs set
    new_labels: set[tuple[RelationName, str]] = field(default_factory=set)  # of enums, in this transaction
    timezone: str | None = None  # None: the model's
    local_timezone: bool = False
    lock_timeout: bool = False
    local_lock_timeout: bool = False
    constraints_immediate: bool = False
    all_deferred: bool | None = None  # by SET CONSTRAINTS ALL; None: each as it was declared
    deferred: dict[str, bool] = field(default_factory=dict)  # by SET CONSTRAINTS with names, after that
    search_path: tuple[str, ...] = (DEFAULT_NAMESPACE,)
    default_search_path: tuple[str, ...] = (DEFAULT_NAMESPACE,)
    prepared: dict[str, object] = field(default_factory=dict)
    at_begin: Model | None = None  # for a ROLLBACK
    savepoints: list[tuple[str, Model]] = field(default_factory=list)
    tool_wraps: bool = False  # as it was asked for: each file in a transaction
    as_replica: bool = False  # some earlier statement set session_replication_role
    # No statement of the plan did anything but read or write rows: names mean what they mean in the database.
    means_as_read: bool = True
    last_of_file: bool = False  # no statement follows it in its file, which commits then
    wrapped: bool = False  # a tool opened the transaction, and a statement that refuses one fails
    copied: set[RelationName] = field(default_factory=set)  # all of its rows stand in another table, by this file
    dropped: set[RelationName] = field(default_factory=set)  # tables, by this file
    dropped_functions: set[RelationName] = field(default_factory=set)
    dropped_overloads: set[str] = field(default_factory=set)  # names of functions that any file has dropped
    dropped_signatures: set[tuple[RelationName, tuple[str, ...]]] = field(default_factory=set)
    made_again: set[RelationName] = field(default_factory=set)  # functions that it dropped, with the same arguments
    dropped_indexes: list[tuple[RelationName, Index]] = field(default_factory=list)  # with their tables
    granted: set[RelationName] = field(default_factory=set)  # sequences and tables that this file grants rights on
    altered_last: RelationName | None = None  # by the statement before
    told_lock_timeout: bool = False  # once for each file
    told_under_lock: bool = False  # once for each transaction
    bridges: set[RelationName] = field(default_factory=set)  # views that the file made under the old name of a table
    dropped_views: dict[RelationName, frozenset[str]] = field(default_factory=dict)  # by this file, with their columns
    sizes: dict[RelationName, Relation] = field(default_factory=dict)  # as they were before the files
    by_placeholder: Model | None = None  # what the files did to what only a placeholder names

    def __post_init__(self) -> None:
        if self.model.complete:
            self.sizes.update(self.model.relations)

    def begin_file(self) -> None:
        """Another file: its settings and what it makes are its own."""
        self.file += 1
        self.search_path = self.default_search_path
        self.timezone, self.lock_timeout = None, False
        self.opened_by_file = self.wrapped = False
        self.bridges.clear()
        for gone in (self.dropped_views, self.dropped_signatures, self.made_again):
            gone.clear()
        for each in (self.copied, self.dropped, self.dropped_functions, self.dropped_indexes, self.granted):
            each.clear()
        self.altered_last = None
        self.told_lock_timeout = False

    @contextmanager
    def by_the_text(self) -> Iterator[None]:
        """For a statement whose names a tool fills in: no catalog tells what they are.

        It may have made, dropped or changed anything, so names are not missed from here on, nor rows asked.
        """
        known = self.model
        if not known.complete:
            yield
            return
        if self.by_placeholder is None:
            self.by_placeholder = Model(
                server_major=known.server_major, timezone=known.timezone, search_path=known.search_path
            )
        self.model = self.by_placeholder
        try:
            yield
        finally:
            self.model, self.by_placeholder = known, self.model
            self.blind, known.data = True, None

    # --- names ---------------------------------------------------------------------------------------------

    def resolve(self, name: RelationName) -> RelationName:
        """With its namespace: where search_path finds it, or would make it."""
        if name.namespace is not None:
            return name
        model = self.model
        for namespace in ("pg_temp", *self.search_path):
            found = RelationName(namespace, name.name)
            if found in model.relations or found in model.index_tables:
                return found
        if name.name.startswith("pg_"):  # pg_catalog comes before search_path
            return RelationName("pg_catalog", name.name)
        return RelationName(self.search_path[0] if self.search_path else DEFAULT_NAMESPACE, name.name)

    def resolve_type(self, name: RelationName) -> RelationName:
        """As `resolve`, for types."""
        if name.namespace is not None:
            return name
        for namespace in self.search_path:
            if (found := RelationName(namespace, name.name)) in self.model.types:
                return found
        return RelationName(self.search_path[0] if self.search_path else DEFAULT_NAMESPACE, name.name)

    def resolve_statistics(self, name: RelationName) -> RelationName:
        """As `resolve`, for extended statistics."""
        if name.namespace is not None:
            return name
        for namespace in self.search_path:
            if (found := RelationName(namespace, name.name)) in self.model.statistics:
                return found
        return RelationName(self.search_path[0] if self.search_path else DEFAULT_NAMESPACE, name.name)

    def resolve_function(self, name: RelationName) -> RelationName:
        """As `resolve`, for functions."""
        if name.namespace is not None:
            return name
        for namespace in self.search_path:
            if (found := RelationName(namespace, name.name)) in self.model.functions:
                return found
        return RelationName(self.search_path[0] if self.search_path else DEFAULT_NAMESPACE, name.name)

    # --- relations -----------------------------------------------------------------------------------------

    def relation(self, name: RelationName) -> Relation:
        """What is known of it; where nothing is, an empty Relation that is remembered from here on."""
        resolved = self.resolve(name)
        found = self.model.relations.get(resolved)
        if found is None:
            found = Relation(name=resolved, kind=None if not self.model.complete else RelationKind.TABLE)
            if not self.model.complete:
                self.model.relations[resolved] = found
        return found

    def exists(self, name: RelationName) -> bool | None:
        """Whether there is such a relation; None: not known."""
        resolved = self.resolve(name)
        found = self.model.relations.get(resolved)
        if found is not None and (found.knows or found.made_in is not None):
            return None if found.perhaps_made else True
        return False if self.model.complete and not self.blind else None

    def is_new(self, relation: Relation) -> bool:
        """Nobody uses it yet: the same file made it, or the same plan."""
        return (
            relation.temporary
            or relation.name.namespace == "pg_temp"
            or (self.is_recent(relation.made_in) and not relation.perhaps_made)
        )

    def is_recent(self, made_in: int | None) -> bool:
        """Made by what runs together with this statement."""
        return made_in is not None and (self.one_plan or made_in == self.file)

    def has_no_rows(self, relation: Relation) -> bool:
        """Exactly known to be empty, so nothing is lost, scanned for long, or refused."""
        if relation.is_empty is not True or (relation.made_in is not None and not self.is_recent(relation.made_in)):
            return False  # one of an earlier file has been in use since
        below = [self.model.relations[name] for name in relation.partitions if name in self.model.relations]
        return len(below) == len(relation.partitions) and all(self.has_no_rows(each) for each in below)

    def with_partitions(self, relation: Relation, seen: frozenset[RelationName] = frozenset()) -> Iterator[Relation]:
        """The relation and all below it."""
        yield relation
        seen |= {relation.name}
        for name in sorted(relation.partitions, key=lambda each: each.name):
            below = self.model.relations.get(name)
            if below is not None and name not in seen:  # a file may say what the server refuses: a circle
                yield from self.with_partitions(below, seen)

    # --- the transaction -------------------------------------------------------------------------------------

    def begin(self, *, in_block: bool) -> None:
        """A transaction of its own begins."""
        self.transaction += 1
        self.in_block = in_block
        self.held.clear()
        self.savepoints.clear()
        self.written.clear()
        self.updated.clear()
        self.new_labels.clear()
        self.constraints_immediate = self.told_under_lock = False
        self.all_deferred = None
        self.deferred.clear()
        if self.local_timezone:
            self.timezone, self.local_timezone = None, False
        if self.local_lock_timeout:
            self.lock_timeout, self.local_lock_timeout = False, False

    def remember(self) -> None:
        """For a ROLLBACK to come."""
        self.at_begin = self.snapshot()

    def snapshot(self) -> Model:
        """The model as it is now, whatever later statements do to it; its session is shared."""
        model = copy.copy(self.model)
        model.data = None  # a session cannot be copied
        model = copy.deepcopy(model)
        model.data = self.model.data
        return model

    def roll_back(self) -> None:
        """What the transaction did to the model is undone."""
        if self.at_begin is not None:
            self.model, self.at_begin = self.at_begin, None

    def set_savepoint(self, name: str) -> None:
        """For a ROLLBACK TO it."""
        self.savepoints.append((name, self.snapshot()))

    def roll_back_to(self, name: str) -> None:
        """What stands behind the savepoint is undone; the locks that it took are given back, too, but told."""
        names = [each for each, _ in self.savepoints]
        if name in names:
            at = len(names) - 1 - names[::-1].index(name)
            self.model = self.savepoints[at][1]
            del self.savepoints[at:]
            self.savepoints.append((name, self.snapshot()))

    def take(self, locks: dict[RelationName, LockMode]) -> None:
        """Locks are kept until the transaction ends."""
        for name, mode in locks.items():
            self.held[name] = strongest(self.held.get(name), mode)

    def holds(self, name: RelationName) -> LockMode | None:
        """The strongest lock that earlier statements of this transaction took on it."""
        return self.held.get(name) if self.in_block else None

    def is_utc(self) -> bool | None:
        """Whether the session's TimeZone is UTC; None: not known."""
        timezone = self.timezone or self.model.timezone
        return None if timezone is None else timezone.lower() in UTC


def situation_name(name: RelationName, situation: Situation) -> RelationName:
    """Where a new object of that name is made."""
    if name.namespace is not None:
        return name
    return RelationName(situation.search_path[0] if situation.search_path else "public", name.name)
