"""Row hashes and digests, as both sides compute them. They detect mistakes, not adversaries: md5 is fast in Postgres."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sync.core.expiry import TOLERANCE_MS

_MODULUS = 1 << 64
_HALVES, _MOMENT = struct.Struct(">QQ"), struct.Struct(">q")
_HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class Digest:
    """Count of rows, and the sums, modulo 2^64, of the upper and the lower halves of their hashes."""

    count: int
    high: int
    low: int

    @classmethod
    def of(cls, count: int, high: int, low: int) -> Digest:
        """A digest from sums of signed or unsigned halves."""
        return cls(count, high % _MODULUS, low % _MODULUS)

    def __add__(self, other: Digest) -> Digest:
        return Digest.of(self.count + other.count, self.high + other.high, self.low + other.low)


EMPTY = Digest(0, 0, 0)


def is_equal(one: bytes | None, other: bytes) -> bool:
    """Whether two rows are equal by what a comparison keeps of them: hashes and, where rows expire, the moments of that."""
    if one == other or one is None or len(other) == _HASH_BYTES:
        return one == other
    moments = _MOMENT.unpack(one[_HASH_BYTES:])[0] - _MOMENT.unpack(other[_HASH_BYTES:])[0]
    return one[:_HASH_BYTES] == other[:_HASH_BYTES] and abs(moments) <= TOLERANCE_MS


def is_expiring(hashed: bytes, now_ms: int) -> bool:
    """Whether a row has just expired, or is about to."""
    return bool(hashed[_HASH_BYTES:]) and _MOMENT.unpack(hashed[_HASH_BYTES:])[0] <= now_ms + TOLERANCE_MS


def digest_of_row(hashed: bytes) -> Digest:
    """The digest of one row."""
    return Digest.of(1, *_HALVES.unpack(hashed))


def digest_of_rows(hashes: bytes) -> Digest:
    """The digest of rows whose hashes stand one after the other."""
    count = len(hashes) // _HALVES.size
    halves = struct.unpack(f">{2 * count}Q", hashes)
    return Digest.of(count, sum(halves[::2]), sum(halves[1::2]))
