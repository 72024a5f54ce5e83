"""When rows expire: TTL() of their cells is selected with them, and becomes one cell more, the moment (`core.expiry`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sync.core.encode.base import INT32, INT64, elements, elements_of_tuple, join_cells, read_cells
from sync.core.encode.times import KEY_ALONE, MIXED
from sync.core.expiry import EXPIRY_NAME, moment_after
from sync.core.rows import Page, SourceColumn, SourceTable

_TOGETHER_SECONDS = 2
"""Cells that were written one after the other with the same TTL expire this close together."""
_UUID_OF_1970 = 0x01B21DD213814000
Cells = Sequence[bytes | None]


class ExpiryReader:
    """Makes rows of these columns from what is selected for them. Without an expiry among them nothing changes.

    The moment is by the clock of the node that answers, which is what decides there whether a row has expired.
    """

    def __init__(self, table: SourceTable, columns: Sequence[str]) -> None:
        self._at = columns.index(EXPIRY_NAME) if EXPIRY_NAME in columns else None
        own = [name for name in columns if name != EXPIRY_NAME]
        self._regular = [c for c in table.columns if c.kind == "regular"] if self._at is not None else []
        self._names = own + [c.name for c in self._regular if c.name not in own]
        self._count, self._places = len(own), [self._names.index(c.name) for c in self._regular]
        self.width = len(self._names) + (self._at is not None) + len(self._regular)

    def terms(self, quoted: Callable[[str], str]) -> list[str]:
        """What to select, `width` terms, in CQL with its names quoted."""
        ttls = [f"TTL({quoted(c.name)})" for c in self._regular]
        return [*map(quoted, self._names), *(["now()"] if self._at is not None else []), *ttls]

    def cells(self, read: Cells) -> list[bytes | None]:
        """The columns' cells of what was read for the terms."""
        if self._at is None:
            return list(read)
        made = list(read[: self._count])
        made.insert(self._at, self._moment(read))
        return made

    def page(self, page: Page) -> Page:
        """The page, whose rows begin with their tokens, with the columns' cells."""
        if self._at is None:
            return page
        rows, at, width = [], page.offset, 1 + self.width
        for _ in range(page.count):
            (token, *read), at = read_cells(page.data, at, width)
            rows.append(join_cells([token, *self.cells(read)]))
        return Page(b"".join(rows), 0, page.count, page.after)

    def _moment(self, read: Cells) -> bytes | None:
        found: set[int | None] = set()
        ttls = read[len(self._names) + 1 :]
        for column, place, ttl in zip(self._regular, self._places, ttls, strict=True):
            value = read[place]
            if value is not None:
                found.update(_seconds(column, value, ttl))
        if not found:
            return KEY_ALONE
        seconds = [each for each in found if each is not None]
        if not seconds:
            return None
        if None in found or max(seconds) - min(seconds) > _TOGETHER_SECONDS:
            return MIXED
        return INT64.pack(moment_after(max(seconds), _clock(read[len(self._names)] or b"")))


def _seconds(column: SourceColumn, value: bytes, ttl: bytes | None) -> Iterator[int | None]:
    """The TTL of each cell of a column that is not null; None for one that has none."""
    if not column.has_many_cells:
        yield _int(ttl)
        return
    there = elements(ttl) if ttl else []
    if column.type.name == "udt":  # a field that is null has no cell
        there = [ttl for ttl, field in zip(there, elements_of_tuple(value), strict=False) if field is not None]
    yield from map(_int, there) if there else (None,)


def _int(cell: bytes | None) -> int | None:
    return INT32.unpack(cell)[0] if cell else None


def _clock(uuid: bytes) -> float:
    """The moment of a version 1 UUID, in seconds since 1970."""
    low, middle, high = (int.from_bytes(uuid[a:b], "big") for a, b in ((0, 4), (4, 6), (6, 8)))
    return ((high & 0x0FFF) << 48 | middle << 32 | low) / 1e7 - _UUID_OF_1970 / 1e7
