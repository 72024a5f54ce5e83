"""What every decoder is: the function from the bytes of a type's `*_send` to the bytes of a CQL cell."""

from __future__ import annotations

import struct
from collections.abc import Callable

from sync.core.encode.base import Reject

Decode = Callable[[bytes], bytes | None]
"""From a cell of the target (never null) to the source's; None is null. Raises Reject for what the source cannot hold."""
DECODE_ERRORS = (struct.error, IndexError, OverflowError, ValueError, RecursionError)
"""What is raised for bytes that are not a value of the target's type, or for JSON that nests too deeply."""


def fixed(width: int, what: str) -> Decode:
    """A value of `width` bytes that both sides write alike."""

    def decode(cell: bytes) -> bytes:
        if len(cell) != width:
            raise Reject(f"{len(cell)} bytes where a {what} has {width}")
        return cell

    return decode
