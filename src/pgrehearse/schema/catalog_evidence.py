"""What a transaction did to the catalogs, object by object, read by itself before it commits.

The rehearsal records it on the clone, the promotion reads it again in production, and only where both are
the same it commits.  It holds names and digests, never oids: a clone's are others.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pgrehearse.migrations.own_state import Locks
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.postgres.prepared import PreparedQueries, Rows
from pgrehearse.schema.draft import NULL_OF_A_TYPE
from pgrehearse.schema.normalise import normal_form
from pgrehearse.schema.snapshot import PRINTING

DIGEST_CHARACTERS = 16
MOST_IN_DETAIL = 100  # relations; of more than these one digest each is kept
WHOLE = "everything"  # the one object of a relation that is not kept in detail

_QUERIES = named_queries(__file__)
_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))  # json.dumps would make one for every object
# A generic plan: the numbers of oids differ from call to call, and planning costs more than running.
_READING = PreparedQueries(
    {
        name: f"{_QUERIES['living']}\n{query}" if name in ("relations", "objects") else query
        for name, query in _QUERIES.items()
        if name != "living"
    },
    # They ask for a few relations, found by index, however small a catalog was when they were planned.
    settings={**PRINTING, "plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"},
)

Relations = dict[int, tuple[str, str | None, str]]  # name, the partition's parent, version; by oid
Parameters = tuple[list[int], list[str], bool, list[str]]  # of relations and objects
Others = dict[tuple[str, int], tuple[str, str]]  # (kind, oid): the transactions that wrote it, the part that read it
EVERY_PART = (True, True)  # of other_versions
READ = "read"  # the kind of its rows that name a part


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationEvidence:
    """One relation's objects (``column a``, ``index t_a``, ``relation`` itself), each with its digest."""

    objects: Mapping[str, str]
    parent: str | None  # of a partition

    @property
    def folded(self) -> "RelationEvidence":
        """All objects as one digest."""
        return RelationEvidence(objects={WHOLE: _digest(sorted(self.objects.items()))}, parent=self.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEvidence:
    """What the catalogs say of some relations, and of what else was written.  None: it is gone."""

    relations: Mapping[str, RelationEvidence | None]  # by namespace.relation
    others: Mapping[str, str | None]  # ``function public.f(integer)``, ``type public.state`` …: digest
    written: frozenset[str] = frozenset()  # those relations whose catalog rows this transaction wrote

    def as_json(self) -> dict[str, Any]:
        """For the receipt; ``written`` is left out."""
        in_detail = len(self.relations) <= MOST_IN_DETAIL
        return {
            "relations": {
                name: None
                if found is None
                else {"parent": found.parent, "objects": dict((found if in_detail else found.folded).objects)}
                for name, found in sorted(self.relations.items())
            },
            "others": dict(sorted(self.others.items())),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "CatalogEvidence":
        return cls(
            relations={
                name: None
                if found is None
                else RelationEvidence(objects=dict(found["objects"]), parent=found["parent"])
                for name, found in body["relations"].items()
            },
            others=dict(body["others"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceCompared:
    """How production's evidence differs from the rehearsal's, and what differs for a known reason."""

    differences: tuple[str, ...]
    told: tuple[str, ...]


class OwnEvidence:
    """What the running transaction did to the catalogs, read just before its COMMIT.

    ``ignored`` are relations that do not count (the migration ledger).  ``alone``: nobody else changes this database's
    catalogs meanwhile (a clone), so what was committed before is what was seen at the last COMMIT; which relations the
    transaction wrote is not asked then.
    """

    def __init__(self, *, ignored: frozenset[str] = frozenset(), alone: bool = False) -> None:
        self._ignored = ignored
        self._alone = alone
        self._others_committed: Others | None = None  # where alone, as of the last COMMIT
        self._others_now: Others | None = None
        self._names_committed: dict[int, str] | None = None  # of relations, where alone; as of the last COMMIT
        self._names_now: dict[int, str] = {}

    def read(
        self,
        session: Connection,
        committed: Connection,
        *,
        names: Iterable[str] = (),
        locks: Locks | None = None,
    ) -> CatalogEvidence:
        """What ``session`` sees, in its open transaction, of every relation that it holds a lock on, and of ``names``.

        ``committed`` is another, idle session of the same database: what it does not see, this transaction wrote.
        ``locks``: those that it holds now, where that is known.
        Takes no lock that outlives it; the transaction's settings stay as they were.  Cost: a round trip, two where
        not alone, and more where functions, types, namespaces or extensions were written or a relation dropped.
        """
        if self._alone and locks is not None and self._others_committed is not None:
            return self._read_alone(session, committed, list(names), locks, self._others_committed)
        asked: Parameters = ([], list(names), True, sorted(self._ignored))
        calls: list[tuple[str, Sequence[Any]]] = [("held", ()), ("objects", asked), ("other_versions", EVERY_PART)]
        if not self._alone:
            calls.append(("relations", asked))
        held, objects, versions, *rows = _READING.read(session, *calls)
        now, others_now = _relations_of(rows[0]) if rows else _named_by(objects), _others_of(versions)
        before = self._read_before(committed, held, now)
        others_before = self._others_committed
        if others_before is None:
            others_before = _others_of(_READING.read(committed, ("other_versions", EVERY_PART))[0])
        changed = _differing(others_now, others_before)
        if changed and not self._alone:  # what another session committed between the two looks is none of ours
            others_now = _others_of(_READING.read(session, ("other_versions", EVERY_PART))[0])
            changed &= _differing(others_now, others_before)
        if self._alone:
            self._others_committed, self._others_now = others_before, others_now
        return self._put_together(session, committed, objects, now, before, changed, others_now.keys())

    def _read_alone(
        self, session: Connection, committed: Connection, names: list[str], locks: Locks, others_before: Others
    ) -> CatalogEvidence:
        """Where nobody else writes, what this transaction has not written is as it was at the last COMMIT."""
        objects, versions = _READING.read(
            session,
            ("objects", (list(locks.oids), names, False, sorted(self._ignored))),
            ("other_versions", (locks.by_hand, locks.composite)),
        )
        parts = {part for kind, _oid, _version, part in versions if kind == READ}
        kept = {key: found for key, found in others_before.items() if found[1] not in parts}
        others_now = kept | _others_of(versions)
        before = self._read_before(committed, [(oid, False) for oid in locks.gone], {})
        self._others_now = others_now
        changed = _differing(others_now, others_before) if parts else set()
        return self._put_together(session, committed, objects, _named_by(objects), before, changed, others_now.keys())

    def _put_together(
        self,
        session: Connection,
        committed: Connection,
        objects: Rows,
        now: Relations,
        before: Relations,
        changed: set[tuple[str, int]],
        living: Set[tuple[str, int]],
    ) -> CatalogEvidence:
        gone = _other_names(committed, changed - living)
        relations = _evidence({oid: entry for oid, entry in now.items() if entry[0] not in self._ignored}, objects)
        others: dict[str, str | None] = dict.fromkeys(gone.values())
        others |= _read_others(session, [oid for _kind, oid in changed & living])
        written = {name for oid, (name, _, version) in now.items() if oid not in before or before[oid][2] != version}
        lost = {name for oid, (name, *_) in before.items() if oid not in now} - self._ignored - relations.keys()
        names_before = {oid: name for oid, (name, *_) in before.items()}
        if self._alone:
            if self._names_committed is None:
                self._names_committed = dict(_READING.read(committed, ("every_relation", ()))[0])
            self._names_now = {oid: name for oid, (name, *_) in now.items()}
            names_before = self._names_committed
        # Renamed: gone under the old name.
        renamed = {names_before.get(oid, name) for oid, (name, *_) in now.items()} - self._ignored - relations.keys()
        return CatalogEvidence(
            relations={**relations, **dict.fromkeys(lost | renamed)},
            others=others,
            written=frozenset() if self._alone else frozenset((written & relations.keys()) | lost),
        )

    def ended(self, *, committed: bool) -> None:
        """The transaction that was read is over."""
        if committed and self._others_now is not None:
            self._others_committed = self._others_now
        if committed and self._names_committed is not None:
            self._names_committed |= self._names_now
        self._others_now, self._names_now = None, {}

    def forget(self) -> None:
        """Something ran that was not read so."""
        self._others_committed = self._others_now = self._names_committed = None

    def _read_before(self, committed: Connection, held: Rows, now: Relations) -> Relations:
        """What was committed of the relations that matter: where alone, of those that are gone."""
        if self._alone:
            oids = sorted(oid for oid, is_there in held if not is_there)
            if not oids:
                return {}
        else:
            oids = sorted({oid for oid, _ in held} | now.keys())
        return _relations_of(_READING.read(committed, ("relations", (oids, [], False, [])))[0])


def read_evidence(session: Connection, names: Iterable[str], *, others: bool) -> CatalogEvidence:
    """What an idle ``session`` sees of these relations (None where there is none), and of all ``others`` if asked."""
    wanted = list(names)
    asked: Parameters = ([], wanted, False, [])
    rows, objects = _READING.read(session, ("relations", asked), ("objects", asked))
    found = _evidence(_relations_of(rows), objects)
    named = _read_others(session, _read_other_oids(session)) if others else {}
    return CatalogEvidence(relations={**dict.fromkeys(wanted), **found}, others=named)


def read_all_evidence(session: Connection, *, ignored: frozenset[str] = frozenset()) -> CatalogEvidence:
    """Everything, for a clone.  Cost: about what reading the schema takes."""
    every = [oid for oid, _name in _READING.read(session, ("every_relation", ()))[0]]
    asked: Parameters = (every, [], False, sorted(ignored))
    rows, objects = _READING.read(session, ("relations", asked), ("objects", asked))
    relations = {oid: entry for oid, entry in _relations_of(rows).items() if entry[0] not in ignored}
    return CatalogEvidence(
        relations=_evidence(relations, objects), others=_read_others(session, _read_other_oids(session))
    )


def evidence_between(before: CatalogEvidence, after: CatalogEvidence) -> CatalogEvidence:
    """Of ``after``, what differs from ``before``; None for what is gone.  Pure."""
    relations = {
        name: after.relations.get(name)
        for name in before.relations.keys() | after.relations.keys()
        if before.relations.get(name) != after.relations.get(name)
    }
    others = {
        name: after.others.get(name)
        for name in before.others.keys() | after.others.keys()
        if before.others.get(name) != after.others.get(name)
    }
    return CatalogEvidence(relations=relations, others=others, written=frozenset(relations))


def compare_evidence(rehearsed: CatalogEvidence, found: CatalogEvidence) -> EvidenceCompared:
    """Production's evidence held against the rehearsal's.  Pure.

    A partition that came or went since is told and no difference: partition managers do that every night.
    """
    differences: list[str] = []
    told: list[str] = []
    for name, wanted in sorted(rehearsed.relations.items()):
        is_there = found.relations.get(name)
        if wanted is None:
            if is_there is not None:
                differences.append(f"{name} is there, and was gone in the rehearsal")
        elif is_there is None:
            if wanted.parent is not None and name not in found.written:
                told.append(f"{name}, a partition of {wanted.parent}, has gone since the rehearsal")
            else:
                differences.append(f"{name} is not there, and was in the rehearsal")
        else:
            differences += _compare_objects(name, wanted, is_there)
    for name in sorted(found.written - rehearsed.relations.keys()):
        is_there = found.relations.get(name)
        if is_there is not None and is_there.parent in rehearsed.relations:
            told.append(f"{name}, a partition of {is_there.parent}, has come since the rehearsal")
        else:
            what = "removed" if is_there is None else "changed"
            differences.append(f"{name} is {what} here, and was not touched in the rehearsal")
    for name in sorted(rehearsed.others.keys() | found.others.keys()):
        if rehearsed.others.get(name) != found.others.get(name):
            differences.append(_describe_other(name, rehearsed.others, found.others))
    return EvidenceCompared(differences=tuple(differences), told=tuple(told))


def _compare_objects(name: str, wanted: RelationEvidence, is_there: RelationEvidence) -> Iterator[str]:
    if WHOLE in wanted.objects:
        is_there = is_there.folded
    for part in sorted(wanted.objects.keys() | is_there.objects.keys()):
        if wanted.objects.get(part) == is_there.objects.get(part):
            continue
        if part not in is_there.objects:
            yield f"{name}: {part} is not there, and was in the rehearsal"
        elif part not in wanted.objects:
            yield f"{name}: {part} is there, and was not in the rehearsal"
        else:
            yield f"{name}: {part} is not as the rehearsal left it"


def _describe_other(name: str, wanted: Mapping[str, str | None], found: Mapping[str, str | None]) -> str:
    if name not in found:
        return f"{name} is not touched here, and was in the rehearsal"
    if name not in wanted:
        return f"{name} is changed here, and was not touched in the rehearsal"
    return f"{name} is not as the rehearsal left it"


# --- reading --------------------------------------------------------------------------------------------


def _relations_of(rows: Rows) -> Relations:
    return {oid: (name, parent, version) for oid, name, parent, version in rows}


def _named_by(objects: Rows) -> Relations:
    """The relations themselves among their objects; of no version, since nobody asks."""
    return {oid: (name, parent, "") for oid, _part, _frame, _text, _plain, name, parent in objects if name is not None}


def _evidence(relations: Relations, rows: Rows) -> dict[str, RelationEvidence]:
    objects: dict[int, dict[str, str]] = defaultdict(dict)
    for oid, part, frame, text, plain, _name, _parent in rows:
        if oid in relations:
            objects[oid][part] = _digest_text(frame, text, plain)
    return {
        name: RelationEvidence(objects=dict(sorted(objects[oid].items())), parent=parent)
        for oid, (name, parent, _version) in relations.items()
    }


def _others_of(rows: Rows) -> Others:
    return {(kind, oid): (version, part) for kind, oid, version, part in rows if kind != READ}


def _differing(one: Others, other: Others) -> set[tuple[str, int]]:
    return {key for key, _ in one.items() ^ other.items()}


def _other_names(session: Connection, keys: set[tuple[str, int]]) -> dict[tuple[str, int], str]:
    if not keys:
        return {}
    (rows,) = _READING.read(session, ("other_names", ([oid for _kind, oid in keys],)))
    return {(kind, oid): name for kind, oid, name in rows if (kind, oid) in keys}


def _read_other_oids(session: Connection) -> list[int]:
    return [oid for _kind, oid in _others_of(_READING.read(session, ("other_versions", EVERY_PART))[0])]


def _read_others(session: Connection, oids: list[int]) -> dict[str, str | None]:
    if not oids:
        return {}
    (rows,) = _READING.read(session, ("others", (oids,)))
    return {name: _digest_text(frame, text, plain) for _kind, _oid, name, frame, text, plain in rows}


@lru_cache(maxsize=16384)  # one relation is read at many commits, and many have the same columns
def _digest_text(frame: str | None, text: str | None, plain: str | None) -> str:
    if text is not None and NULL_OF_A_TYPE.fullmatch(text):
        text = None  # pg_dump writes DEFAULT NULL on a partition whose parent has a default
    if text is not None and frame is not None:
        text = normal_form(text, frame) or text
    return _digest([text, plain])


def _digest(value: Any) -> str:
    return hashlib.sha256(_ENCODER.encode(value).encode()).hexdigest()[:DIGEST_CHARACTERS]
