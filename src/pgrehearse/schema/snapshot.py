"""Read the shape of a whole database from its catalogs, as one snapshot sees it."""

import contextlib
import gc
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from pgrehearse.errors import SchemaUnreadable
from pgrehearse.postgres.connect import Connection
from pgrehearse.schema.draft import LEADING, Draft
from pgrehearse.schema.schema_object import LeftOut, ObjectKind, Schema, SchemaObject

# drizzle's own record of what it applied: bookkeeping of the tool, not shape of the application.
DRIZZLE_LEDGER = "drizzle.__drizzle_migrations"
EVERYBODYS_NAMESPACE = "public"
_NAMESPACE = re.compile(r'((?:"(?:[^"]|"")*")|[^."]+)\.')  # of a relation's name, as it is written there

# Whatever changes how the server prints an expression; a session's or role's own values must not reach the text.
PRINTING = {
    "search_path": "",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "xmlbinary": "base64",
    "row_security": "off",
    "statement_timeout": "0",
    "lock_timeout": "10s",
}
SET_PRINTING = """
SELECT pg_catalog.set_config(s.name, s.value, true)
FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) AS s (name, value)
"""
COLUMNS_OBJECTS = ("read_namespaces", "read_relations", "read_columns")
CONSTRAINTS, INDEXES = ("read_constraints",), ("read_indexes",)
REST_OBJECTS = (
    "read_sequences", "read_triggers", "read_policies", "read_rules", "read_functions", "read_types",
    "read_domain_constraints", "read_extensions", "read_statistics",
)  # fmt: skip
SYSTEM_GRANTS = "read_system_grants"
KEY = attrgetter("key")
TABLE = ObjectKind.TABLE.value
SYSTEM_OBJECT = ObjectKind.SYSTEM_OBJECT.value
RELATION_OID = 4  # of a row's leading columns
RELATION_CLASS = 1259  # pg_class, of itself; oids of catalogs never change
BATCH = 200  # relations printed before their locks are given back; the lock table holds some thousands
ATTEMPTS = 5  # an object dropped while being printed is "cache lookup failed": read again

DEFINED_KINDS = (
    ObjectKind.CONSTRAINT, ObjectKind.INDEX, ObjectKind.TRIGGER, ObjectKind.RULE, ObjectKind.FUNCTION,
    ObjectKind.PROCEDURE, ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW, ObjectKind.STATISTICS,
)  # fmt: skip
# In batches, behind all else; of a function only a parsed body.
PRINTED_LATER = frozenset(
    kind.value
    for kind in (
        ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW, ObjectKind.RULE, ObjectKind.FUNCTION, ObjectKind.PROCEDURE,
    )
)  # fmt: skip
RELATIONS = (ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE, ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW)
ROUTINES = (ObjectKind.FUNCTION, ObjectKind.PROCEDURE, ObjectKind.AGGREGATE)
LEFT_OUT_BY_DESIGN = (
    LeftOut(what="subscriptions", reason="they are one environment's, hold secrets, and an inert clone has none"),
    LeftOut(what="user mappings, options of servers and wrappers", reason="addresses and secrets of one environment"),
    LeftOut(what="tablespaces", reason="where files lie is one server's business"),
    LeftOut(what="members of extensions", reason="the extension's version stands for them"),
    LeftOut(what="settings of roles and databases", reason="they are not part of a schema"),
    LeftOut(what="whether a materialized view is populated", reason="its content is data"),
)  # fmt: skip

Found = TypeVar("Found")
Given = ParamSpec("Given")
Row = tuple[Any, ...]
Result = tuple[list[str], list[Row]]  # the columns' names, the rows


def read_schema(connection: Connection, *, ignore_relations: frozenset[str] = frozenset()) -> Schema:
    """The shape of the whole database that ``connection`` is in.

    ``ignore_relations``: names as `namespace.relation`, quoted where SQL needs it, that take no part.  Never part:
    namespace `pgrehearse`, drizzle's ledger table, temporary objects, members of extensions.

    Reads in the caller's transaction where there is one (its snapshot, its own uncommitted work), else in a read-only
    one of its own at REPEATABLE READ.  Either way all settings and locks are given back.  Locks: ACCESS SHARE on
    relations that views, rules and SQL-standard functions name, a batch at a time.  Cost: some 15 round trips, and more
    where there are many views; about what `pg_dump --schema-only` takes.
    Raises `SchemaUnreadable` (exit 3) when the role may not read a catalog, when objects change while being read, and
    when another session keeps a view's table locked for longer than 10 s.
    """
    return in_transaction(connection, lambda: _schema_of(Reading(connection, ignore_relations)))


def _schema_of(reading: "Reading") -> Schema:
    reading.read()
    objects = [draft.finished() for draft in sorted(reading.drafts, key=KEY)]
    return as_schema(reading.major, objects, reading.ignored)


