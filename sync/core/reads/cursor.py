"""The place after a row, as text that an application may keep: in a page's link, or in a job that resumes.

It names the row by its key, and by its token where rows come in the order of tokens, so that either side finds the place.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sync.errors import QueryNotSupported

NO_CURSOR = "after: this is no cursor of a read of this table; pass the `cursor` of an earlier one"
Row = tuple[int | None, dict[str, Any]]
"""A row's token, where the order is that of tokens, and its values."""
_TAGS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "b": (bool, bool, bool),
    "i": (int, str, int),
    "s": (str, str, str),
    "u": (UUID, str, UUID),
    "n": (Decimal, str, Decimal),
    "f": (float, float.hex, float.fromhex),
    "x": (bytes, bytes.hex, bytes.fromhex),
    "m": (datetime, datetime.isoformat, datetime.fromisoformat),
    "d": (date, date.isoformat, date.fromisoformat),
    "t": (time, time.isoformat, time.fromisoformat),
}
"""By tag: a type, what makes text of a value, and what reads that; a subclass (bool, datetime) before its base."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place after the row with this key; `token` is None in a table whose tokens are not known."""

    token: int | None
    key: tuple[Any, ...]


def to_cursor(place: Place) -> str:
    """The place as text. Raises QueryNotSupported for a key that holds a collection."""
    data = json.dumps([place.token, [_tagged(value) for value in place.key]], separators=(",", ":"))
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def from_cursor(text: str) -> Place:
    """The place that `to_cursor` gave as text. Raises QueryNotSupported for anything else."""
    try:
        data = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        token, key = data
        return Place(None if token is None else int(token), tuple(_TAGS[tag][2](shown) for tag, shown in key))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        raise QueryNotSupported(NO_CURSOR) from None


def check_place(place: Place | None, columns: Sequence[str]) -> None:
    """Raise QueryNotSupported for a place that is not one of a table with these key columns."""
    if place is not None and (len(place.key) != len(columns) or abs(place.token or 0) >= 2**63):
        raise QueryNotSupported(NO_CURSOR)


def _tagged(value: Any) -> list[Any]:
    for tag, (kind, show, _) in _TAGS.items():
        if isinstance(value, kind):
            return [tag, show(value)]
    raise QueryNotSupported(f"a key that holds a {type(value).__name__} has no cursor")
