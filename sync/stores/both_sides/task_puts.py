"""Puts of many tasks go together, as those of many threads do, but without a thread each: a thread writes for all that wait.

What has begun is finished, whether or not its task still waits for it; what has not begun when its task is cancelled is not
written (docs/decisions/0010-async-by-threads.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Lock
from typing import Any

from sync.errors import WriteRefusedNow, copied
from sync.flows.gathering import Gathering, Limit, Member
from sync.flows.shared_puts import AT_ONCE, PATIENCE_SECONDS
from sync.ports import MAX_LOCKS
from sync.stores.both_sides.puts import Answer, GivenRow, Puts
from sync.stores.threads import run_once
from sync.wiring.tracing import tracing


class _Put(Member):
    """A put that a task of this event loop waits for."""

    __slots__ = ("context", "future", "loop", "row", "timer", "turn")

    def __init__(self, row: GivenRow) -> None:
        super().__init__(self)
        self.row, self.context = row, copy_context()
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[bool] = self.loop.create_future()
        self.timer: asyncio.TimerHandle | None = None
        self.turn = Lock()
        """Taken by whoever begins its turn to lead, or gives it back."""


class TaskPuts:
    """The puts of tasks, of any event loop, into one store, which are made in these threads."""

    def __init__(self, store: Puts, threads: Executor, count: int) -> None:
        """`count`: how many threads there are."""
        self._store, self._threads, self._count = store, threads, count
        self._tables: dict[str, Gathering[_Put]] = {}

    async def put(self, table: str, row: Mapping[str, Any], ttl: int | None) -> bool:
        """As DualWriteStore.put."""
        with tracing().within("put", table):
            shares = self._store._shares(table)  # before any lock is taken: in a forked process it might never be released
            one = _Put(GivenRow(row, ttl))
            if not shares:
                self._submit(self._alone, table, one)
                return await one.future
            gathering = self._gathering(table)
            try:
                self._begin(table, one)
                return await one.future
            finally:
                gathering.withdraw(one)
                if one.timer:
                    one.timer.cancel()
                if not one.loop.is_closed():
                    one.future.cancel()  # interrupted before it has waited: what has not begun is not written

    def _begin(self, table: str, one: _Put) -> None:
        try:
            if self._gathering(table).enter(one):
                self._submit(self._lead, table, one)
            else:
                self._wait(table, one)
        except BaseException:  # a handler of a signal has raised
            self._give_back(table, one)
            raise

    def _gathering(self, table: str) -> Gathering[_Put]:
        found = self._tables.get(table)
        if found is None:
            limit = Limit(min(AT_ONCE, self._count), self._count)
            found = self._tables.setdefault(table, Gathering(limit, PATIENCE_SECONDS))
        return found

    def _wait(self, table: str, one: _Put) -> None:
        """On its loop: from now on it waits, and if it does so for long, it is to lead."""
        one.timer = one.loop.call_later(self._gathering(table).patience, self._has_waited, table, one)

    def _has_waited(self, table: str, one: _Put) -> None:
        if one.future.done():
            return
        self._wait(table, one)  # it may be put back, to wait again
        try:
            # Where all threads are busy, all of them would come to this before one begins to lead, and go one by one.
            if self._gathering(table).has_waited(one, beside_called=False):
                self._submit(self._lead, table, one)
        except BaseException:  # a handler of a signal has raised
            if self._give_back(table, one) and not one.future.done():
                one.future.set_exception(WriteRefusedNow(f"{table}: a signal interrupted the call: nothing was written"))
            raise

    def _give_back(self, table: str, one: _Put) -> bool:
        """If it was to lead and nobody has begun to, the next one leads. Returns whether that was so."""
        given_back = one.state == "leads" and one.turn.acquire(blocking=False)
        if given_back:
            self._leave(table, one, False)
        return given_back

    def _lead(self, table: str, first: _Put) -> None:
        """In a thread: write those that wait. The next ones begin as soon as most of these have their answers."""
        if not first.turn.acquire(blocking=False):
            return
        gathering, led, has_written = self._gathering(table), [first], False
        begun, unanswered = list[_Put](), set[int]()

        def tell(answers: Mapping[int, Answer]) -> None:
            unanswered.difference_update(answers)
            gathering.put_back([begun[number] for number, answer in sorted(answers.items()) if answer == "later"])
            self._leave(table, first, "written" in answers.values())
            for number in (number for number, answer in answers.items() if answer == "alone"):
                self._submit(self._alone, table, begun[number])
            self._answer([(begun[n], None) for n, answer in answers.items() if answer == "written"])
            self._answer([(begun[n], answer) for n, answer in answers.items() if isinstance(answer, BaseException)])

        try:
            gathering.take(led, MAX_LOCKS, lambda _: True)
            begun.extend(one for one in led if not one.future.cancelled())
            if len(begun) > 1:
                unanswered.update(range(len(begun)))
                self._store._put_each(table, [one.row for one in begun], tell)
            elif begun:
                has_written = begun[0].context.copy().run(self._alone, table, begun[0])
        except BaseException as error:  # noqa: BLE001 (the tasks have it)
            self._answer([(begun[number], copied(error)) for number in unanswered])
        finally:
            self._leave(table, first, has_written)

    def _alone(self, table: str, one: _Put) -> bool:
        """In a thread: write one by itself. Returns whether it is written."""
        if one.future.cancelled():
            return False
        try:
            self._store._put(table, one.row.values, one.row.ttl)
        except BaseException as error:  # noqa: BLE001 (the task has it)
            self._answer([(one, error)])
            return False
        self._answer([(one, None)])
        return True

    def _leave(self, table: str, first: _Put, has_written: bool) -> None:
        if called := self._gathering(table).leave(first, has_written):
            self._submit(self._lead, table, called)

    def _submit(self, call: Callable[[str, _Put], object], table: str, one: _Put) -> None:
        own = one.context.copy()  # what is recorded there belongs to the task's span; another call may be in it now
        run_once(self._threads, partial(own.run, call, table, one))

    def _answer(self, answers: Sequence[tuple[_Put, BaseException | None]]) -> None:
        """In a thread: tell the tasks, those of a loop with one call."""
        for loop in {one.loop for one, _ in answers}:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(_end, [each for each in answers if each[0].loop is loop])


def _end(answers: Sequence[tuple[_Put, BaseException | None]]) -> None:
    """On the loop of these."""
    try:
        for one, error in answers:
            if one.future.done():
                continue  # its task was cancelled
            if error is None:
                one.future.set_result(True)
            else:
                one.future.set_exception(_takeable(error))
    except BaseException:  # a handler of a signal has raised: the others wait
        answers[0][0].loop.call_soon(_end, answers)
        raise


def _takeable(error: BaseException) -> BaseException:
    """The error, as a future takes it."""
    return RuntimeError(f"the put raised {error!r}") if isinstance(error, StopIteration) else error
