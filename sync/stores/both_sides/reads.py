"""Reads of many rows from the primary, which go on from the other side if it becomes the primary meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from sync.errors import SourceUnavailable, TargetUnavailable
from sync.stores.rows import Page, Rows, cursor_after

S = TypeVar("S")
Begin = Callable[[S, str | None, int | None], Rows]


def from_primary(primary: Callable[[], S], begin: Begin[S], after: str | None, limit: int | None) -> Rows:
    """The rows that `begin` reads of a store, from after a cursor, at most `limit`; `primary` is the store to read."""
    store = primary()
    rows = begin(store, after, limit)
    return Rows(_followed(primary, begin, store, rows, limit), rows.keys, after)


def _followed(primary: Callable[[], S], begin: Begin[S], store: S, rows: Rows, limit: int | None) -> Iterator[Page]:
    seen, cursor = 0, rows.cursor
    while True:
        try:
            for page in rows.pages:
                yield page
                seen, cursor = seen + len(page), cursor_after(page[-1], rows.keys)
                if primary() is not store:
                    break
            else:
                return
        except (SourceUnavailable, TargetUnavailable):
            if primary() is store:
                raise
        if limit is not None and seen >= limit:
            return
        store = primary()
        rows = begin(store, cursor, None if limit is None else limit - seen)
