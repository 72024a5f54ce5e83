"""The target's halves of rows that the primary has, and that the target could not take together: each by itself.

Nobody waits for them here but the rows' own callers, and for what another transaction has locked only some of the threads:
what is free comes first, and what is locked beyond that is left to workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore, RLock

from sync.core.mutations import Mutation
from sync.flows.dual_write_batch import ForwardBatch
from sync.ports import Intent
from sync.stores.calls import Calls
from sync.stores.threads import run_once


@dataclass(frozen=True, slots=True, eq=False)
class Half:
    """A row's half; `tell` is called once, in any thread, with the error of the flows if there is one."""

    batch: ForwardBatch
    put: Mutation
    intent: Intent
    tell: Callable[[BaseException | None], object]


class Halves:
    """Writes halves in these threads."""

    def __init__(self, threads: Executor, count: int, calls: Calls) -> None:
        """`count`: how many threads there are; half of them may wait for locks."""
        self._threads, self._calls = threads, calls
        self._waiting, self._order = BoundedSemaphore(max(1, count // 2)), RLock()

    def begin(self, halves: Sequence[Half]) -> None:
        """Only within a call: the store is not closed before these have ended, too."""
        with self._order:  # none that is locked is between these
            for half in halves:
                self._calls.go_on(half)
                self._submit(self._try, half)

    def _submit(self, step: Callable[[Half], bool], half: Half) -> None:
        run_once(self._threads, partial(copy_context().run, self._run, step, half))

    def _run(self, step: Callable[[Half], bool], half: Half) -> None:
        failed: BaseException | None = None
        try:
            if not step(half):
                with self._order:  # behind those that may be free
                    self._submit(self._wait, half)
                return
        except BaseException as error:  # noqa: BLE001 (the row's caller has it)
            failed = error
        try:
            half.tell(failed)
        finally:
            self._calls.finish(half)

    def _try(self, half: Half) -> bool:
        return half.batch.second_half(half.put, half.intent)

    def _wait(self, half: Half) -> bool:
        one = half.batch.one
        if self._waiting.acquire(blocking=False):
            try:
                one.second_half(half.put, half.intent)
            finally:
                self._waiting.release()
        else:
            one.mark([half.intent], "finished", "its row is locked, and so are others")
            one.observe("target", "left", 0.0)
        return True
