"""One segment's file: its sections, while the node still writes it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sync.core.capture.commitlog.descriptor import Damaged, Descriptor, SegmentRefused, read_descriptor
from sync.core.capture.commitlog.sections import MARKER, section_end

_HEADER = 1 << 16
_LENGTH = 4
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Section:
    """What one sync of the log wrote: `data`, uncompressed, and the offset of the marker behind it. `last`: there is no room
    for another one in the file."""

    data: bytes
    end: int
    last: bool


class SegmentFile:
    """A segment, open for reading: it stays readable when its name is removed. Raises OSError if there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY)
        self._descriptor: Descriptor | None = None

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def section(self, offset: int) -> Section | None:
        """The section whose marker is at `offset` (0: the first one); None if it is not written yet.

        Raises Damaged if that marker or the section is damaged, or half written; SegmentRefused for what cannot be read.
        """
        descriptor = self._described()
        if descriptor is None:
            return None
        at = offset or descriptor.size
        end = section_end(os.pread(self._file, MARKER, at), descriptor.id, at)
        if end is None:
            return None
        data = os.pread(self._file, end - at - MARKER, at + MARKER)
        if len(data) < end - at - MARKER:
            raise Damaged(f"the section at {at} ends with the file, and not at {end}")
        return Section(_expanded(descriptor, data), end, end + MARKER > os.fstat(self._file).st_size)

    def rest(self, offset: int) -> str:
        """What is wrong with a complete segment behind its last section, whose end is at `offset`; empty if nothing is.

        A node that was killed may leave mutations behind its last marker, which it does not read either. A marker that was
        overwritten by zeros looks the same.
        """
        size = os.fstat(self._file).st_size
        if size < offset:
            return f"the file ends before {offset}"
        at = offset or (self._descriptor.size if self._descriptor else 0)
        while data := os.pread(self._file, _PIECE, at):
            if data.lstrip(b"\0"):
                return f"there is something behind its last section, at {offset}"
            at += len(data)
        return ""

    def started(self) -> bool:
        """Whether the node has synced anything into this segment: all before it are complete then."""
        try:
            descriptor = self._described()
            return descriptor is not None and any(os.pread(self._file, MARKER, descriptor.size))
        except Damaged:
            return False

    def _described(self) -> Descriptor | None:
        if self._descriptor is None:
            try:
                self._descriptor = read_descriptor(os.pread(self._file, _HEADER, 0))
            except SegmentRefused as error:
                raise SegmentRefused(f"{self.path.name}: {error}") from None
            if self._descriptor is not None and self._descriptor.compression:
                _expander(self._descriptor.compression)
        return self._descriptor


def _expanded(descriptor: Descriptor, data: bytes) -> bytes:
    if not descriptor.compression:
        return data
    size = int.from_bytes(data[:_LENGTH], "big")
    try:
        found = _expander(descriptor.compression)(data[_LENGTH:], size)
    except SegmentRefused:
        raise
    except Exception as error:  # noqa: BLE001 (each library has errors of its own for what it cannot decompress)
        raise Damaged(f"a section cannot be decompressed ({type(error).__name__})") from None
    if len(found) != size:
        raise Damaged("a section has another size than its header says")
    return found


_Expand = Callable[[bytes, int], bytes]


def _expander(name: str) -> _Expand:
    if name not in _EXPANDERS:
        raise SegmentRefused(f"the commit log is compressed by {name}; readable are {', '.join(_EXPANDERS)}")
    try:
        return _EXPANDERS[name]()
    except ModuleNotFoundError as error:
        raise SegmentRefused(
            f"the commit log is compressed by {name}: pip install 'dual-write-sync[capture]' brings {error.name}"
        ) from None


def _lz4() -> _Expand:
    from lz4 import block

    return lambda data, size: bytes(block.decompress(data, uncompressed_size=-1))  # Cassandra puts the size before the block


def _deflate() -> _Expand:
    return lambda data, size: zlib.decompress(data, bufsize=max(size, 1))


def _zstd() -> _Expand:
    import zstandard

    return lambda data, size: zstandard.ZstdDecompressor().decompress(data, max_output_size=size)


_EXPANDERS: dict[str, Callable[[], _Expand]] = {"LZ4Compressor": _lz4, "DeflateCompressor": _deflate, "ZstdCompressor": _zstd}
