"""`DualWriteStore.wrap`: an application's own store classes, with their own methods, written to both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")
Describe = Callable[..., tuple[str, Mapping[str, Any]]]
"""From a method's arguments to the table and the key that it writes."""


class PrimaryCalls(Protocol):
    """Runs a write under the current primary."""

    @property
    def primary(self) -> str: ...
    def call(self, table: str, key: Mapping[str, Any], astra: Callable[[], T], postgres: Callable[[], T]) -> T: ...
    def close(self) -> None: ...


class WrappedStore:
    """Has the methods of the primary's class; those named in `writes` announce the key that they write.

    That key is then made equal on the other side, whichever store is primary.
    """

    def __init__(self, stores: Mapping[str, Any], writes: Mapping[str, Describe], calls: PrimaryCalls) -> None:
        for name in writes:
            for store in filter(None, stores.values()):  # `new` may be None until the cut-over
                if not callable(getattr(store, name, None)):
                    calls.close()
                    raise TypeError(f"{type(store).__name__} has no method {name}")
        self._stores, self._writes, self._calls = dict(stores), dict(writes), calls

    def __getattr__(self, name: str) -> Any:
        describe = self._writes.get(name)
        if describe is None:
            return getattr(self._stores[self._calls.primary], name)

        def write(*args: Any, **kwargs: Any) -> Any:
            def by(primary: str) -> Callable[[], Any]:
                return lambda: getattr(self._stores[primary], name)(*args, **kwargs)

            return self._calls.call(*describe(*args, **kwargs), by("astra"), by("postgres"))

        return write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._calls.close()
