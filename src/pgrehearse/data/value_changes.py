"""What kind of change made one value another: judged by the two texts and the two types, value by value.

Pure.  The texts are those that PostgreSQL prints under the settings of `session` (ISO dates in UTC, shortest exact
floats).  A kind is given only where the texts prove it; everything else is `ChangeKind.CHANGED`.  Texts may be cut at
`COMPARED`: what then cannot be told apart is no kind but `CHANGED`.
"""

import enum
import json
import re
import struct
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from pgrehearse.data.columns import FLOAT4, FLOATS, JSON, JSONB, STRINGS
from pgrehearse.data.tables import Type

COMPARED = 1000  # characters of a value that are looked at
NUMBERS, TIMES = "N", "D"  # pg_type.typcategory
BPCHAR, DATE_OID, TIMESTAMP, TIMESTAMPTZ = 1042, 1082, 1114, 1184
ZONES_APART = timedelta(hours=26)  # -12 to +14
SINGLE_DIGITS, DOUBLE_DIGITS = 6, 15  # FLT_DIG, DBL_DIG: what a cast of a float to numeric keeps


class ChangeKind(enum.Enum):
    """How a value came to differ.  `CHANGED`, `BECAME_NULL` and `NULL_FILLED` do not need both values' texts."""

    FRACTION_LOST = "fraction-lost"
    ROUNDED = "rounded"
    FLOAT_ROUNDED = "float-rounded"
    SAME_NUMBER = "same-number"  # 1.0 and 1.00, -0 and 0, '007' and 7
    TRUNCATED = "truncated"
    TRAILING_BLANKS_LOST = "trailing-blanks-lost"
    BLANKS_TRIMMED = "blanks-trimmed"
    EMPTIED = "emptied"
    CASE_FOLDED = "case-folded"
    NORMALISED = "normalised"
    TIME_ZONE_SHIFT = "time-zone-shift"
    TIME_OF_DAY_LOST = "time-of-day-lost"
    DUPLICATE_KEYS_LOST = "duplicate-keys-lost"
    CHANGED = "changed"
    BECAME_NULL = "became-null"
    NULL_FILLED = "null-filled"
    TEXT_NORMALISED = "text-normalised"  # json to jsonb: another text of the same content

    @property
    def phrase(self) -> str:
        """What the values did: ``2,310 of 48,112 values lost their fraction``."""
        return PHRASES[self.value]


