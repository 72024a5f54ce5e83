"""The blocking parts of an application's asynchronous writes, in threads; the call itself is awaited in its event loop.

A task may be cancelled at any await. What was announced is then withdrawn, if the call was not begun; else it is marked
unsure, because the call may have been done. Both are left to a thread at once, which a second cancellation does not stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Protocol, TypeVar

from sync.errors import StoreClosed
from sync.ports import Primary

T = TypeVar("T")


class BegunCall(Protocol):
    """A call that may be made under this primary: one of the three must follow."""

    @property
    def primary(self) -> Primary: ...
    def finish(self) -> None: ...
    def fail(self, error: BaseException) -> None: ...
    def withdraw(self) -> None: ...


class CallThreads:
    """Threads that announce, and others that say how a call ended.

    During a switch the former wait for it, and it waits for the latter.
    """

    def __init__(self, size: int, check: Callable[[], None]) -> None:
        self._check = check  # that this is not a forked process, which has none of these threads
        self._begin = ThreadPoolExecutor(size, thread_name_prefix="sync-wrapped-begin")
        self._end = ThreadPoolExecutor(size, thread_name_prefix="sync-wrapped-end")

    async def run(self, begin: Callable[[], BegunCall], call: Callable[[Primary], Awaitable[Any]]) -> Any:
        """Begin in a thread, await the call under the primary that it says, and end in a thread; what the call returned."""
        begun = await self._begun(begin)
        try:
            result = await call(begun.primary)
        except GeneratorExit as error:  # its event loop is gone: nothing can be awaited
            self._end.submit(begun.fail, error)
            raise
        except BaseException as error:
            await _result(self._end.submit(begun.fail, error))
            raise
        await _result(self._end.submit(begun.finish))
        return result

    async def ask(self, what: Callable[[], T]) -> T:
        """What this returns, which may block."""
        self._check()
        answer: T = await _result(self._end.submit(what))
        return answer

    async def _begun(self, begin: Callable[[], BegunCall]) -> BegunCall:
        self._check()
        try:
            began = self._begin.submit(copy_context().run, begin)
        except RuntimeError:
            raise StoreClosed("this store was closed: nothing was sent; open a new one") from None
        try:
            begun: BegunCall = await _result(began)
        except BaseException:
            if not began.cancel():  # not by waiting in a thread: those that end calls are needed for that
                began.add_done_callback(lambda began: self._end.submit(_withdraw, began))
            raise
        return begun

    def close(self) -> None:
        """Start nothing more."""
        self._begin.shutdown(wait=False)
        self._end.shutdown(wait=False)

    async def closing(self, close: Callable[[], None]) -> None:
        """Close the store in a thread: it waits for calls under way, which need the event loop."""
        self._begin.shutdown(wait=False)
        await asyncio.to_thread(close)
        self._end.shutdown(wait=False)


async def _result(future: Future[Any]) -> Any:
    """The future's result; a cancellation of the caller leaves it running."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _withdraw(began: Future[BegunCall]) -> None:
    if began.exception() is None:
        began.result().withdraw()
