"""What a comparison keeps of the source's rows of a range: hash and raw key of each, packed."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from sync.core.digest import Digest, digest_of_rows, row_hash
from sync.core.encode.base import INT64, Reject
from sync.core.encode.rows import ENCODE_ERRORS, RowEncoder, read_cells
from sync.core.rows import Page

Raw = tuple[bytes | None, ...]
"""A key's raw CQL cells."""


class RangeHashes:
    """Hashes and raw keys of the source's rows of a range, packed: a page of each at a time."""

    def __init__(self, encoder: RowEncoder) -> None:
        self._encoder = encoder
        self._hashes: list[bytes] = []
        self._keys: list[bytes] = []
        self.count, self.last_token = 0, 0

    def add(self, page: Page) -> None:
        """Hash a page's rows. Raises AssertionError where it does not hold as many rows as it says."""
        try:
            hashes, keys, last, end = self._encoder.hash_page(page.data, page.offset, page.count)
        except ENCODE_ERRORS:
            hashes, keys, last, end = self._one_by_one(page)
        assert len(hashes) == len(keys) == page.count, "a page's rows do not add up"
        assert end == len(page.data), "a page's rows do not end with the page"
        self._hashes.append(b"".join(hashes))
        self._keys.append(b"".join(keys))
        self.count += page.count
        self.last_token = INT64.unpack_from(page.data, last + 4)[0]

    def _one_by_one(self, page: Page) -> tuple[list[bytes], list[bytes], int, int]:
        """The same for a page with a value that takes a closer look; a row that cannot be held has a hash of zeros."""
        hashes, keys, at, last = [], [], page.offset, page.offset
        try:
            for row in self._encoder.check_page(page.data, page.offset, page.count):
                hashes.append(bytes(16) if row.encoded is None else row_hash(row.canonical))
                keys.append(_packed(row.key))
                last, at = at, read_cells(page.data, at, 1 + len(self._encoder.columns))[1]
        except struct.error:
            raise AssertionError("a page that holds fewer rows than it says") from None
        return hashes, keys, last, at

    def digest(self) -> Digest:
        """The digest of all rows."""
        return digest_of_rows(b"".join(self._hashes))

    def clear(self) -> None:
        """Let go of what is not needed any more."""
        self._hashes, self._keys = [], []

    def compare(self, held: dict[bytes, bytes]) -> tuple[int, list[Raw]]:
        """How many rows are in `held` as they are, and the raw keys of the others; `held` keeps what was not the same."""
        same, suspects = 0, []
        for hashes, keys in zip(self._hashes, self._keys, strict=True):
            at = 0
            for i in range(len(hashes) // 16):
                raw, at = read_cells(keys, at, self._encoder.key_count)
                key = self._canonical(tuple(raw))
                if key is not None and held.get(key) == hashes[16 * i : 16 * i + 16]:
                    same += 1
                    del held[key]
                else:
                    suspects.append(tuple(raw))
        return same, suspects

    def _canonical(self, raw: Raw) -> bytes | None:
        try:
            return self._encoder.canonical_key(raw)
        except Reject:
            return None


def _packed(cells: Iterable[bytes | None]) -> bytes:
    return b"".join(b"\xff\xff\xff\xff" if c is None else len(c).to_bytes(4, "big") + c for c in cells)
