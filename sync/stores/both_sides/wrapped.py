"""`DualWriteStore.wrap`: an application's own store classes, with their own methods, written to both sides."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from sync.errors import SettingsError, WriteRefused
from sync.flows.wrapped_write import BegunWrite
from sync.ports import Primary
from sync.stores.both_sides.expected_backend import NO_SUCCESSOR
from sync.stores.both_sides.wrapped_threads import CallThreads

T = TypeVar("T")
Named = tuple[str, Mapping[str, Any]]
Keys = Iterable[Named]
"""Pairs of a table and a key; the partition key's columns alone stand for the whole partition (rule 47)."""
Describe = Callable[..., Named | Keys]
"""From a method's arguments to the table and the key that it writes, or to several such pairs."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that may be made under this primary: `finish`, `fail` or `withdraw` must follow, from any thread."""

    primary: Primary
    write: BegunWrite
    ended: Callable[[BaseException | None, str], None]

    def finish(self) -> None:
        """The call has ended. Raises WriteUnsure."""
        with self._ending("written"):
            self.write.finish()

    def fail(self, error: BaseException) -> None:
        """The call has raised."""
        try:
            self.write.fail(error)
        finally:
            self.ended(error, "failed")

    def withdraw(self) -> None:
        """The call is not made."""
        with self._ending("withdrawn"):
            self.write.withdraw()

    @contextmanager
    def _ending(self, outcome: str) -> Iterator[None]:
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.ended(error, outcome)


class PrimaryCalls(Protocol):
    """Runs a write under the current primary."""

    @property
    def primary(self) -> Primary: ...
    def call(self, keys: Keys, astra: Callable[[], T], postgres: Callable[[], T]) -> T: ...
    def begin(self, keys: Keys) -> Begun: ...
    def close(self) -> None: ...


class WrappedStore:
    """Has the methods of the primary's class; those named in `writes` announce the keys that they write.

    These keys are then made equal on the other side, whichever store is primary. `threads`: the methods are coroutine
    functions, and what would block their event loop runs there.
    """

    def __init__(
        self,
        stores: Mapping[str, Any],
        writes: Mapping[str, Describe],
        calls: PrimaryCalls,
        threads: CallThreads | None = None,
    ) -> None:
        self._stores, self._writes, self._calls, self._threads = dict(stores), dict(writes), calls, threads

    def __getattr__(self, name: str) -> Any:
        describe = self._writes.get(name)
        if self._threads is None:
            return self._write(name, describe) if describe else getattr(self._store(self._calls.primary), name)
        if describe:
            return self._async_write(name, describe, self._threads)
        if inspect.iscoroutinefunction(getattr(self._stores["astra"], name, None)):
            return self._async_read(name, self._threads)
        return getattr(self._store(self._calls.primary), name)

    def _write(self, name: str, describe: Describe) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            def by(primary: Primary) -> Callable[[], Any]:
                return lambda: _not_awaitable(name, getattr(self._store(primary), name)(*args, **kwargs))

            return self._calls.call(_pairs(name, describe(*args, **kwargs)), by("astra"), by("postgres"))

        return write

    def _async_write(self, name: str, describe: Describe, threads: CallThreads) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def write(*args: Any, **kwargs: Any) -> Any:
            keys = _pairs(name, describe(*args, **kwargs))

            def by(primary: Primary) -> Awaitable[Any]:
                made: Awaitable[Any] = getattr(self._store(primary), name)(*args, **kwargs)
                return made

            return await threads.run(lambda: self._calls.begin(keys), by)

        return write

    def _async_read(self, name: str, threads: CallThreads) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def read(*args: Any, **kwargs: Any) -> Any:
            primary = await threads.ask(lambda: self._calls.primary)  # during a switch it asks Postgres
            return await getattr(self._store(primary), name)(*args, **kwargs)

        return read

    def _store(self, primary: Primary) -> Any:
        store = self._stores[primary]
        if store is None:  # this process was fenced, and has slept through the cut-over
            raise SettingsError(NO_SUCCESSOR)
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._calls.close()
        if self._threads:
            self._threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._threads is None:
            raise SettingsError("this store's methods are no coroutine functions: use `with`")
        await self._threads.closing(self._calls.close)


def _pairs(name: str, described: Any) -> list[Named]:
    """Raises WriteRefused for anything else than a pair or several."""
    if isinstance(described, tuple) and described and isinstance(described[0], str):
        described = (described,)
    if isinstance(described, Iterable) and not isinstance(described, str | Mapping):
        pairs = list(described)
        if all(isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str) and isinstance(p[1], Mapping) for p in pairs):
            return pairs
    raise WriteRefused(
        f"{name}: its function in `writes` must return a table and a key, or a list of such pairs, and returned "
        f"{type(described).__name__}; nothing was written"
    )


def _not_awaitable(name: str, result: T) -> T:
    """Raise SettingsError for a result that has yet to be awaited: its write would be made after its end was recorded."""
    if not inspect.isawaitable(result):
        return result
    if inspect.iscoroutine(result):
        result.close()
    raise SettingsError(f"{name} returned an awaitable and is no coroutine function: define it with `async def`")
