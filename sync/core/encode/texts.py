"""decimal → text: digit for digit, as Java's BigDecimal and Python's Decimal write it, so that no two have one text."""

from __future__ import annotations

from decimal import Decimal

from sync.core.encode.numerics import decimal_digits, decimal_parts


def decimal_text(cell: bytes) -> bytes:
    """The text of a decimal cell: 1.0, 1.00, 1E+2. Raises Reject."""
    unscaled, scale = decimal_parts(cell)
    digits = tuple(map(int, decimal_digits(abs(unscaled))))
    return str(Decimal((unscaled < 0, digits, -scale))).encode()
