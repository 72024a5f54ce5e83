"""Values of Postgres that Python cannot represent: the error of their row names them, and no other row is affected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Loader
from psycopg.pq import Format

_TYPES = ("date", "time", "timetz", "timestamp", "timestamptz", "interval")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value as Postgres wrote it, and why Python cannot represent it."""

    text: str
    why: str


def tolerate(context: Any) -> None:
    """Have a cursor return `Unreadable` for what Python cannot hold: psycopg's own loaders would raise for all rows."""
    for name in _TYPES:
        oid = psycopg.adapters.types[name].oid
        found = context.adapters.get_loader(oid, Format.TEXT)
        if found is not None:
            context.adapters.register_loader(oid, _tolerant(found))


def _tolerant(found: type[Loader]) -> type[Loader]:
    class Tolerant:
        format = Format.TEXT

        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            self._inner = found(oid, context)

        def load(self, data: Any) -> Any:
            try:
                return self._inner.load(data)
            except (psycopg.DataError, OverflowError, ValueError) as error:
                return Unreadable(bytes(data).decode(errors="replace"), " ".join(str(error).split()))

    return Tolerant


def unreadable_in(value: Any) -> Unreadable | None:
    """The first `Unreadable` in a value, which may be an array."""
    if isinstance(value, list):
        return next((found for each in value if (found := unreadable_in(each))), None)
    return value if isinstance(value, Unreadable) else None
