"""How a column's values are read so that equal hashes mean equal values, before and after a change of type.

Two values are the same when PostgreSQL prints the same text for them under the pinned settings of
`session`.  Native hash functions stand in for the text only where they distinguish as much; these don't:

* ``jsonb_hash_extended`` (elements 32 or 64 apart may be swapped), ``hash_numeric_extended`` (neither sign nor
  scale), ``hashfloat8extended`` (-0 and 0), ``interval_hash_extended`` ('1 mon' = '30 days'), ``hash_array_extended``
  (bounds), ``hashbpcharextended`` (trailing blanks): their types go through text;
* ``hashint8extended`` folds the two halves of a bigint into 32 bits (1 and 2^32 hash alike): the upper half goes
  into the seed; times, hashed by the same function, are hashed as the bytes that their send functions give, at half
  the cost of their text, and so are addresses;
* strings are hashed under COLLATE "C", since a nondeterministic collation hashes different strings alike.

After a change of type a value is cast back to the old type and compared as text.  A cast back may itself
round or cut (numeric to integer, timestamptz to date): within a category of types the value must also
survive the way there and back, or it counts as changed.  Integers, numerics and strings are compared
without a cast, which could overflow or cut.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from psycopg import sql

from pgrehearse.data.tables import Attribute, Column, Type

Expression = sql.Composable

BOOL, BYTEA, INT8, INT2, INT4, OID, JSON = 16, 17, 20, 21, 23, 26, 114
DATE, UUID, NUMERIC, JSONB = 1082, 2950, 1700, 3802
FLOAT4, FLOAT8 = 700, 701
INTEGERS = frozenset({INT2, INT4, INT8})
EXACT_NUMBERS = INTEGERS | {NUMERIC}
FLOATS = frozenset({FLOAT4, FLOAT8})
STRINGS = "S"  # pg_type.typcategory
GUARDED_CATEGORIES = frozenset("NDTVAI")  # where a cast back may round or cut without an error
FIRST_USER_OID = 16384


class Hashing(enum.Enum):
    """Which hash function reads a column."""

    BOOL = "bool"
    INT4 = "int4"
    INT8 = "int8"
    OID = "oid"
    UUID = "uuid"
    ENUM = "enum"
    DATE = "date"
    BYTEA = "bytea"
    FLOAT4 = "float4"
    FLOAT8 = "float8"
    TEXT = "text"


NATIVE = {
    BOOL: (Hashing.BOOL, "pg_catalog.bool"),
    INT2: (Hashing.INT4, "pg_catalog.int4"),
    INT4: (Hashing.INT4, "pg_catalog.int4"),
    INT8: (Hashing.INT8, "pg_catalog.int8"),
    OID: (Hashing.OID, "pg_catalog.oid"),
    UUID: (Hashing.UUID, "pg_catalog.uuid"),
    DATE: (Hashing.DATE, "pg_catalog.date"),
    BYTEA: (Hashing.BYTEA, "pg_catalog.bytea"),
}

# Native, but for what they cannot tell apart; no stored number is made with these.
FLOAT_HASHING = {
    FLOAT4: (Hashing.FLOAT4, "pg_catalog.float4"),
    FLOAT8: (Hashing.FLOAT8, "pg_catalog.float8"),
}
# Types that print slowly, and whose send function tells exactly as much apart as their text.
SENDERS = {
    1083: "pg_catalog.time_send(({v})::pg_catalog.time)",
    1114: "pg_catalog.timestamp_send(({v})::pg_catalog.timestamp)",
    1184: "pg_catalog.timestamptz_send(({v})::pg_catalog.timestamptz)",
    1186: "pg_catalog.interval_send(({v})::pg_catalog.interval)",
    1266: "pg_catalog.timetz_send(({v})::pg_catalog.timetz)",
    650: "pg_catalog.cidr_send(({v})::pg_catalog.cidr)",
    869: "pg_catalog.inet_send(({v})::pg_catalog.inet)",
    829: "pg_catalog.macaddr_send(({v})::pg_catalog.macaddr)",
}
# What these hold is an oid; they print the name that its bearer has now.  A bare number: nothing bears it any more.
NAMED_OIDS = frozenset({24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191})  # regproc … regcollation
NAMED_OID = (
    "pg_catalog.concat(CASE WHEN (({v})::pg_catalog.text) OPERATOR(pg_catalog.~) '^[0-9]+$' THEN 'none ' END,"
    " ({v})::pg_catalog.oid)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How to read one column on the two sides: SQL that is NULL exactly where the value is."""

    hashing: Hashing
    before: Callable[[Expression], Expression]
    after: Callable[[Expression], Expression]
    casts: bool  # ``after`` casts values, which may fail while they are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Why the values of a column cannot be compared."""

    reason: str


