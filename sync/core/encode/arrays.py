"""list<T>, set<T> and vector<float, n> → a one-dimensional array (Postgres `array_send`)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from sync.core.encode.base import INT32, NULL, Encode, Encoder, elements, with_length

_HEADER = struct.Struct(">iiI")


def array(element: Encoder, read: Callable[[bytes], list[bytes | None]] = elements) -> Encode:
    """The encode function of a list or set whose elements `element` encodes."""
    encode_element, empty_is_null, element_oid = element.encode, element.empty_is_null, element.pg.oid

    def encode(cell: bytes) -> bytes:
        found = [None if e is None or (not e and empty_is_null) else encode_element(e) for e in read(cell)]
        if not found:
            return _HEADER.pack(0, 0, element_oid)
        body = b"".join([NULL if e is None else with_length(e) for e in found])
        return _HEADER.pack(1, None in found, element_oid) + INT32.pack(len(found)) + INT32.pack(1) + body

    return encode


def floats(cell: bytes) -> list[bytes | None]:
    """The components of a vector<float, n> cell."""
    return [cell[i : i + 4] for i in range(0, len(cell), 4)]
