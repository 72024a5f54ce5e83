"""text → decimal: the inverse of `core.encode.texts`."""

from __future__ import annotations

import re

from sync.core.decode.numerics import parse_digits, varint_cell
from sync.core.encode.base import INT32, Reject
from sync.core.encode.texts import decimal_text

_DECIMAL = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:E([+-]\d{1,10}))?", re.ASCII)


def decimal_of_text(cell: bytes) -> bytes:
    """The cell of a decimal's text, in the one form that `decimal_text` writes. Raises Reject."""
    found = _DECIMAL.fullmatch(cell.decode())
    if found is None:
        raise Reject("a text that is not a decimal")
    behind = found[3] or ""
    unscaled, scale = parse_digits(found[2] + behind), len(behind) - int(found[4] or 0)
    if not -(2**31) <= scale < 2**31:
        raise Reject("a decimal beyond the range of the source's")
    made = INT32.pack(scale) + varint_cell(-unscaled if found[1] else unscaled)
    if decimal_text(made) != cell:
        raise Reject("a decimal in another form than the source's")
    return made
