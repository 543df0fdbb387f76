"""What differs between two schemas, object by object and attribute by attribute.  Pure: it asks no database."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pgrehearse.migrations.secrets import redact
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

ORDER = "column order"  # the one difference that stands at no single column
LONGEST_SHOWN = 400  # characters of two texts beside each other; more is cut down to where they differ
SHOWN_AROUND = 60  # characters before and behind that place
SHOWN_COLUMNS = 4


class Effect(Enum):
    """What happened to an object."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"  # told only where oids persist, see `diff`
    CHANGED = "changed"  # one attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference.  ``before`` and ``after``: an attribute's texts (None: its default), a renamed object's names."""

    kind: ObjectKind
    name: str  # as SQL would write it; of a renamed object the name before
    relation: str | None  # namespace.relation that it belongs to, under its name before where it had one
    effect: Effect
    attribute: str | None = None
    before: str | None = None
    after: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """For the receipt and the JSON answers."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "relation": self.relation,
            "effect": self.effect.value,
            "attribute": self.attribute,
            "before": self._shown(self.before),
            "after": self._shown(self.after),
        }

    def __str__(self) -> str:
        """One line for people."""
        if self.effect is Effect.RENAMED:
            return f"{self.kind.value} {self.name}: renamed to {self.after}"
        if self.effect is Effect.CHANGED:
            before, after = _cut_to_difference(
                self._shown(self.before), self._shown(self.after), is_list=self.attribute == ORDER
            )
            return f"{self.kind.value} {self.name}: {self.attribute} was {before}, is {after}"
        return f"{self.kind.value} {self.name}: {self.effect.value}"

    def _shown(self, text: str | None) -> str | None:
        """A default or a function's body may hold a password, as a statement may; a name is no text."""
        return text if text is None or self.effect is Effect.RENAMED else redact(text, "")


def diff(before: Schema, after: Schema, *, same_oids: bool = False) -> tuple[Change, ...]:
    """Every difference, ordered by kind and name; empty exactly when the fingerprints are equal (on one major version).

    ``same_oids``: ``after`` is the same database later, or a copy of it made by TEMPLATE, so an oid that persists under
    another name is the same object renamed.  Columns of a relation that came or went are not listed one by one.
    Cost: a few µs per object.
    """
    pairs = pair_objects(before, after, same_oids=same_oids)
    came_and_went = {
        one.identity
        for old, new in pairs
        if (old is None or new is None) and (one := old or new) is not None and _has_columns(one)
    }
    changes: list[Change] = []
    for old, new in pairs:
        if old is not None and new is not None:
            changes += _compare(old, new)
        elif (one := old or new) is not None and not (one.kind is ObjectKind.COLUMN and one.relation in came_and_went):
            changes.append(_change(one, Effect.ADDED if old is None else Effect.REMOVED))
    changes += _compare_order(pairs)
    return tuple(sorted(changes, key=lambda change: (change.kind.value, change.name, change.attribute or "")))


Pair = tuple[SchemaObject | None, SchemaObject | None]


def pair_objects(before: Schema, after: Schema, *, same_oids: bool) -> list[Pair]:
    """Each object with what it became; by oid first where oids persist, then by kind, relation and name."""
    pairs: list[Pair] = []
    left = list(before.objects)
    right = {found.key: found for found in after.objects}
    if same_oids:
        # By oid first: after `a` and `b` swapped their names, equal names would pair the wrong ones.
        by_oid = {(found.kind, found.oid, found.number): found for found in after.objects}
        unpaired = []
        for old in left:
            new = by_oid.get((old.kind, old.oid, old.number))
            if new is None:
                unpaired.append(old)
            else:
                pairs.append((old, right.pop(new.key)))
        left = unpaired
    pairs += [(old, right.pop(old.key, None)) for old in left]
    return pairs + [(None, new) for new in right.values()]


def _compare(old: SchemaObject, new: SchemaObject) -> Iterator[Change]:
    # The own name only: when a table is renamed, its columns and constraints are not.
    if old.name != new.name:
        yield _change(old, Effect.RENAMED, "name", old.name, new.name)
    for attribute in sorted({*old.attributes, *new.attributes}):
        if old.compared(attribute) != new.compared(attribute):
            yield _change(old, Effect.CHANGED, attribute, old.attributes.get(attribute), new.attributes.get(attribute))


def _compare_order(pairs: list[Pair]) -> Iterator[Change]:
    relations = {old.identity: old for old, new in pairs if old is not None and new is not None and _has_columns(old)}
    columns: dict[str, list[tuple[int, int, str, str]]] = defaultdict(list)
    for old, new in pairs:
        if old is not None and new is not None and old.kind is ObjectKind.COLUMN and old.relation is not None:
            columns[old.relation].append((old.position or 0, new.position or 0, old.name, new.name))
    for relation, both in columns.items():
        was, now = sorted(both), sorted(both, key=lambda pair: pair[1])
        if was != now and relation in relations:
            yield _change(
                relations[relation],
                Effect.CHANGED,
                ORDER,
                ", ".join(pair[2] for pair in was),
                ", ".join(pair[3] for pair in now),
            )


def _has_columns(found: SchemaObject) -> bool:
    return found.kind in (ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE, ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW)


def _change(
    found: SchemaObject,
    effect: Effect,
    attribute: str | None = None,
    before: str | None = None,
    after: str | None = None,
) -> Change:
    return Change(
        kind=found.kind,
        name=found.identity,
        relation=found.relation,
        effect=effect,
        attribute=attribute,
        before=before,
        after=after,
    )


def _cut_to_difference(before: str | None, after: str | None, *, is_list: bool) -> tuple[str, str]:
    """Both texts for people, whole where they are short; of long ones the place where they begin to differ."""
    if before is None or after is None or len(before) + len(after) <= LONGEST_SHOWN:
        return _text(before), _text(after)
    if is_list:
        was, now = before.split(", "), after.split(", ")
        first = _find_difference(was, now)
        return _list_from(was, first), _list_from(now, first)
    place = _find_difference(before, after)
    return _around(before, place), _around(after, place)


def _find_difference(one: Sequence[str], other: Sequence[str]) -> int:
    return next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)


def _list_from(names: Sequence[str], first: int) -> str:
    shown = ", ".join(names[first : first + SHOWN_COLUMNS])
    return f"`{shown}, …` from number {first + 1} of {len(names):,} on"


def _around(text: str, place: int) -> str:
    start, end = max(place - SHOWN_AROUND, 0), place + SHOWN_AROUND
    shown = f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
    return f"`{shown}` ({len(text):,} characters)"


def _text(value: str | None) -> str:
    if value is not None and len(value) > LONGEST_SHOWN:
        return _around(value, 0)
    return "not set" if value is None else f"`{value}`"
