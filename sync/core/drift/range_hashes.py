"""What a comparison keeps of the source's rows of a range: hash and raw key of each, packed."""

from __future__ import annotations

import struct

from sync.core.drift.digest import Digest, digest_of_rows, is_equal
from sync.core.encode.base import INT64, Reject, join_cells, read_cells
from sync.core.encode.rows import ENCODE_ERRORS, RowEncoder
from sync.core.rows import Page

Raw = tuple[bytes | None, ...]
"""A key's raw CQL cells."""


class RangeHashes:
    """Hashes, raw keys and tokens of the source's rows of a range, packed page by page."""

    def __init__(self, encoder: RowEncoder) -> None:
        self._encoder, self._width = encoder, encoder.hash_width
        self._hashes: list[bytes] = []
        self._keys: list[bytes] = []
        self._tokens: list[bytes] = []
        self.count = 0

    @property
    def last_token(self) -> int:
        """The token of the last row."""
        return _token(self._tokens[-1][-8:])

    def add(self, page: Page) -> None:
        """Hash a page's rows. Raises AssertionError if it does not hold as many rows as it says."""
        try:
            hashes, keys, tokens, end = self._encoder.hash_page(page.data, page.offset, page.count)
        except ENCODE_ERRORS:
            hashes, keys, tokens, end = self._one_by_one(page)
        assert len(hashes) == len(keys) == page.count, "a page's rows do not add up"
        assert end == len(page.data), "a page's rows do not end with the page"
        self._hashes.append(b"".join(hashes))
        self._keys.append(b"".join(keys))
        self._tokens.append(b"".join(tokens))
        self.count += page.count

    def _one_by_one(self, page: Page) -> tuple[list[bytes], list[bytes], list[bytes], int]:
        """The same for a page with a value that needs a closer look; a row that cannot be held has a hash of zeros."""
        hashes, keys, tokens, at = [], [], [], page.offset
        try:
            for row in self._encoder.check_page(page.data, page.offset, page.count):
                hashes.append(bytes(self._width) if row.encoded is None else row.hashed)
                keys.append(join_cells(row.key))
                tokens.append(INT64.pack(row.token))
                at = read_cells(page.data, at, 1 + len(self._encoder.columns))[1]
        except struct.error:
            raise AssertionError("a page that holds fewer rows than it says") from None
        return hashes, keys, tokens, at

    def cut_before(self, following: int) -> int | None:
        """Drop rows so that they end with a partition, given the next row's token; the last token that is whole.

        None if all that is held is the beginning of one partition, which is never cut.
        """
        last = self.last_token
        if last < following:
            return last
        if _token(self._tokens[0][:8]) == last:
            return None
        while self._tokens and _token(self._tokens[-1][:8]) == last:
            self._drop(len(self._tokens[-1]) // 8)
        if self._tokens:
            at = self._tokens[-1].find(INT64.pack(last))
            while at > 0 and at % 8:
                at = self._tokens[-1].find(INT64.pack(last), at + 1)
            self._drop((len(self._tokens[-1]) - at) // 8 if at > 0 else 0)
        return last - 1

    def _drop(self, rows: int) -> None:
        """Drop the last rows of the last page held."""
        left = len(self._tokens[-1]) // 8 - rows
        hashes, keys, tokens = self._hashes.pop(), self._keys.pop(), self._tokens.pop()
        self.count -= rows
        if left:
            at = 0
            for _ in range(left):
                at = read_cells(keys, at, self._encoder.key_count)[1]
            self._hashes.append(hashes[: self._width * left])
            self._keys.append(keys[:at])
            self._tokens.append(tokens[: 8 * left])

    def digest(self) -> Digest:
        """The digest of all rows, in a table whose rows do not expire."""
        return digest_of_rows(b"".join(self._hashes))

    def clear(self) -> None:
        """Release what is no longer needed."""
        self._hashes, self._keys, self._tokens = [], [], []

    def compare(self, held: dict[bytes, bytes]) -> tuple[int, list[Raw]]:
        """How many rows are equal in `held`, and the raw keys of the others; equal rows are removed from `held`."""
        same, suspects = 0, []
        for hashes, keys in zip(self._hashes, self._keys, strict=True):
            at, width = 0, self._width
            for i in range(len(hashes) // width):
                raw, at = read_cells(keys, at, self._encoder.key_count)
                key = self._canonical(tuple(raw))
                if key is not None and is_equal(held.get(key), hashes[width * i : width * (i + 1)]):
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


def _token(packed: bytes) -> int:
    return int(INT64.unpack(packed)[0])