def hash_of(hashing: Hashing, value: Expression, seed: Expression) -> Expression:
    """SQL for the 64-bit hash of a value that a `Reading` gives; NULL for NULL.

    The seed enters the hash itself and is never added to it: (1, 2) and (2, 1) must differ.
    """
    match hashing:
        case Hashing.BOOL:
            template = "pg_catalog.hashint4extended(({v})::pg_catalog.int4, {s})"
        case Hashing.INT4:
            template = "pg_catalog.hashint4extended({v}, {s})"
        case Hashing.INT8:
            template = (
                "pg_catalog.hashint8extended({v}, pg_catalog.hashint4extended((({v}) >> 32)::pg_catalog.int4, {s}))"
            )
        case Hashing.OID:
            template = "pg_catalog.hashoidextended({v}, {s})"
        case Hashing.UUID:
            template = "pg_catalog.uuid_hash_extended({v}, {s})"
        case Hashing.ENUM:
            template = "pg_catalog.hashenumextended({v}, {s})"
        case Hashing.DATE:  # a date has a hash function of its own only since 16; infinity has no day number
            template = (
                "CASE WHEN pg_catalog.isfinite({v}) THEN pg_catalog.hashint4extended(({v}) - date '2000-01-01', {s})"
                ' ELSE pg_catalog.hashtextextended((({v})::pg_catalog.text) COLLATE pg_catalog."C", {s}) END'
            )
        case Hashing.BYTEA:  # before 18 only a record's hash reaches it from SQL, and that is never NULL itself
            template = (
                "CASE WHEN ({v}) IS DISTINCT FROM NULL THEN pg_catalog.hash_record_extended(ROW({v}), {s}) END"
            )  # fmt: skip
        case Hashing.FLOAT4 | Hashing.FLOAT8:  # natively -0 is 0
            template = (
                'CASE WHEN ({v}) = 0 THEN pg_catalog.hashtextextended((({v})::pg_catalog.text) COLLATE pg_catalog."C", '
                f"{{s}}) ELSE pg_catalog.hash{hashing.value}extended({{v}}, {{s}}) END"
            )
        case Hashing.TEXT:
            template = 'pg_catalog.hashtextextended(({v}) COLLATE pg_catalog."C", {s})'
    return sql.SQL(template).format(v=value, s=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypePair:
    """The types of both databases, to decide how a column is compared.

    ``spell(oid, typmod)`` gives the name of a type of the *clone* as SQL reads it; ``castable(from, to)``
    asks the clone whether a cast exists, both given as such names.
    """

    before: dict[int, Type]
    after: dict[int, Type]
    spell: Callable[[int, int], str]
    castable: Callable[[str, str], bool]

    def reading(self, before: Column, after: Column) -> Reading | Unreadable:
        """How to compare a column whose type may have changed."""
        return self._reading(before.type_oid, before.typmod, after.type_oid, after.typmod)

    def without_domains(self, column: Column, *, after: bool) -> Type:
        """The type that the column's values have in the end."""
        return _without_domains(self.after if after else self.before, column.type_oid, column.typmod)[0]

    def _reading(self, old_oid: int, old_typmod: int, new_oid: int, new_typmod: int) -> Reading | Unreadable:
        old, old_typmod = _without_domains(self.before, old_oid, old_typmod)
        new, new_typmod = _without_domains(self.after, new_oid, new_typmod)
        if old.oid == new.oid:
            if old.kind == "e":
                if _exchanges_labels(old, new):
                    return Reading(hashing=Hashing.TEXT, before=_renamed(old, new), after=_to_text, casts=False)
                # By pg_enum.oid, which TEMPLATE keeps: a renamed label is the same value.
                # The cast takes a domain off; the type itself may have been renamed.
                return Reading(hashing=Hashing.ENUM, before=_cast_to(old.name), after=_cast_to(new.name), casts=False)
            if not self._same_inside(old.oid, new.oid):
                if old.kind == "c":
                    return self._composite(old, new)
                if self._is_labels(self.before, old):
                    return self._label_array(old, new)
                return Unreadable(reason=f"the parts of type {old.name} were changed")
            if old_typmod == new_typmod:
                return _native(old)
        return self._retyped(old, old_typmod, new, new_typmod)

    def _retyped(self, old: Type, old_typmod: int, new: Type, new_typmod: int) -> Reading | Unreadable:
        if old.oid in EXACT_NUMBERS and new.oid in EXACT_NUMBERS:
            return self._exact_numbers(old, old_typmod, new)
        if old.category == STRINGS and new.category == STRINGS:
            return Reading(hashing=Hashing.TEXT, before=_to_text, after=_to_text, casts=False)
        if self._is_labels(self.before, old) and (self._is_labels(self.after, new) or new.category == STRINGS):
            return Reading(hashing=Hashing.TEXT, before=_relabelled(old, new), after=_printer(new), casts=False)
        if (wrapped := self._wrapped(old, new)) is not None:
            return wrapped
        if old.oid not in self.after:
            if self._shape(self.before, old.oid) == self._shape(self.after, new.oid):
                return Reading(hashing=Hashing.TEXT, before=_printer(old), after=_printer(new), casts=False)
            return Unreadable(reason=f"type {old.name} does not exist any more, so values cannot be cast back to it")
        old_name, new_name = self.spell(old.oid, old_typmod), self.spell(new.oid, new_typmod)
        if not self.castable(new_name, old_name):
            return Unreadable(reason=f"there is no cast from {new_name} back to {old_name}")
        return Reading(
            hashing=Hashing.TEXT,
            before=_printer(old),
            after=_cast_back(old, old_name, new, new_name),
            casts=True,
        )

    def _wrapped(self, old: Type, new: Type) -> Reading | None:
        """An array that became one value, or a value that became an array: equal where it was, or is, the only element.

        Each printed by its own type, for a cast would round or cut; a cast back would read a text as an array's.
        """
        if old.oid >= FIRST_USER_OID or new.oid >= FIRST_USER_OID or bool(old.element_oid) == bool(new.element_oid):
            return None
        scalar = new if old.element_oid else old
        if scalar.oid in (JSON, JSONB):  # no element of an array became it, but perhaps the array
            return None
        wrapped = "(ARRAY[{v}])::pg_catalog.text"
        if scalar.category == STRINGS:  # what a cast makes of an array, or an array of: the whole array
            wrapped = (
                "CASE WHEN pg_catalog.left(({v})::pg_catalog.text, 1) = '{{' AND"
                " pg_catalog.right(({v})::pg_catalog.text, 1) = '}}' THEN ({v})::pg_catalog.text ELSE "
                + wrapped
                + " END"
            )
        wrap = _template("CASE WHEN ({v}) IS DISTINCT FROM NULL THEN " + wrapped + " END")
        before, after = (_to_text, wrap) if old.element_oid else (wrap, _to_text)
        return Reading(hashing=Hashing.TEXT, before=before, after=after, casts=False)

    def _exact_numbers(self, old: Type, old_typmod: int, new: Type) -> Reading:
        """Integers and numerics of the old scale; a plain numeric's own scale counts until a type sets one."""
        if old.oid in INTEGERS and new.oid in INTEGERS:
            widen = _cast_to("pg_catalog.int8")
            return Reading(hashing=Hashing.INT8, before=widen, after=widen, casts=False)
        if old.oid == NUMERIC and old_typmod < 0:
            template = "pg_catalog.trim_scale(({v})::pg_catalog.numeric)::pg_catalog.text"
            trim = _template(template)
            return Reading(hashing=Hashing.TEXT, before=trim, after=trim, casts=False)
        scale = 0 if old.oid in INTEGERS else _scale(old_typmod)

        def of_scale(value: Expression) -> Expression:
            return sql.SQL(
                "(CASE WHEN pg_catalog.round(({v})::pg_catalog.numeric, {scale}) = ({v})::pg_catalog.numeric"
                " THEN pg_catalog.round(({v})::pg_catalog.numeric, {scale})"
                " ELSE ({v})::pg_catalog.numeric END)::pg_catalog.text"
            ).format(v=value, scale=sql.Literal(scale))

        # Both ways alike: a negative scale prints as 0.
        return Reading(hashing=Hashing.TEXT, before=of_scale, after=of_scale, casts=False)

    def _composite(self, old: Type, new: Type) -> Reading | Unreadable:
        """ALTER TYPE … ADD, DROP, ALTER ATTRIBUTE: the old attributes, one by one; a dropped one reads as NULL."""
        pairs: list[tuple[Attribute, Attribute | None, Reading | None]] = []
        casts = False
        for attribute in old.attributes:
            kept = next((other for other in new.attributes if other.number == attribute.number), None)
            if kept is None:
                pairs.append((attribute, None, None))
                continue
            reading = self._reading(attribute.type_oid, attribute.typmod, kept.type_oid, kept.typmod)
            if isinstance(reading, Unreadable):
                return Unreadable(reason=f"attribute {attribute.name} of type {old.name}: {reading.reason}")
            casts = casts or reading.casts
            pairs.append((attribute, kept, reading))

        def row(fields: list[Expression], value: Expression) -> Expression:
            return sql.SQL("CASE WHEN ({v}) IS DISTINCT FROM NULL THEN pg_catalog.concat(ROW({fields})) END").format(
                v=value, fields=sql.SQL(", ").join(fields)
            )

        def attribute_of(value: Expression, attribute: Attribute) -> Expression:
            return sql.SQL("(({}).{})").format(value, sql.Identifier(attribute.name))

        def before(value: Expression) -> Expression:
            fields = [
                _printed(reading.hashing, reading.before(attribute_of(value, attribute)))
                if reading
                else _to_text(attribute_of(value, attribute))
                for attribute, _, reading in pairs
            ]
            return row(fields, value)

        def after(value: Expression) -> Expression:
            fields = [
                _printed(reading.hashing, reading.after(attribute_of(value, kept)))
                if kept and reading
                else sql.SQL("NULL::pg_catalog.text")
                for _, kept, reading in pairs
            ]
            return row(fields, value)

        return Reading(hashing=Hashing.TEXT, before=before, after=after, casts=casts)

    def _label_array(self, old: Type, new: Type) -> Reading:
        """An array of an enum some of whose labels were renamed, or exchanged; `array_replace` keeps its bounds."""
        renames = _label_renames(
            _without_domains(self.before, old.element_oid, -1)[0], _without_domains(self.after, new.element_oid, -1)[0]
        )
        texts = _cast_to("pg_catalog.text[]")

        def before(value: Expression) -> Expression:
            read = texts(value)
            for was, now in renames.items():
                read = sql.SQL("pg_catalog.array_replace({}, {}, {})").format(read, _label(was), _label(now))
            return _to_text(read)

        return Reading(hashing=Hashing.TEXT, before=before, after=lambda value: _to_text(texts(value)), casts=False)

    def _same_inside(self, old_oid: int, new_oid: int) -> bool:
        return old_oid < FIRST_USER_OID or self._inside(self.before, old_oid) == self._inside(self.after, new_oid)

    def _inside(self, types: dict[int, Type], oid: int) -> object:
        """What decides how a value prints; labels that were only added don't."""
        if oid not in types or (oid < FIRST_USER_OID and not types[oid].element_oid >= FIRST_USER_OID):
            return oid
        found = types[oid]
        common = {label for label, _ in found.labels}
        other = self.after if types is self.before else self.before
        if oid in other:
            common &= {label for label, _ in other[oid].labels}
        return (
            oid,
            tuple((number, label) for number, label in found.labels if number in common),
            tuple((part.number, self._inside(types, part.type_oid), part.typmod) for part in found.attributes),
            [self._inside(types, part) for part in (found.base_oid, found.element_oid, found.subtype_oid) if part],
        )

    def _shape(self, types: dict[int, Type], oid: int) -> object:
        """What a type is made of, whatever its oid and name: equal shapes print equal values alike."""
        found = types.get(oid)
        if found is None or (oid < FIRST_USER_OID and not found.element_oid and not found.subtype_oid):
            return oid
        return (
            found.kind if oid >= FIRST_USER_OID else oid,
            found.name if oid >= FIRST_USER_OID and found.kind == "b" and not found.element_oid else None,
            bool(found.labels),  # a value's label tells it apart, whatever other labels there are
            tuple((part.name, self._shape(types, part.type_oid), part.typmod) for part in found.attributes),
            [self._shape(types, part) for part in (found.base_oid, found.element_oid, found.subtype_oid) if part],
        )

    def _is_labels(self, types: dict[int, Type], found: Type) -> bool:
        element = _without_domains(types, found.element_oid, -1)[0] if found.element_oid in types else None
        return found.kind == "e" or (element is not None and element.kind == "e")


def _without_domains(types: dict[int, Type], oid: int, typmod: int) -> tuple[Type, int]:
    found = types[oid]
    while found.kind == "d":
        typmod = found.base_typmod
        found = types[found.base_oid]
    return found, typmod


def _native(found: Type) -> Reading:
    if found.oid in NATIVE:
        hashing, type_name = NATIVE[found.oid]
        return _same(hashing, _cast_to(type_name))  # the cast takes a domain off
    if found.oid in FLOAT_HASHING:
        hashing, type_name = FLOAT_HASHING[found.oid]
        return _same(hashing, _cast_to(type_name))
    if found.oid in SENDERS:
        return _same(Hashing.TEXT, _template("pg_catalog.encode(" + SENDERS[found.oid] + ", 'hex')"))
    if found.oid in NAMED_OIDS:
        return _same(Hashing.TEXT, _template("CASE WHEN ({v}) IS DISTINCT FROM NULL THEN " + NAMED_OID + " END"))
    return _same(Hashing.TEXT, _printer(found))


def _same(hashing: Hashing, read: Callable[[Expression], Expression]) -> Reading:
    return Reading(hashing=hashing, before=read, after=read, casts=False)


def _template(text: str) -> Callable[[Expression], Expression]:
    return lambda value: sql.SQL(text).format(v=value)


def _cast_to(type_name: str) -> Callable[[Expression], Expression]:
    """``type_name`` comes from format_type(), which quotes."""
    return lambda value: sql.SQL("({})::{}").format(value, sql.SQL(type_name))


def _to_text(value: Expression) -> Expression:
    return sql.SQL("({})::pg_catalog.text").format(value)


def _output(value: Expression) -> Expression:
    """The output function's text: casting char(n) to text strips blanks, inet gains a netmask."""
    return sql.SQL("CASE WHEN ({v}) IS DISTINCT FROM NULL THEN pg_catalog.concat({v}) END").format(v=value)


def _printer(found: Type) -> Callable[[Expression], Expression]:
    return _output if found.has_text_function else _to_text


def _label_renames(old: Type, new: Type) -> dict[str, str]:
    """The labels of one enum that became others, which it did not have before."""
    now, known = dict(new.labels), {label for _, label in old.labels}
    return {
        label: now[oid] for oid, label in old.labels if oid in now and now[oid] != label and now[oid] not in known
    }  # fmt: skip


def _exchanges_labels(old: Type, new: Type) -> bool:
    """Whether a value bears a label now that another one bore: whoever asks for it gets other rows."""
    was = {label: oid for oid, label in old.labels}
    return any(was.get(label, oid) != oid for oid, label in new.labels)


def _renamed(old: Type, new: Type) -> Callable[[Expression], Expression]:
    """Values of an enum by the labels that those have now which took no other's."""
    renames = _label_renames(old, new)
    return lambda value: _with_labels(_to_text(value), renames)


def _with_labels(text: Expression, renames: Mapping[str, str]) -> Expression:
    if not renames:
        return text
    whens = sql.SQL(" ").join(
        sql.SQL("WHEN {} THEN {}").format(sql.Literal(was), sql.Literal(now)) for was, now in renames.items()
    )
    return sql.SQL("CASE {text} {whens} ELSE {text} END").format(text=text, whens=whens)


def _label(text: str) -> Expression:
    return sql.SQL("{}::pg_catalog.text").format(sql.Literal(text))


def _relabelled(old: Type, new: Type) -> Callable[[Expression], Expression]:
    """Values of an enum as another one spells them: as many labels as are gone have come, each in its place.

    One to one, so what is equal then has lost nothing; any other mapping of the migration's differs.
    """
    known, kept = {label for _, label in old.labels}, {label for _, label in new.labels}
    gone = [label for _, label in old.labels if label not in kept]
    come = [label for _, label in new.labels if label not in known]
    if not gone or len(gone) != len(come):
        return _printer(old)
    renames = dict(zip(gone, come, strict=True))
    return lambda value: _with_labels(_printer(old)(value), renames)


def _printed(hashing: Hashing, value: Expression) -> Expression:
    if hashing is Hashing.TEXT:
        return value
    if hashing is Hashing.ENUM:
        return sql.SQL("pg_catalog.hashenumextended({}, 0)::pg_catalog.text").format(value)
    return _to_text(value)


def _cast_back(old: Type, old_name: str, new: Type, new_name: str) -> Callable[[Expression], Expression]:
    guarded = old.category == new.category and old.category in GUARDED_CATEGORIES
    guarded = guarded and not (old.oid in FLOATS and new.oid in FLOATS)

    def after(value: Expression) -> Expression:
        back = _cast_to(old_name)(value)
        if not guarded:
            return _printer(old)(back)
        return sql.SQL(
            'CASE WHEN ({there}) COLLATE pg_catalog."C" = ({here}) COLLATE pg_catalog."C"'
            " THEN {back} ELSE pg_catalog.concat('beyond the old type: ', {here}) END"
        ).format(
            there=_printer(new)(_cast_to(new_name)(back)),
            here=_printer(new)(value),
            back=_printer(old)(back),
        )

    def null_kept(value: Expression) -> Expression:
        return sql.SQL("CASE WHEN ({v}) IS DISTINCT FROM NULL THEN {text} END").format(v=value, text=after(value))

    return null_kept if guarded else after


def _scale(typmod: int) -> int:
    """numeric_typmod_scale() of PostgreSQL's numeric.c: eleven bits, signed since 15."""
    return (((typmod - 4) & 0x7FF) ^ 1024) - 1024