def in_transaction(connection: Connection, read: Callable[[], Found]) -> Found:
    """What ``read`` finds in one transaction, as `read_schema` says; again where objects changed meanwhile."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _in_transaction(connection, read)
        except psycopg.errors.InsufficientPrivilege as error:
            raise SchemaUnreadable(
                f"the schema cannot be read whole: {error.diag.message_primary}",
                remedy="Read as a role that may read the system catalogs, or grant SELECT on the named catalog.",
            ) from error
        except psycopg.errors.LockNotAvailable as error:
            raise SchemaUnreadable(
                "another session has an ACCESS EXCLUSIVE lock on a table whose views must be printed",
                remedy="Wait until that migration or VACUUM FULL has ended, then run the command again.",
            ) from error
        except psycopg.errors.InternalError_ as error:
            if attempt == ATTEMPTS or connection.info.transaction_status != TransactionStatus.IDLE:
                raise SchemaUnreadable(
                    f"objects changed while the schema was read: {error.diag.message_primary or error}",
                    remedy="Wait until no other session changes the schema, then run the command again.",
                ) from error
    raise AssertionError("unreachable")


def _in_transaction(connection: Connection, read: Callable[[], Found]) -> Found:
    own_transaction = connection.info.transaction_status == TransactionStatus.IDLE
    # Rolling back gives back settings and locks, of a savepoint too.
    with connection.transaction(force_rollback=True):
        if own_transaction:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(SET_PRINTING, (list(PRINTING), list(PRINTING.values())))
        with _without_collecting():
            return read()


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Nothing read here is garbage, and looking for some among ever more objects takes a third of Python's time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Behind:
    """Does one thing after another in a thread, behind the back of who waits for the server.  Context manager."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pgrehearse-schema")
        self._doing: list[Future[None]] = []

    def __enter__(self) -> "_Behind":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def do(self, work: Callable[Given, None], *given: Given.args, **named: Given.kwargs) -> None:
        self._doing.append(self._thread.submit(work, *given, **named))

    def wait(self) -> None:
        """Until all is done; raises what any of it raised."""
        for done in self._doing:
            done.result()


