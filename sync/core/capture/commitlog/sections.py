"""The sections of a segment and their entries. A section is what one sync of the commit log has written."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from zlib import crc32

from sync.core.capture.commitlog.descriptor import Damaged

MARKER = 8
"""Bytes before each section: where it ends, and a checksum of that."""
_MARKER = struct.Struct(">II")
_INT = struct.Struct(">I")
_LEAST_ENTRY = 10
_OVERHEAD = 12
"""Bytes around an entry: its size, the size's checksum, the whole's checksum."""


def section_end(marker: bytes, segment: int, offset: int) -> int | None:
    """Where the section ends whose marker is at `offset` of the file; None if none was written yet.

    Raises Damaged if the marker's checksum is wrong: it may be half written.
    """
    if len(marker) < MARKER:
        return None
    end, checksum = _MARKER.unpack(marker)
    if not end and not checksum:
        return None
    if crc32(struct.pack(">III", segment & 0xFFFFFFFF, segment >> 32 & 0xFFFFFFFF, offset)) != checksum:
        raise Damaged(f"the marker at {offset} has a wrong checksum")
    if end < offset + MARKER:
        raise Damaged(f"the marker at {offset} points back to {end}")
    return int(end)


def entries(section: bytes, begin: int = 0, padded: bool = False) -> Iterator[tuple[int, bytes | None]]:
    """(place behind it, bytes) of each entry of a section from `begin` on; None for one whose checksum is wrong.

    `padded`: there may be zeros behind the last entry, as in the last section of a segment. Zeros elsewhere are damage.

    Raises Damaged where the next entry cannot be found: what is left of the section is lost.
    """
    at, end = begin, len(section)
    unpack, size_of = _INT.unpack_from, _INT.size
    while at + size_of <= end:
        size = unpack(section, at)[0]
        if not size:
            if not padded or section[at:].lstrip(b"\0"):
                raise Damaged("the size of an entry was overwritten")
            return
        body = at + 8
        if size < _LEAST_ENTRY or body + size + size_of > end:
            raise Damaged(f"an entry of {size} bytes does not fit into its section")
        checksum = crc32(section[at : body - 4])
        if checksum != unpack(section, at + 4)[0]:
            raise Damaged("the size of an entry has a wrong checksum")
        after = body + size
        data = section[body:after]
        at = after + 4
        yield at, data if crc32(data, checksum) == unpack(section, after)[0] else None
