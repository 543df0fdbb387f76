"""A schema that is read again after a migration: only what changed, and what may name that in its text.

Which rows were written is told by their versions (`footprint`), whoever wrote them and however.  What the server prints
of an object says, beside the object's own rows, the names of others: those are found by pg_depend.  Where other things
than relations, types, functions and their comments changed, everything is read again.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter

from pgrehearse.postgres.connect import Connection
from pgrehearse.schema.draft import Draft
from pgrehearse.schema.footprint import Footprint, Reference, read_footprint, read_reached
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject
from pgrehearse.schema.snapshot import RELATION_CLASS, Reading, Scope, as_schema, in_transaction

TYPE_CLASS, FUNCTION_CLASS = 1247, 1255
SETTLED = (0, 0)  # the owner of what is read again only with everything
OWNING_THEMSELVES = frozenset(
    kind.value
    for kind in (
        ObjectKind.TYPE, ObjectKind.DOMAIN, ObjectKind.FUNCTION, ObjectKind.PROCEDURE, ObjectKind.AGGREGATE,
    )
)  # fmt: skip
KEY = itemgetter(0)  # of an entry
OLDEST_MAJOR = 15  # before, publications are read otherwise

Key = tuple[str, str, str]
Entry = tuple[Key, Reference | None, SchemaObject]  # what it is read again with; None: always


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSchema:
    """A schema, and what tells later which part of it is still true."""

    schema: Schema
    footprint: Footprint
    members: frozenset[Reference]  # of extensions
    left_out: frozenset[int]  # relations
    ignored: frozenset[str]
    objects_read: int  # how many of the schema's were read from the catalogs this time
    entries: tuple[Entry, ...] = field(repr=False)  # sorted by key


def read_known_schema(connection: Connection, *, ignore_relations: frozenset[str] = frozenset()) -> KnownSchema:
    """As `read_schema`, and the footprint to read it again by.  Cost: that of `read_schema` and of `read_footprint`."""

    def read() -> KnownSchema:
        footprint = read_footprint(connection)  # first: what is written after it is read again the next time
        return _read_everything(Reading(connection, ignore_relations), footprint)

    return in_transaction(connection, read)


def read_schema_again(connection: Connection, known: KnownSchema) -> KnownSchema:
    """The same as `read_known_schema` would give now, of the database that ``known`` is of, or its copy by TEMPLATE.

    What it relies on: no row of pg_depend was deleted by hand.  Cost: that of `read_footprint`, and of reading what
    changed; where more changed than can be told apart, everything is read.  Locks and errors: as `read_schema`.
    """

    def read() -> KnownSchema:
        footprint = read_footprint(connection)
        changed = footprint.changed_since(known.footprint)
        if changed is None or connection.info.server_version // 10000 < OLDEST_MAJOR or changed & known.members:
            return _read_everything(Reading(connection, known.ignored), footprint)
        reading = Reading(connection, known.ignored, known.members)
        changed |= {(RELATION_CLASS, oid) for oid in reading.left_out ^ known.left_out}
        outdated = changed | (read_reached(connection, changed) if changed else frozenset())
        scope = reading.with_ancestors(
            Scope(
                relations=frozenset(oid for catalog, oid in outdated if catalog == RELATION_CLASS),
                types=frozenset(oid for catalog, oid in outdated if catalog == TYPE_CLASS),
                functions=frozenset(oid for catalog, oid in outdated if catalog == FUNCTION_CLASS),
            )
        )
        reading.read(scope)
        outdated |= {(RELATION_CLASS, oid) for oid in scope.relations}
        kept = [entry for entry in known.entries if entry[1] is not None and entry[1] not in outdated]
        return _known(reading, footprint, kept, [_entry(draft) for draft in reading.drafts])

    return in_transaction(connection, read)


def _read_everything(reading: Reading, footprint: Footprint) -> KnownSchema:
    reading.read()
    return _known(reading, footprint, [], [_entry(draft) for draft in reading.drafts])


def _known(reading: Reading, footprint: Footprint, kept: list[Entry], read: Iterable[Entry]) -> KnownSchema:
    fresh = sorted(read, key=KEY)
    entries, taken = [], 0
    for entry in fresh:  # mostly few, so what lies between them is taken over in one piece
        place = bisect_left(kept, entry[0], lo=taken, key=KEY)
        entries += kept[taken:place]
        entries.append(entry)
        taken = place
    entries += kept[taken:]
    return KnownSchema(
        schema=as_schema(reading.major, [entry[2] for entry in entries], reading.ignored),
        footprint=footprint,
        members=reading.members,
        left_out=reading.left_out,
        ignored=reading.ignored,
        objects_read=len(fresh),
        entries=tuple(entries),
    )


def _entry(draft: Draft) -> Entry:
    return draft.key, _owner(draft), draft.finished()


def _owner(draft: Draft) -> Reference | None:
    if draft.kind == ObjectKind.SYSTEM_OBJECT.value:
        return SETTLED
    if draft.kind == ObjectKind.DOMAIN_CONSTRAINT.value:
        return TYPE_CLASS, draft.private["_type"]
    if draft.kind in OWNING_THEMSELVES:
        return (TYPE_CLASS if draft.kind in ("type", "domain") else FUNCTION_CLASS), draft.oid
    return None if draft.relation_oid is None else (RELATION_CLASS, draft.relation_oid)