PHRASES = {
    "fraction-lost": "lost their fraction",
    "rounded": "were rounded",
    "float-rounded": "were rounded as floating point",
    "same-number": "are the same number, written otherwise",
    "truncated": "were cut off",
    "trailing-blanks-lost": "lost trailing blanks",
    "blanks-trimmed": "lost surrounding blanks",
    "emptied": "became empty strings",
    "case-folded": "changed between upper and lower case",
    "normalised": "were normalised as Unicode",
    "time-zone-shift": "were shifted by a time zone",
    "time-of-day-lost": "lost their time of day",
    "duplicate-keys-lost": "lost duplicate keys",
    "changed": "are other values",
    "became-null": "became NULL",
    "null-filled": "were NULL and are filled in",
    "text-normalised": "lost the white space and order of their text, and no content",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeExample:
    """The first value of a kind; read only when samples were asked for, personal values masked."""

    key: dict[str, str | None]
    before: str | None
    after: str | None

    def as_json(self) -> dict[str, Any]:
        return {"key": self.key, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueChange:
    """How many values of one column changed in one way."""

    kind: ChangeKind
    values: int
    example: ChangeExample | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "values": self.values,
            "example": self.example.as_json() if self.example else None,
        }


def kind_of_change(old: str | None, new: str | None, before: Type | None, after: Type | None) -> ChangeKind:
    """The kind of one changed value.  ``before`` and ``after`` are the types without their domains."""
    if new is None:
        return ChangeKind.BECAME_NULL
    if old is None:
        return ChangeKind.NULL_FILLED
    if before is None or after is None:
        return ChangeKind.CHANGED
    if (before.oid, after.oid) == (JSON, JSONB):
        return _json_change(old, new)
    categories = {before.category, after.category}
    if categories <= {NUMBERS, STRINGS} and NUMBERS in categories:
        return _number_change(old, new, before, after)
    if categories == {STRINGS}:
        # char(n) prints blanks that no comparison sees.
        return _text_change(old, new.rstrip(" ") if after.oid == BPCHAR else new)
    if categories == {TIMES}:
        return _time_change(old, new, before, after)
    return ChangeKind.CHANGED


def _number_change(old: str, new: str, before: Type, after: Type) -> ChangeKind:
    try:
        was, now = Decimal(old.strip()), Decimal(new.strip())
    except InvalidOperation:
        return ChangeKind.CHANGED
    if not (was.is_finite() and now.is_finite()):
        return ChangeKind.CHANGED
    if before.oid != after.oid and _is_float_of(was, now, before, after):
        return ChangeKind.FLOAT_ROUNDED  # 0.1 prints alike as double precision and as real, and is another value
    if was == now:
        return ChangeKind.SAME_NUMBER
    digits = _digits(new)
    if digits >= _digits(old):
        return ChangeKind.CHANGED
    if abs(was - now) >= Decimal(1).scaleb(-digits):
        return ChangeKind.CHANGED
    return ChangeKind.ROUNDED if digits else ChangeKind.FRACTION_LOST


def _digits(text: str) -> int:
    exponent = Decimal(text.strip()).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _is_float_of(was: Decimal, now: Decimal, before: Type, after: Type) -> bool:
    """Whether one is what the other becomes in binary floating point, or comes from it."""
    if after.oid in FLOATS:
        return _single(was) == _single(now) if after.oid == FLOAT4 else float(was) == float(now)
    if before.oid in FLOATS:
        digits = SINGLE_DIGITS if before.oid == FLOAT4 else DOUBLE_DIGITS
        return Decimal(f"{float(was):.{digits}g}") == now
    return False


def _single(value: Decimal) -> bytes | None:
    try:
        return struct.pack("f", float(value))
    except OverflowError:
        return None


def _text_change(old: str, new: str) -> ChangeKind:
    whole = len(old) < COMPARED and len(new) < COMPARED
    holds = (
        (whole and new == old.rstrip(" "), ChangeKind.TRAILING_BLANKS_LOST),
        (not new, ChangeKind.EMPTIED),
        (whole and new == old.strip(), ChangeKind.BLANKS_TRIMMED),
        (len(new) < COMPARED and len(new) < len(old) and old.startswith(new), ChangeKind.TRUNCATED),
        (whole and old.casefold() == new.casefold(), ChangeKind.CASE_FOLDED),
        (whole and _composed(old) == _composed(new), ChangeKind.NORMALISED),
    )
    return next((kind for held, kind in holds if held), ChangeKind.CHANGED)


def _json_change(old: str, new: str) -> ChangeKind:
    if len(old) >= COMPARED or len(new) >= COMPARED:
        return ChangeKind.CHANGED
    try:
        if _content(old, last_of_equal=False) == _content(new, last_of_equal=False):
            return ChangeKind.TEXT_NORMALISED
        if _content(old, last_of_equal=True) == _content(new, last_of_equal=True):
            return ChangeKind.DUPLICATE_KEYS_LOST
    except (ValueError, RecursionError):  # a number beyond Decimal's range, or deeper than Python goes
        pass
    return ChangeKind.CHANGED


def _content(text: str, *, last_of_equal: bool) -> object:
    """What a json holds, whatever its white space, order of keys and spelling of numbers."""

    def number(digits: str) -> object:
        return "number", Decimal(digits)  # Python takes true for 1

    def members(pairs: list[tuple[str, object]]) -> object:
        kept = list(dict(pairs).items()) if last_of_equal else pairs
        return "object", sorted(kept, key=lambda pair: pair[0])

    return json.loads(text, parse_int=number, parse_float=number, object_pairs_hook=members)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


MOMENT = re.compile(r"(?:(?P<date>\d{4}-\d\d-\d\d))?(?: ?(?P<time>\d\d:\d\d:\d\d(?:\.\d+)?))?(?:\+00)?")


def _time_change(old: str, new: str, before: Type, after: Type) -> ChangeKind:
    was, now = MOMENT.fullmatch(old), MOMENT.fullmatch(new)
    if was is None or now is None or bool(was["date"]) != bool(now["date"]):
        return ChangeKind.CHANGED
    try:
        apart = abs(_moment(was) - _moment(now))
    except ValueError:  # 24:00:00
        return ChangeKind.CHANGED
    if was["date"] and was["time"] and _is_midnight(now["time"]) and not _is_midnight(was["time"]):
        same_day = was["date"] == now["date"]
        if same_day or (after.oid == DATE_OID and apart < timedelta(days=1) + ZONES_APART / 2):
            return ChangeKind.TIME_OF_DAY_LOST
    if _crosses_zones(before, after) and apart <= ZONES_APART and apart.microseconds == 0:
        return ChangeKind.TIME_ZONE_SHIFT
    if apart < timedelta(seconds=1) and _fraction(now["time"]) < _fraction(was["time"]):
        return ChangeKind.ROUNDED
    return ChangeKind.CHANGED


def _moment(found: re.Match[str]) -> datetime:
    date, time = found["date"] or "2000-01-01", found["time"] or "00:00:00"
    return datetime.fromisoformat(f"{date} {time[:15].ljust(15, '0') if '.' in time else time}")  # noqa: DTZ007, RUF100


def _is_midnight(time: str | None) -> bool:
    return time is None or time == "00:00:00"


def _fraction(time: str | None) -> int:
    return len(time.partition(".")[2]) if time else 0


def _crosses_zones(before: Type, after: Type) -> bool:
    return (before.oid == TIMESTAMPTZ) != (after.oid == TIMESTAMPTZ) and {before.oid, after.oid} <= {
        DATE_OID, TIMESTAMP, TIMESTAMPTZ
    }  # fmt: skip