def as_schema(major: int, objects: Sequence[SchemaObject], ignored: frozenset[str]) -> Schema:
    """The schema of these objects, which are sorted by their keys.

    Without the namespaces that were made for a ledger, drizzle's or an ignored one: nothing else is in them.
    """
    for namespace in sorted(_namespaces_of({DRIZZLE_LEDGER, *ignored})):
        key = (ObjectKind.SCHEMA.value, "", namespace)
        place = bisect_left(objects, key, key=lambda found: found.key)
        if place < len(objects) and objects[place].key == key and not any(_inside(each, namespace) for each in objects):
            objects = [*objects[:place], *objects[place + 1 :]]
    by_caller = tuple(LeftOut(what=name, reason="the caller ignores it") for name in sorted(ignored))
    return Schema(server_major=major, objects=tuple(objects), left_out=LEFT_OUT_BY_DESIGN + by_caller)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which objects to read; what is small is always read."""

    relations: frozenset[int]
    types: frozenset[int]
    functions: frozenset[int]


class Reading:
    """One pass over the catalogs, over all of them or a ``scope``; lives as long as its transaction."""

    def __init__(
        self,
        connection: Connection,
        ignore_relations: frozenset[str],
        members: frozenset[tuple[int, int]] | None = None,
    ) -> None:
        self._connection = connection
        self.major = connection.info.server_version // 10000
        self.ignored = ignore_relations
        self._drafts: dict[tuple[int, int, int], Draft] = {}
        self._of_kinds: dict[str, list[Draft]] = defaultdict(list)  # the same
        self._names: dict[int, str] = {}  # of relations
        self._parameters: dict[str, Any] = dict.fromkeys(("relations", "types", "functions", "objects"))
        self._parameters["namespaces"] = [oid for oid, _ in self._rows("namespaces")[1]]
        if members is None:
            members = frozenset((class_oid, oid) for class_oid, oid in self._rows("members")[1])
        self.members = members
        self._parameters["names"] = [DRIZZLE_LEDGER, *sorted(self.ignored)]
        self._parameters["members"] = [oid for class_oid, oid in members if class_oid == RELATION_CLASS]
        self.left_out = frozenset(oid for (oid,) in self._rows("left_out_relations")[1])
        self._parameters["left_out"] = list(self.left_out)

    @property
    def drafts(self) -> Iterable[Draft]:
        """What was read."""
        return self._drafts.values()

    def read(self, scope: Scope | None = None) -> None:
        """Without ``scope`` everything; with it only that, and what is not a relation's, a type or a function.

        Of an inheriting table its ancestors must be in it, see `with_ancestors`.  While the server prints one kind,
        a thread makes drafts of another: psycopg gives the first rows of a pipeline once it has all.
        """
        rest = REST_OBJECTS + OTHER_OBJECTS + (("read_publication_tables_15",) if self.major >= 15 else ())
        if scope is not None:
            self._parameters |= {
                "relations": list(scope.relations), "types": list(scope.types), "functions": list(scope.functions),
            }  # fmt: skip
            rest = tuple(name for name in rest if name != SYSTEM_GRANTS)
        with _Behind() as behind:
            inheritance, *found = self._rows_of_each("inheritance", *COLUMNS_OBJECTS)
            behind.do(self._add_each, COLUMNS_OBJECTS, found)
            behind.do(self._number_columns, inheritance[1])
            annotations: list[Row] = []
            if scope is None:  # else these are asked of what was found
                annotations = self._annotation_rows()
                behind.do(self._finish, annotations)
            behind.do(self._add_each, CONSTRAINTS, self._rows_of_each(*CONSTRAINTS))
            behind.do(self._add_each, INDEXES, self._rows_of_each(*INDEXES))  # which add to the constraints
            if scope is None:
                behind.do(self._finish, annotations)
            behind.do(self._add_each, rest, self._rows_of_each(*rest))
            behind.wait()
            relations = self._of_kind(ObjectKind.TABLE, ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW)
            self._annotate_in_batches("view_definitions", [d.oid for d in relations if d.kind != TABLE])
            self._annotate_in_batches("rule_definitions", [d.oid for d in self._of_kind(ObjectKind.RULE)])
            self._annotate_in_batches(
                "function_definitions", [d.oid for d in self._of_kind(*ROUTINES) if d.private.get("_parsed")]
            )
        if scope is not None:
            self._parameters["objects"] = [draft.oid for draft in self._drafts.values()]
            annotations = self._annotation_rows()
        self._annotate(annotations)
        self._require_definitions()

    def with_ancestors(self, scope: Scope) -> Scope:
        """A child's columns stand in the order of its parents'."""
        parents: dict[int, list[int]] = defaultdict(list)
        for child, parent in self._rows("inheritance")[1]:
            parents[child].append(parent)
        relations, ahead = set(scope.relations), list(scope.relations)
        while ahead:
            new = set(parents.get(ahead.pop(), ())) - relations
            relations |= new
            ahead += new
        return replace(scope, relations=frozenset(relations))

    def _annotations(self) -> Iterator[str]:
        yield from (
            "read_replica_identities",
            "read_disabled_foreign_keys",
            "read_comments",
            "read_security_labels",
            "read_grants",
        )
        if self.major >= 18:
            yield from ("read_not_null_constraints_18", "read_not_null_comments_18")
        if self.major >= 15:
            yield "read_publication_schemas_15"
        else:
            yield "read_publication_tables_14"

    def _rows(self, statement: str, **more: Any) -> Result:
        cursor = self._connection.execute(STATEMENTS[statement], {**self._parameters, **more})
        return [column.name for column in cursor.description or ()], cursor.fetchall()

    def _annotation_rows(self) -> list[Row]:
        return [row for _, rows in self._rows_of_each(*self._annotations()) for row in rows]

    def _rows_of_each(self, *statements: str) -> list[Result]:
        """In order.  One round trip."""
        failure: psycopg.Error | None = None
        found: list[Result] = []
        # A failure is carried out of the pipeline by hand: raised through its end, psycopg logs a warning of its own.
        with contextlib.suppress(psycopg.errors.PipelineAborted), self._connection.pipeline():
            try:
                cursors = [self._connection.execute(STATEMENTS[name], self._parameters) for name in statements]
                for cursor in cursors:
                    rows = cursor.fetchall()
                    found.append(([column.name for column in cursor.description or ()], rows))
            except psycopg.Error as error:
                failure = error
        if failure is not None:
            raise failure
        return found

    def _add_each(self, statements: Sequence[str], found: Sequence[Result]) -> None:
        for statement, (names, rows) in zip(statements, found, strict=True):
            (self._add_indexes if statement == "read_indexes" else self._add_objects)(names, rows)
            if statement == "read_relations":
                self._names = {draft.oid: draft.name for draft in self._of_kind(*RELATIONS)}

    def _add_objects(self, names: Sequence[str], rows: Iterable[Row]) -> None:
        left_out = self.left_out
        if left_out:
            rows = [row for row in rows if row[RELATION_OID] not in left_out]
        members, drafts, of_kinds = self.members, self._drafts, self._of_kinds
        for class_oid, draft in Draft.from_rows(names[LEADING:], rows, self._names):
            # Rights on a member are not the extension's: the statement that reads them knows which were changed.
            if (class_oid, draft.oid) not in members or draft.kind == SYSTEM_OBJECT:
                drafts[class_oid, draft.oid, draft.number] = draft
                of_kinds[draft.kind].append(draft)

    def _finish(self, annotations: Iterable[Row]) -> None:
        """Make the objects of which nothing more is said but this."""
        self._annotate(annotations)
        for draft in self._drafts.values():
            if draft.made is None and draft.kind not in PRINTED_LATER:
                draft.finish()

    def _of_kind(self, *kinds: ObjectKind) -> list[Draft]:
        return [draft for kind in kinds for draft in self._of_kinds.get(kind.value, ())]

    def _annotate(self, rows: Iterable[Row]) -> None:
        """Add to the drafts that there are; what is finished has it already."""
        for class_oid, oid, number, attribute, value in rows:
            draft = self._drafts.get((class_oid, oid, number))
            if draft is not None and value is not None and draft.made is None:
                draft.attributes[attribute] = value

    def _annotate_in_batches(self, statement: str, oids: Sequence[int]) -> None:
        """Print what takes locks, giving the locks back after each batch."""
        for start in range(0, len(oids), BATCH):
            with self._connection.transaction(force_rollback=True):
                rows = self._rows(statement, oids=list(oids[start : start + BATCH]))[1]
            self._annotate(rows)

    def _number_columns(self, inheritance: Iterable[Row]) -> None:
        """Positions among the living columns; a child by inheritance has the inherited ones first, as after a dump."""
        columns: dict[int, list[Draft]] = defaultdict(list)
        for draft in self._of_kind(ObjectKind.COLUMN):
            columns[draft.oid].append(draft)
        for own in columns.values():
            own.sort(key=lambda draft: draft.number)
        parents: dict[int, list[int]] = defaultdict(list)
        for child, parent in inheritance:
            parents[child].append(parent)
        ordered: dict[int, list[Draft]] = {}
        for oid in columns:
            for position, draft in enumerate(_in_order(oid, columns, parents, ordered), 1):
                draft.position = position

    def _add_indexes(self, names: Sequence[str], rows: Iterable[Row]) -> None:
        """One behind a constraint adds to the constraint; a partition's copy counts only where it deviates."""
        behind = {draft.oid: draft for draft in self._of_kind(ObjectKind.CONSTRAINT)}
        for class_oid, draft in Draft.from_rows(names[LEADING:], rows, self._names):
            parent, constraint = draft.private.get("_parent"), draft.private.get("_constraint")
            if (class_oid, draft.oid) in self.members:
                continue
            if parent is not None:
                if not draft.attributes:
                    continue
                draft.name = f"partition of {parent}"
            elif constraint in behind:
                for name, text in draft.attributes.items():
                    behind[constraint].attributes[name if name == "invalid" else f"index {name}"] = text
                continue
            self._drafts[class_oid, draft.oid, 0] = draft
            self._of_kinds[draft.kind].append(draft)

    def _require_definitions(self) -> None:
        """The printing functions see the newest catalogs, not our snapshot, and give NULL for what is gone there."""
        for draft in self._of_kind(*DEFINED_KINDS):
            if "definition" not in draft.attributes and not draft.private.get("_parent"):
                raise psycopg.errors.InternalError_(f"{draft.kind} {draft.name} was dropped meanwhile")


