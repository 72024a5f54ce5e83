"""numeric, and numbers as JSON writes them, back into varint, decimal and the integers."""

from __future__ import annotations

import re
import struct

from sync.core.decode.base import Decode
from sync.core.decode.scalars import integer_cell
from sync.core.encode.base import INT32, Reject
from sync.core.encode.numerics import MAX_INTEGER_DIGITS, MAX_SCALE

_HEADER = struct.Struct(">HhHH")
_POSITIVE, _NEGATIVE = 0, 0x4000
_PLAIN = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
_SHORT = 4000  # int() takes up to 4,300 digits


def numeric(source: str) -> Decode:
    """The decode function of numeric into `source` (varint, decimal or an integer type)."""
    return lambda cell: number_cell(*_parts(cell), source)


def number_cell(unscaled: int, scale: int, source: str) -> bytes:
    """The cell of `unscaled × 10^-scale`. Raises Reject if `source` cannot hold it."""
    if source == "decimal":
        return INT32.pack(scale) + varint_cell(unscaled)
    whole, rest = divmod(unscaled, 10**scale)
    if rest:
        raise Reject(f"a number with decimals, where the source has a {source}")
    return varint_cell(whole) if source == "varint" else integer_cell(whole, source)


def _parts(cell: bytes) -> tuple[int, int]:
    """Unscaled value and scale of a numeric's bytes; trailing zeros stay part of the scale."""
    count, weight, sign, scale = _HEADER.unpack_from(cell)
    if sign not in (_POSITIVE, _NEGATIVE):
        raise Reject("NaN or Infinity, where the source has numbers alone")
    groups = struct.unpack_from(f">{count}H", cell, 8)
    value = parse_digits("".join([f"{group:04}" for group in groups]))
    power = 4 * (weight + 1 - count) + scale
    value, rest = (value * 10**power, 0) if power >= 0 else divmod(value, 10**-power)
    if rest:
        raise ValueError("digits beyond the scale of a numeric")
    return -value if sign else value, scale


def parse_number(text: str) -> tuple[int, int]:
    """Unscaled value and scale of a number without exponent: jsonb prints no other. Raises Reject."""
    found = _PLAIN.fullmatch(text)
    if found is None:
        raise Reject("a number with an exponent")
    whole, behind = found[2], found[3] or ""
    if len(whole) > MAX_INTEGER_DIGITS or len(behind) > MAX_SCALE:
        raise Reject("a number in JSON beyond numeric's range")
    value = parse_digits(whole + behind)
    return -value if found[1] else value, len(behind)


def parse_digits(digits: str) -> int:
    """The number that these decimal digits are, however many (Python's own limit guards web servers, not this)."""
    if len(digits) <= _SHORT:
        return int(digits or "0")
    behind = len(digits) // 2
    power: int = 10**behind
    return parse_digits(digits[:-behind]) * power + parse_digits(digits[-behind:])


def varint_cell(value: int) -> bytes:
    """The shortest two's complement, as Java's BigInteger has it."""
    return value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "big", signed=True)
