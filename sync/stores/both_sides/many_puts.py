"""Many rows with few statements: `put_many`, in several batches at once."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, wait
from contextvars import copy_context
from typing import Any, TypeVar

from sync.core.mutations import Mutation
from sync.errors import NotNow, SyncError, WriteRefused, copied
from sync.flows.dual_write_batch import Ends
from sync.flows.shared_puts import BATCH_BYTES
from sync.ports import MAX_LOCKS
from sync.stores.both_sides.table_flows import Deletes, TableFlows
from sync.stores.both_sides.table_writes import TableWrites
from sync.stores.calls import Calls
from sync.wiring.tracing import tracing

T = TypeVar("T")


class ManyPuts(TableWrites):
    """What a store of both sides writes by many rows at once."""

    _many: Executor
    _calls: Calls

    @abstractmethod
    def _of(self, table: str) -> TableFlows: ...

    @abstractmethod
    def _again(self, table: str, call: Callable[[TableFlows], T]) -> T: ...

    @abstractmethod
    def _has_changed(self, flows: TableFlows, refusal: SyncError) -> bool: ...

    @abstractmethod
    def _write(self, flows: TableFlows | Deletes, mutation: Mutation) -> bool: ...

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, many at once, after checking all of them; rows with the same key are written in order.

        Raises the first row's error when all have been tried; what follows a row that failed, with its key, is not written.
        """
        given = list(rows)
        flows, puts = self._retry_on_change(table, lambda flows: (flows, [flows.put(each) for each in given]))
        by_key: dict[bytes, list[int]] = {}
        for number, put in enumerate(puts):
            by_key.setdefault(put.key.canonical, []).append(number)
        errors: dict[int, SyncError] = {}

        def alone(row: Mapping[str, Any]) -> SyncError | None:
            try:
                self._again(table, lambda flows: self._write(flows, flows.put(row)))
            except SyncError as error:
                return error
            return None

        def write(numbers: Sequence[int]) -> None:
            """One batch."""
            ends = self._batch(table, flows, [puts[number] for number in numbers], lambda flows: flows.batch.write)
            for place in ends.alone:
                if failed := alone(given[numbers[place]]):
                    ends.errors[place] = failed
            errors.update({numbers[place]: error for place, error in ends.errors.items()})

        def write_all() -> bool:
            with self._calls:
                size = self._together(table)
                for turn in _turns(list(by_key.values()), errors):
                    self._write_all([[batch] for batch in _batches(turn, puts, size)], write)
            if failed := [number for numbers in by_key.values() for number in numbers if number in errors]:
                raise errors[failed[0]]
            return True

        return tracing().write("put_many", table, write_all, len(given))

    def _together(self, table: str) -> int:
        """How many rows of the table are written together, at most."""
        return MAX_LOCKS if self._router.epochs.primary == "astra" and self._of(table).batch.journal.takes_rows else 1

    def _batch(
        self,
        table: str,
        flows: TableFlows,
        puts: Sequence[Mutation],
        write: Callable[[TableFlows], Callable[[Sequence[Mutation]], Ends]],
    ) -> Ends:
        """Write rows together that these flows made, as far as that is possible; `alone` are left, to be written one by one.

        Once the table has changed, all are: by other flows a row made by these would have a new column on one side alone.
        """
        every, begun = list(range(len(puts))), time.monotonic()
        try:
            if len(puts) == 1 or self._of(table) is not flows:
                return Ends(alone=every)
            ends = self._router.route({"astra": lambda: write(flows)(puts), "postgres": lambda: Ends(alone=every)})
        except SyncError as error:
            ends = Ends({place: copied(error) for place in every})
        else:
            self._again_alone(flows, ends)
        seconds, alone = time.monotonic() - begun, frozenset(ends.alone)
        for place in every:
            if place not in alone:
                self._router.ended(ends.errors.get(place), seconds)
        return ends

    def _again_alone(self, flows: TableFlows, ends: Ends) -> None:
        """What was refused goes alone if the table has changed."""
        for place, refusal in list(ends.errors.items()):
            if isinstance(refusal, WriteRefused) and not isinstance(refusal, NotNow):
                try:
                    if self._has_changed(flows, refusal):
                        del ends.errors[place]
                        ends.alone.append(place)
                except SyncError as error:  # this row's answer: the others have their own
                    ends.errors[place] = error

    def _write_all(self, groups: Iterable[list[T]], write: Callable[[T], object]) -> None:
        """Write several groups at once, each in order. Raises the first group's error when all have been tried."""

        def in_order(group: list[T]) -> None:
            for each in group:
                write(each)

        # Each in a copy of the caller's context: what it records there is part of the caller's span.
        written = [self._many.submit(copy_context().run, in_order, group) for group in groups]
        wait(written)
        for group_written in written:
            group_written.result()


def _turns(groups: Sequence[Sequence[int]], failed: Mapping[int, object]) -> Iterator[list[int]]:
    """The first of each group, then the second ones, and so on: no group has two in a turn. Not behind one that failed."""
    for place in range(max(map(len, groups), default=0)):
        yield [group[place] for group in groups if place < len(group) and failed.keys().isdisjoint(group)]


def _batches(turn: Sequence[int], puts: Sequence[Mutation], size: int) -> Iterator[list[int]]:
    """The turn in batches of `size` rows and BATCH_BYTES bytes at most; a row alone may be larger."""
    batch, total = list[int](), 0
    for number in turn:
        more = puts[number].bytes
        if batch and (len(batch) == size or total + more > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(number)
        total += more
    if batch:
        yield batch
