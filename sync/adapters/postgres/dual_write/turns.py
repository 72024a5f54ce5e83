"""Threads of one writer stamp a key in turn: they share the slot, and must see each other's intents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock

from sync.adapters.postgres.dual_write.locks import lock_of
from sync.core.mutations import Key


@dataclass(slots=True)
class _Turn:
    lock: Lock = field(default_factory=Lock)
    users: int = 0


class Turns:
    """A lock for each key that is being stamped: of a fixed number, two batches would nearly always share one."""

    def __init__(self) -> None:
        self._turns: dict[int, _Turn] = {}
        self._guard = Lock()

    def __len__(self) -> int:
        return len(self._turns)

    @contextmanager
    def of(self, keys: Iterable[Key]) -> Iterator[None]:
        """Have these keys' turns, taken in one order by all threads."""
        numbers = sorted({lock_of(key) for key in keys})
        with self._guard:
            turns = [self._turns.setdefault(number, _Turn()) for number in numbers]
            for turn in turns:
                turn.users += 1
        try:
            with ExitStack() as held:
                for turn in turns:
                    held.enter_context(turn.lock)
                yield
        finally:
            with self._guard:
                for number, turn in zip(numbers, turns, strict=True):
                    turn.users -= 1
                    if not turn.users:
                        del self._turns[number]
