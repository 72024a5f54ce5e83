"""Write times that are selected between a row's token and its columns: passed over, and looked at, by a copy."""

from __future__ import annotations

import struct
from collections.abc import Callable

from sync.core.encode.base import INT64, read_cells
from sync.core.rows import Page

_TOKEN = 12
"""Bytes of a row's first cell."""
_TIME = struct.Struct(">iq")
_EPOCH = _TIME.pack(8, 0)
"""The cell of the earliest time that is not negative."""
AheadRow = tuple[tuple[bytes, ...], int]
"""A row's raw key cells, and its newest write time in µs since 1970."""


class RowTimes:
    """The `count` write times of each row, the key's `keys` cells behind them; `limit` says which are ahead of the clock."""

    def __init__(self, count: int, keys: int, limit: Callable[[], int]) -> None:
        self.count, self._keys, self._limit = count, keys, limit
        self._unpack, self._width = struct.Struct(">" + "iq" * count).unpack_from, 12 * count
        self._eights = (8,) * count
        self._most, self._most_cell, self._found = 0, _EPOCH, list[tuple[int, int]]()

    def begin(self) -> None:
        """Forget what was found, and ask for the present limit."""
        self._most, self._found = self._limit(), []
        self._most_cell = _TIME.pack(8, self._most)

    def skip(self, data: bytes, at: int) -> int:
        """Where a row's columns begin, whose times begin at `at`."""
        first = data[at : at + 12]
        # The usual case: one INSERT wrote the row. Cells of one length, not negative, compare as the bytes that they are.
        if _EPOCH <= first <= self._most_cell and data[at : at + self._width] == first * self.count:
            return at + self._width
        if at + self._width <= len(data):
            seen = self._unpack(data, at)
            if seen[::2] == self._eights:
                if max(seen[1::2]) > self._most:
                    self._found.append((at, max(seen[1::2])))
                return at + self._width
        cells, end = read_cells(data, at, self.count)
        newest = max((INT64.unpack(cell)[0] for cell in cells if cell), default=0)
        if newest > self._most:
            self._found.append((at, newest))
        return end

    def ahead(self, data: bytes) -> list[AheadRow]:
        """The rows that lie ahead, of those that were passed over in `data` since `begin`."""
        return [(self._key(data, at), newest) for at, newest in self._found]

    def ahead_in(self, page: Page, columns: int) -> list[AheadRow]:
        """The same of a page that was not passed over to its end; its rows have so many columns."""
        self.begin()
        at = page.offset
        for _ in range(page.count):
            at = read_cells(page.data, self.skip(page.data, at + _TOKEN), columns)[1]
        return self.ahead(page.data)

    def _key(self, data: bytes, at: int) -> tuple[bytes, ...]:
        cells = read_cells(data, at, self.count + self._keys)[0]
        return tuple(cell or b"" for cell in cells[self.count :])
