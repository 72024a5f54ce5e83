"""Keys for tokens: Murmur3 x64-128 as Cassandra's partitioner uses it (seed 0, first half), forwards and backwards."""

from __future__ import annotations

import struct

_MASK = 2**64 - 1
_C1, _C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
_F1, _F2 = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53


def _inverse(odd: int) -> int:
    return pow(odd, -1, 2**64)


def _left(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK


def _right(value: int, bits: int) -> int:
    return _left(value, 64 - bits)


def _mix(value: int) -> int:
    value = (value ^ value >> 33) * _F1 & _MASK
    value = (value ^ value >> 33) * _F2 & _MASK
    return value ^ value >> 33


def _unmix(value: int) -> int:
    """x ^ x >> 33 is its own inverse: the upper 33 bits do not change."""
    value = (value ^ value >> 33) * _inverse(_F2) & _MASK
    value = (value ^ value >> 33) * _inverse(_F1) & _MASK
    return value ^ value >> 33


def hash_of(key: bytes) -> int:
    """The first half of the hash of a key of 16 bytes, signed."""
    k1, k2 = struct.unpack("<QQ", key)
    h1 = _left(k1 * _C1 & _MASK, 31) * _C2 & _MASK
    h1 = (_left(h1, 27) * 5 + 0x52DCE729) & _MASK
    h2 = _left(k2 * _C2 & _MASK, 33) * _C1 & _MASK
    h2 = ((_left(h2, 31) + h1) * 5 + 0x38495AB5) & _MASK
    h1, h2 = h1 ^ 16, h2 ^ 16
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    found = (_mix(h1) + _mix(h2)) & _MASK
    return found - 2**64 if found >= 2**63 else found


def key_for(hashed: int, salt: int = 1) -> bytes:
    """A key of 16 bytes whose hash's first half is `hashed`; each salt gives another."""
    target = hashed & _MASK
    a, b = _unmix(salt), _unmix((target - salt) & _MASK)  # the halves before the last mixing: h1 + h2 and h1 + 2·h2
    h2 = (b - a) & _MASK
    h1 = (a - h2) & _MASK
    h1, h2 = h1 ^ 16, h2 ^ 16
    fifth = _inverse(5)
    h2 = _right(((h2 - 0x38495AB5) * fifth - h1) & _MASK, 31)
    k2 = _right(h2 * _inverse(_C1) & _MASK, 33) * _inverse(_C2) & _MASK
    h1 = _right((h1 - 0x52DCE729) * fifth & _MASK, 27)
    k1 = _right(h1 * _inverse(_C2) & _MASK, 31) * _inverse(_C1) & _MASK
    return struct.pack("<QQ", k1, k2)
