"""What `find` and `scan` return: rows one by one, and the place that was reached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from sync.core.reads.cursor import Place, Row, to_cursor
from sync.errors import QueryNotSupported, SourceTimeout, SourceUnavailable, WriteRefused

PAGE_ROWS = 1000
Page = list[Row]


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
        return self._after if self._last is None else cursor_after(self._last, self.keys)


def cursor_after(row: Row, keys: Sequence[str]) -> str:
    """The place after a row."""
    return to_cursor(Place(row[0], tuple(row[1][name] for name in keys)))


class Rows(_Reached, Iterator[dict[str, Any]]):
    """Rows, read page by page while they are iterated over; the first page is read at once."""

    def __init__(self, pages: Iterator[Page], keys: Sequence[str], after: str | None) -> None:
        super().__init__(keys, after)
        first = _next(pages)
        self.pages: Iterator[Page] = chain([first] if first else [], iter(lambda: _next(pages), None))
        self._rows = self._one_by_one()

    def _one_by_one(self) -> Generator[dict[str, Any], None, None]:
        for page in self.pages:
            for row in page:
                self._last = row
                yield row[1]

    def __iter__(self) -> Generator[dict[str, Any], None, None]:
        return self._rows

    def __next__(self) -> dict[str, Any]:
        return next(self._rows)


class AsyncRows(_Reached, AsyncIterator[dict[str, Any]]):
    """The same for asyncio: `run` runs a function in a thread."""

    def __init__(self, rows: Rows, run: Callable[[Callable[[], Page]], Awaitable[Page]], after: str | None) -> None:
        super().__init__(rows.keys, after)
        self._pages, self._run = rows.pages, run
        self._page: Iterator[Row] = iter(())

    async def __anext__(self) -> dict[str, Any]:
        row = next(self._page, None)
        while row is None:
            page = await self._run(lambda: next(self._pages, []))
            if not page:
                raise StopAsyncIteration
            self._page = iter(page)
            row = next(self._page, None)
        self._last = row
        return row[1]


def _next(pages: Iterator[Page]) -> Page | None:
    """The next page that has rows."""
    with reads():
        return next((page for page in pages if page), None)


@contextmanager
def reads() -> Iterator[None]:
    """The errors of a read: what it asks for is not supported, or the source does not answer."""
    try:
        yield
    except WriteRefused as error:
        raise QueryNotSupported(str(error)) from None
    except SourceTimeout as error:
        raise SourceUnavailable(str(error)) from None
