"""Reads of many rows from the primary, which go on from the other side if it becomes the primary meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from sync.errors import SourceUnavailable, TargetUnavailable
from sync.stores.rows import Row, Rows

S = TypeVar("S")
_LOOK_EVERY = 100


def from_primary(
    primary: Callable[[], S], begin: Callable[[S, str | None, int | None], Rows], after: str | None, limit: int | None
) -> Rows:
    """The rows that `begin` reads of a store, from after a cursor, at most `limit`; `primary` is the store to read."""
    store = primary()
    rows = begin(store, after, limit)
    return Rows(_followed(primary, begin, store, rows, limit), rows.keys, after)


def _followed(
    primary: Callable[[], S], begin: Callable[[S, str | None, int | None], Rows], store: S, rows: Rows, limit: int | None
) -> Iterator[Row]:
    seen = 0
    while True:
        try:
            for pair in rows.pairs():
                seen += 1
                yield pair
                if seen % _LOOK_EVERY == 0 and primary() is not store:
                    break
            else:
                return
        except (SourceUnavailable, TargetUnavailable):
            if primary() is store:
                raise
        if limit is not None and seen >= limit:
            return
        store = primary()
        rows = begin(store, rows.cursor, None if limit is None else limit - seen)
