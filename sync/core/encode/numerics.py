"""varint and decimal → numeric (Postgres `numeric_send`: base-10,000 digits, weight, sign, display scale)."""

from __future__ import annotations

import struct

from sync.core.encode.base import INT32, Encode, Reject
from sync.core.rows import PgType

_HEADER = struct.Struct(">HhHh")
_NEGATIVE = 0x4000
MAX_INTEGER_DIGITS, MAX_SCALE = 131_072, 16_383
_LOG10_2 = 0.30102
_SHORT = 10**4000  # str() takes up to 4,300 digits


def decimal_parts(cell: bytes) -> tuple[int, int]:
    """Unscaled value and scale of a decimal cell: int32 scale, then a varint. Raises Reject."""
    if len(cell) < 5:
        raise Reject("a decimal without digits")
    return int.from_bytes(cell[4:], "big", signed=True), INT32.unpack_from(cell, 0)[0]


def numeric(pg: PgType, source: str) -> Encode:
    """The encode function from `source` (varint, decimal or an integer type) into `pg`."""
    precision, scale = _precision_and_scale(pg)

    def encode(cell: bytes) -> bytes:
        if source == "decimal":
            unscaled, places = decimal_parts(cell)
        else:
            unscaled, places = int.from_bytes(cell, "big", signed=True), 0
        if precision is not None:
            unscaled, places = _fit(unscaled, places, precision, scale, pg)
        return encode_numeric(unscaled, places)

    return encode


def _precision_and_scale(pg: PgType) -> tuple[int | None, int]:
    if pg.typmod < 4:
        return None, 0
    packed = pg.typmod - 4
    return packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024


def _fit(unscaled: int, places: int, precision: int, scale: int, pg: PgType) -> tuple[int, int]:
    if unscaled == 0:
        return 0, scale
    if unscaled.bit_length() * _LOG10_2 > MAX_INTEGER_DIGITS + MAX_SCALE:
        raise Reject("a number of more digits than numeric has")
    if places - scale > unscaled.bit_length():  # so it cannot be divided by that power of ten
        raise Reject(f"a number with more decimals than {pg}")
    if places > scale:
        unscaled, lost = divmod(unscaled, 10 ** (places - scale))
        if lost:
            raise Reject(f"a number with more decimals than {pg}")
    elif scale - places + int((unscaled.bit_length() - 1) * _LOG10_2) > precision:  # before it is multiplied
        raise Reject(f"a number too large for {pg}")
    else:
        unscaled *= 10 ** (scale - places)
    if abs(unscaled) >= 10**precision:
        raise Reject(f"a number too large for {pg}")
    return unscaled, scale


def encode_numeric(unscaled: int, scale: int) -> bytes:
    """`unscaled × 10^-scale` as numeric's bytes; trailing zeros stay part of the display scale."""
    if scale > MAX_SCALE:
        raise Reject(f"a number with more than {MAX_SCALE} decimals")
    if unscaled == 0:
        return _HEADER.pack(0, 0, 0, max(scale, 0))
    check_digits(unscaled, scale)
    digits = decimal_digits(abs(unscaled))
    if len(digits) - scale > MAX_INTEGER_DIGITS:
        raise Reject(f"a number with more than {MAX_INTEGER_DIGITS} digits before the point")
    sign = _NEGATIVE if unscaled < 0 else 0
    groups, weight = _base_10000(digits, scale)
    return _HEADER.pack(len(groups), weight, sign, max(scale, 0)) + struct.pack(f">{len(groups)}h", *groups)


def check_digits(unscaled: int, scale: int) -> None:
    """Raise Reject for a number of far more digits than numeric has, before they are written: that takes quadratic time."""
    if int(unscaled.bit_length() * _LOG10_2) - max(scale, 0) > MAX_INTEGER_DIGITS:
        raise Reject(f"a number with more than {MAX_INTEGER_DIGITS} digits before the point")


def _base_10000(digits: str, scale: int) -> tuple[list[int], int]:
    """Base-10,000 digits without zeros at either end, and the weight of the first."""
    padding = -scale % 4  # so that the last group ends on a power of 10,000
    digits += "0" * padding
    behind_point = (scale + padding) // 4
    digits = digits.zfill(-(-len(digits) // 4) * 4)
    groups = [int(digits[i : i + 4]) for i in range(0, len(digits), 4)]
    weight = len(groups) - behind_point - 1
    while groups and groups[0] == 0:
        groups.pop(0)
        weight -= 1
    while groups and groups[-1] == 0:
        groups.pop()
    return groups, weight


def decimal_digits(value: int) -> str:
    """The decimal digits of an integer of any size (Python's own limit on int → str guards web servers, not this)."""
    if -_SHORT < value < _SHORT:
        return str(value)
    if value < 0:
        return "-" + decimal_digits(-value)
    half = value.bit_length() * 3 // 20
    high, low = divmod(value, 10**half)
    return decimal_digits(high) + decimal_digits(low).zfill(half)
