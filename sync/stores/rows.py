"""What `find` and `scan` return: rows one by one, and the place that was reached."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from sync.core.reads.cursor import Place, to_cursor
from sync.errors import QueryNotSupported, SourceTimeout, SourceUnavailable, WriteRefused

PAGE_ROWS = 1000
_AT_ONCE = 200
"""Rows that an asyncio caller gets from one visit to a thread."""
Row = tuple[int | None, dict[str, Any]]
"""A row's token, where the order is that of tokens, and its values."""


class _Reached:
    """The place that a reader has reached."""

    def __init__(self, keys: Sequence[str], after: str | None) -> None:
        self.keys, self._after = tuple(keys), after
        self._last: Row | None = None

    @property
    def cursor(self) -> str | None:
        """The place after the row that was returned last, as text for `after`; before the first row, what `after` was.

        Raises QueryNotSupported for a key that holds a collection.
        """
        if self._last is None:
            return self._after
        token, row = self._last
        return to_cursor(Place(token, tuple(row[name] for name in self.keys)))


class Rows(_Reached, Iterator[dict[str, Any]]):
    """Rows, read page by page while they are iterated over; the first page is read at once."""

    def __init__(self, rows: Iterator[Row], keys: Sequence[str], after: str | None) -> None:
        super().__init__(keys, after)
        with reads():
            first = list(islice(rows, 1))
        self._rows = chain(first, _guarded(rows))

    def __next__(self) -> dict[str, Any]:
        self._last = next(self._rows)
        return self._last[1]

    def pairs(self) -> Iterator[Row]:
        """The same rows with their tokens."""
        for row in self:
            assert self._last is not None
            yield self._last[0], row


class AsyncRows(_Reached, AsyncIterator[dict[str, Any]]):
    """The same for asyncio: `run` runs a function in a thread."""

    def __init__(self, rows: Rows, run: Callable[[Callable[[], list[Row]]], Awaitable[list[Row]]], after: str | None) -> None:
        super().__init__(rows.keys, after)
        self._pairs, self._run = rows.pairs(), run
        self._read: deque[Row] = deque()

    async def __anext__(self) -> dict[str, Any]:
        if not self._read:
            self._read.extend(await self._run(lambda: list(islice(self._pairs, _AT_ONCE))))
        if not self._read:
            raise StopAsyncIteration
        self._last = self._read.popleft()
        return self._last[1]


def _guarded(rows: Iterator[Row]) -> Iterator[Row]:
    with reads():
        yield from rows


@contextmanager
def reads() -> Iterator[None]:
    """The errors of a read: what it asks for is not supported, or the source does not answer."""
    try:
        yield
    except WriteRefused as error:
        raise QueryNotSupported(str(error)) from None
    except SourceTimeout as error:
        raise SourceUnavailable(str(error)) from None
