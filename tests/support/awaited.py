"""AsyncDualWriteStore with the methods of the other stores, so that their tests are its own, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, Self

from sync.settings import Config, Settings
from sync.stores import AsyncDualWriteStore
from sync.stores.rows import AsyncRows


class _Awaited:
    """Each call is awaited by an event loop in a thread of its own; what it returns is read there, too."""

    def __init__(self, real: Any, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._real, self._run = real, run

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._real, name)

        def call(*values: Any, **named: Any) -> Any:
            found = self._run(method(*values, **named))
            return _AwaitedRows(found, self._run) if isinstance(found, AsyncRows) else found

        return call


class _AwaitedRows:
    def __init__(self, rows: AsyncRows, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._rows, self._run = rows, run

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        try:
            row: dict[str, Any] = self._run(self._rows.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None
        return row

    @property
    def cursor(self) -> str | None:
        return self._rows.cursor


class AwaitedStore(_Awaited):
    """The store; many threads may use it, each of which is a task."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        super().__init__(AsyncDualWriteStore(settings, config), self._wait)

    def _wait(self, call: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(120)

    @property
    def primary(self) -> str:
        found: str = self._wait(self._real.primary())
        return found

    @contextmanager
    def transaction(self) -> Iterator[_Awaited]:
        begun = self._real.transaction()
        yield _Awaited(self._wait(begun.__aenter__()), self._wait)
        self._wait(begun.__aexit__(None, None, None))

    def __enter__(self) -> Self:
        self._wait(self._real.__aenter__())
        return self

    def __exit__(self, *_error: object) -> None:
        self._wait(self._real.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()
