"""How many writes that nobody waits for are in progress at once."""

from __future__ import annotations

from threading import Condition

from sync.ports import Outcome

_MAX_UNDER_WAY, _LONGEST_WAIT_SECONDS = 64, 0.1


class WritesInFlight:
    """Counts the writes in progress that nobody waits for."""

    def __init__(self) -> None:
        self._count, self._sick, self._changed = 0, False, Condition()

    def begin(self) -> bool:
        """Whether one more may be sent. A healthy source that is slower than its writers slows them down."""
        with self._changed:
            allowed = self._changed.wait_for(self._is_free, 0 if self._sick else _LONGEST_WAIT_SECONDS)
            self._count += allowed
            return allowed

    def _is_free(self) -> bool:
        return self._count < (1 if self._sick else _MAX_UNDER_WAY)

    def end(self, outcome: Outcome) -> None:
        """One of them has ended; one without an answer is the sign of a sick source."""
        with self._changed:
            self._count -= 1
            self._sick = outcome == "unsure"
            self._changed.notify()
