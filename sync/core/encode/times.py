"""Timestamps, dates and times of day: Cassandra counts from 1970, Postgres from 2000."""

from __future__ import annotations

from sync.core.encode.base import INT32, INT64, Encode, Reject
from sync.core.rows import PgType

_EPOCH_MS = 946_684_800_000
_EPOCH_DAYS = 10_957
_DATE_OFFSET = 2**31
# Postgres's datetime/timestamp.h and date.h: 4714-11-24 BC up to, not including, 294277-01-01 and 5874898-01-01.
_MIN_TIMESTAMP, _END_TIMESTAMP = -211_813_488_000_000_000, 9_223_371_331_200_000_000
_MIN_DATE, _END_DATE = -2_451_545, 2_145_031_949
_DAY_NS = 86_400_000_000_000


def timestamp(pg: PgType) -> Encode:
    """timestamp (ms since 1970) → timestamptz or timestamp (µs since 2000)."""
    step = 10 ** (6 - pg.typmod) if 0 <= pg.typmod < 3 else 1
    unpack, pack = INT64.unpack, INT64.pack

    def encode(cell: bytes) -> bytes:
        micros = (unpack(cell)[0] - _EPOCH_MS) * 1000
        if not _MIN_TIMESTAMP <= micros < _END_TIMESTAMP:
            raise Reject("a timestamp outside Postgres's range (4714 BC to 294276 AD)")
        if micros % step:
            raise Reject(f"a timestamp finer than {pg}")
        return pack(micros)

    return encode


MIXED, KEY_ALONE = b"\x01", b"\x02"
"""Cells in place of a moment at which a row expires."""
_UNKNOWN = {
    MIXED: "its cells expire at different times, which a row of Postgres cannot: write it again as a whole",
    KEY_ALONE: "it has no value besides its key: Cassandra does not report when such a row expires",
}


def expiry(pg: PgType) -> Encode:
    """The moment at which a row expires (ms since 1970) → timestamptz."""
    encode = timestamp(pg)
    return lambda cell: encode(cell) if cell not in _UNKNOWN else _reject(_UNKNOWN[cell])


def _reject(why: str) -> bytes:
    raise Reject(why)


def encode_date(cell: bytes) -> bytes:
    """date (days, 2³¹ is 1970-01-01) → date (days since 2000)."""
    days = int.from_bytes(cell, "big") - _DATE_OFFSET - _EPOCH_DAYS
    # Checked here, not by Postgres: two values of the wire format mean ±infinity there.
    if len(cell) != 4 or not _MIN_DATE <= days < _END_DATE:
        raise Reject("a date outside Postgres's range (4714 BC to 5874897 AD)")
    return INT32.pack(days)


def time(pg: PgType) -> Encode:
    """time (ns) → time (µs); what µs cannot express is rejected."""
    step = 10 ** (9 - pg.typmod) if pg.typmod >= 0 else 1000

    def encode(cell: bytes) -> bytes:
        nanoseconds = time_of_day(cell)
        if nanoseconds % step:
            raise Reject("a time of day finer than 1 µs" if step == 1000 else f"a time of day finer than {pg}")
        return INT64.pack(nanoseconds // 1000)

    return encode


def time_of_day(cell: bytes) -> int:
    """The nanoseconds of a time cell; Cassandra itself stores any int64. Raises Reject."""
    nanoseconds: int = INT64.unpack(cell)[0]
    if not 0 <= nanoseconds < _DAY_NS:
        raise Reject("a time of day outside 00:00 to 24:00")
    return nanoseconds


def civil(days: int) -> tuple[int, int, int]:
    """Year, month, day of a day number since 1970-01-01 in the proleptic Gregorian calendar, for any year.

    Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    """
    shifted = days + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    return year_of_era + era * 400 + (month <= 2), month, day


def format_date(days: int) -> str:
    """ISO 8601 date; years beyond four digits carry a sign, as Java's LocalDate writes them."""
    year, month, day = civil(days)
    return f"{_year(year)}-{month:02}-{day:02}"


def _year(year: int) -> str:
    if year > 9999:
        return f"+{year}"
    return f"-{-year:04}" if year < 0 else f"{year:04}"


def format_timestamp(milliseconds: int) -> str:
    """`YYYY-MM-DD HH:MM:SS.mmmZ`, as Cassandra's SELECT JSON writes it."""
    days, rest = divmod(milliseconds, 86_400_000)
    return f"{format_date(days)} {format_clock(rest * 1_000_000, 3)}Z"


def format_clock(nanoseconds: int, digits: int) -> str:
    """`HH:MM:SS.fff…` with that many digits."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{clock}.{fraction:09}"[: len(clock) + 1 + digits]
