"""Row hashes and digests, as both sides compute them. They detect mistakes, not adversaries: md5 is fast in Postgres."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import md5

_MODULUS = 1 << 64
_HALVES = struct.Struct(">QQ")


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


def row_hash(canonical: bytes) -> bytes:
    """The hash of a row's canonical bytes."""
    return md5(canonical).digest()


def digest_of_row(hashed: bytes) -> Digest:
    """The digest of one row."""
    return Digest.of(1, *_HALVES.unpack(hashed))


def digest_of_rows(hashes: bytes) -> Digest:
    """The digest of rows whose hashes stand one after the other."""
    count = len(hashes) // _HALVES.size
    halves = struct.unpack(f">{2 * count}Q", hashes)
    return Digest.of(count, sum(halves[::2]), sum(halves[1::2]))
