"""`DualWriteStore.wrap`: an application's own store classes, with their own methods, written to both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sync.core.mutations import Key
from sync.flows.wrapped_write import WrappedWrite

Describe = Callable[..., tuple[str, Mapping[str, Any]]]
"""From a method's arguments to the table and the key that it writes."""
Flows = Callable[[str, Mapping[str, Any]], tuple[Key, WrappedWrite]]


class WrappedStore:
    """Behaves as `old`; the methods named in `writes` announce the key they write, and have it made equal in Postgres."""

    def __init__(self, old: Any, new: Any, writes: Mapping[str, Describe], flows: Flows, close: Callable[[], None]) -> None:
        unknown = [name for name in writes if not callable(getattr(old, name, None))]
        if unknown:
            raise TypeError(f"{type(old).__name__} has no method {unknown[0]}")
        # `new` answers once Postgres is primary; until then every call goes to `old`.
        self._old, self._new = old, new
        self._writes, self._flows, self._close = dict(writes), flows, close

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._old, name)
        describe = self._writes.get(name)
        if describe is None:
            return method

        def write(*args: Any, **kwargs: Any) -> Any:
            key, flow = self._flows(*describe(*args, **kwargs))
            return flow.write([key], lambda: method(*args, **kwargs))

        return write

    def __enter__(self) -> WrappedStore:
        return self

    def __exit__(self, *_error: object) -> None:
        self._close()
