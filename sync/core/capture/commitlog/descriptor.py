"""The header of a segment of the commit log."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from zlib import crc32

VERSIONS = {7: "Cassandra 4", 8: "Cassandra 5"}
_FIXED = struct.Struct(">iqH")
_INT = struct.Struct(">I")
_NAME = re.compile(r"CommitLog-(\d+)-(\d+)\.log")


class SegmentRefused(ValueError):
    """A segment that this reader cannot read, whole as it may be; the text names the reason."""


class Damaged(ValueError):
    """Bytes of a segment are not what Cassandra wrote; the text names what is wrong."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A segment's header. `compression`: the simple name of the compressor's class, or None. `size`: its length in bytes."""

    version: int
    id: int
    compression: str | None
    size: int


def segment_id(name: str) -> int | None:
    """The id in a segment's file name; None if this is no name of a segment."""
    found = _NAME.fullmatch(name)
    return int(found[2]) if found else None


def read_descriptor(data: bytes) -> Descriptor | None:
    """The header at the beginning of a file; None if it is not written yet.

    Raises SegmentRefused for an unknown format or encryption, Damaged for a header whose checksum is wrong.
    """
    if len(data) < _FIXED.size or not any(data[: _FIXED.size]):
        return None
    version, number, length = _FIXED.unpack_from(data)
    size = _FIXED.size + length + _INT.size
    if len(data) < size:
        return None
    parameters = data[_FIXED.size : size - _INT.size]
    low, high = number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF
    if crc32(parameters, crc32(struct.pack(">iIII", version, low, high, length))) != _INT.unpack_from(data, size - 4)[0]:
        raise Damaged("its header's checksum is wrong")
    if version not in VERSIONS:
        known = ", ".join(f"{number} ({name})" for number, name in VERSIONS.items())
        raise SegmentRefused(f"its format is {version}; known are {known}")
    return Descriptor(version, number, _compression(parameters), size)


def _compression(parameters: bytes) -> str | None:
    try:
        said = json.loads(parameters) if parameters else {}
    except ValueError:
        raise SegmentRefused("its header's parameters are no JSON") from None
    if not isinstance(said, dict):
        raise SegmentRefused("its header's parameters are no JSON object")
    if any(str(name).startswith("enc") for name in said):
        raise SegmentRefused("it is encrypted (transparent_data_encryption_options)")
    name = said.get("compressionClass")
    return None if name is None else str(name).rsplit(".", 1)[-1]