def _in_order(
    oid: int, columns: Mapping[int, list[Draft]], parents: Mapping[int, list[int]], known: dict[int, list[Draft]]
) -> list[Draft]:
    if oid not in known:
        own = columns.get(oid, [])
        if parents.get(oid):
            inherited = {draft.name: draft for draft in own if draft.private.get("_inherited")}
            order = [draft.name for parent in parents[oid] for draft in _in_order(parent, columns, parents, known)]
            first = [inherited[name] for name in dict.fromkeys(order) if name in inherited]
            taken = {draft.name for draft in first}
            own = first + [draft for draft in own if draft.name not in taken]
        known[oid] = own
    return known[oid]


def _namespaces_of(relations: Iterable[str]) -> set[str]:
    found = {match[1] for name in relations if (match := _NAMESPACE.match(name)) is not None}
    return found - {EVERYBODYS_NAMESPACE}


def _inside(found: SchemaObject, namespace: str) -> bool:
    return (found.relation or found.name).startswith(f"{namespace}.")


def _read_statements(path: Path) -> dict[str, bytes]:
    parts = re.split(r"^-- name: (\w+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: body.strip().encode() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


_OTHER_STATEMENTS = _read_statements(Path(__file__).with_name("other_objects.sql"))
STATEMENTS = _read_statements(Path(__file__).with_suffix(".sql")) | _OTHER_STATEMENTS
OTHER_OBJECTS = tuple(name for name in _OTHER_STATEMENTS if not name.startswith("read_publication_"))
