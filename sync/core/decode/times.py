"""Timestamps, dates and times of day, back from Postgres and from their texts in JSON."""

from __future__ import annotations

import re
import struct

from sync.core.encode.base import INT32, INT64, Reject

_EPOCH_MS = 946_684_800_000
_EPOCH_DAYS = 10_957
_DATE_OFFSET = 2**31
_DAY_US, _DAY_MS = 86_400_000_000, 86_400_000
_DATE = struct.Struct(">I")
_ISO_DATE = r"([+-]?\d{4,9})-(\d\d)-(\d\d)"
_CLOCK = r"(\d\d):(\d\d):(\d\d)\.(\d+)"
_DATE_TEXT = re.compile(_ISO_DATE, re.ASCII)
_CLOCK_TEXT = re.compile(_CLOCK, re.ASCII)
_TIMESTAMP_TEXT = re.compile(f"{_ISO_DATE} {_CLOCK}Z", re.ASCII)


def decode_timestamp(cell: bytes) -> bytes:
    """timestamptz or timestamp (µs since 2000) → timestamp (ms since 1970)."""
    (micros,) = INT64.unpack(cell)
    if micros in (-(2**63), 2**63 - 1):
        raise Reject("an infinite timestamp")
    milliseconds, finer = divmod(micros, 1000)
    if finer:
        raise Reject("a timestamp finer than 1 ms")
    return INT64.pack(milliseconds + _EPOCH_MS)


def decode_expiry(cell: bytes) -> bytes | None:
    """timestamptz → the moment at which a row expires, in whole ms; null for `infinity`."""
    (micros,) = INT64.unpack(cell)
    return None if micros == 2**63 - 1 else INT64.pack(max(micros, -_EPOCH_MS * 1000) // 1000 + _EPOCH_MS)


def decode_date(cell: bytes) -> bytes:
    """date (days since 2000) → date (days, 2³¹ is 1970-01-01)."""
    (days,) = INT32.unpack(cell)
    if days in (-(2**31), 2**31 - 1):
        raise Reject("an infinite date")
    return _DATE.pack(days + _EPOCH_DAYS + _DATE_OFFSET)


def decode_time(cell: bytes) -> bytes:
    """time (µs) → time (ns); Postgres has 24:00 as well."""
    (micros,) = INT64.unpack(cell)
    if not 0 <= micros < _DAY_US:
        raise Reject("24:00, which is not a time of day in the source")
    return INT64.pack(micros * 1000)


def parse_timestamp(text: str) -> bytes:
    """The cell of a timestamp's text in JSON. Raises ValueError; whether the text is in the usual form is not checked."""
    found = _matched(_TIMESTAMP_TEXT, text)
    return INT64.pack(_days(found[:3]) * _DAY_MS + _nanoseconds(found[3:]) // 1_000_000)


def parse_date(text: str) -> bytes:
    """The cell of a date's text in JSON. Raises ValueError, struct.error."""
    return _DATE.pack(_days(_matched(_DATE_TEXT, text)) + _DATE_OFFSET)


def parse_time(text: str) -> bytes:
    """The cell of a time of day's text in JSON. Raises ValueError."""
    return INT64.pack(_nanoseconds(_matched(_CLOCK_TEXT, text)))


def _matched(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    found = pattern.fullmatch(text)
    if found is None:
        raise ValueError("another form")
    return found.groups()


def _nanoseconds(parts: tuple[str, ...]) -> int:
    hours, minutes, seconds = map(int, parts[:3])
    return (hours * 3600 + minutes * 60 + seconds) * 1_000_000_000 + int(parts[3].ljust(9, "0"))


def _days(parts: tuple[str, ...]) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar, for any year.

    Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    """
    year, month, day = map(int, parts)
    era, year_of_era = divmod(year - (month <= 2), 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468
