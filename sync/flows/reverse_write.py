"""A write while Postgres is primary: one transaction there, then the source, in the background.

The caller's answer is Postgres's. The source is sent the write with the row's version as its timestamp; whatever fails there
leaves the intent, and reconciliation sends the row again: the caller does not notice a sick source (invariant 8).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sync.core.expiry import expires_late
from sync.core.mutations import Key, Mutation
from sync.errors import AnswerLost, EpochChanged, TargetUnavailable, WriteRefused, WriteRefusedNow, WriteUnsure
from sync.failpoints import failpoint
from sync.flows.dual_write import Mode, WriteBehind
from sync.flows.observing import Observe, unobserved
from sync.ports import Intent, Outcome, SecondaryRows, TableJournal, TableReverse

T = TypeVar("T")


class ReverseWriteBehind(WriteBehind, Protocol):
    """What is left for later, and intents to remove because both sides have the write."""

    def remove_later(self, journal: TableJournal, intent: Intent) -> None: ...


@dataclass(frozen=True, slots=True)
class ReverseWrite:
    """Writes one table's rows to Postgres, and sends them on to the source; `columns` are those that both sides have."""

    reverse: TableReverse
    journal: TableJournal
    secondary: SecondaryRows
    write_behind: ReverseWriteBehind
    columns: frozenset[str]
    mode: Mode = "inline"
    observe: Observe = unobserved

    def write(self, mutation: Mutation) -> bool:
        """Write; False for an update of a row that is not there. Raises WriteRefused, WriteUnsure, EpochChanged."""
        intent = self.answered(mutation.key, lambda: self.reverse.write(mutation))
        return intent is not None and self.committed(mutation, intent)

    def insert(self, put: Mutation) -> bool:
        """Write a row if there is none with its key; False where there is one. Raises as `write`."""
        intent = self.answered(put.key, lambda: self.reverse.insert(put))
        return intent is not None and self.committed(put, intent)

    def increment(self, key: Key, amounts: Mapping[str, bytes]) -> bool:
        """Add to counters; workers make the source equal (rule “counters”). Raises as `write`."""
        intent = self.answered(key, lambda: self.reverse.increment(key, amounts))
        failpoint("reverse.committed")
        self.write_behind.observe(intent.version, key)
        self.write_behind.mark_later(self.journal, intent, "finished", "")
        return True

    def change(self, key: Key, make: Callable[[bytes], Mutation]) -> bool:
        """Write what `make` makes of the row's canonical bytes; False where there is no row. Raises as `write`.

        A ValueError of `make` refuses the write.
        """
        made = self.answered(key, lambda: self.reverse.change(key, make))
        return made is not None and self.committed(*made)

    def committed(self, mutation: Mutation, intent: Intent) -> bool:
        """The second half of a write that Postgres has: send it on. True."""
        failpoint("reverse.committed")
        self.write_behind.observe(intent.version, mutation.key, mutation.kind == "delete_partition")
        self._send(mutation, intent)
        return True

    def unsure(self, mutation: Mutation, intent: Intent) -> None:
        """The second half of a write that Postgres may have: workers send what there is."""
        self.write_behind.observe(intent.version, mutation.key, mutation.kind == "delete_partition")
        self.write_behind.mark_later(self.journal, intent, "finished", "")

    def answered(self, key: Key, ask: Callable[[], T]) -> T:
        """What Postgres answers. Raises WriteRefused, WriteUnsure, EpochChanged."""
        failpoint("reverse.before_write")
        asked, outcome = time.monotonic(), "refused"
        try:
            answer = ask()
            outcome = "written"
            return answer
        except AnswerLost as lost:
            outcome = "unsure"
            raise WriteUnsure(f"{key.table}: {lost}; it may have been written, and will be reconciled") from None
        except TargetUnavailable as away:
            raise WriteRefusedNow(
                f"{key.table}: Postgres is primary and {away.state} ({away}); nothing was written"
            ) from None
        except ValueError as error:
            raise WriteRefused(f"{key.table}: {error}") from None
        except EpochChanged:
            outcome = "elsewhere"
            raise
        finally:
            self.observe("target", outcome, time.monotonic() - asked)

    def _send(self, mutation: Mutation, intent: Intent) -> None:
        begun, caller = time.monotonic(), copy_context()  # `done` is called in a thread of the driver's

        def done(outcome: Outcome, error: str) -> None:
            caller.run(self.observe, "source", outcome, time.monotonic() - begun)
            if outcome == "written" and not expires_late(mutation.cells, time.monotonic() - begun):
                self.write_behind.remove_later(self.journal, intent)
            else:
                self.write_behind.mark_later(self.journal, intent, "finished", error)

        sent = Mutation(mutation.kind, mutation.key, self._mapped(mutation.cells))
        if self.mode == "async" or not self.secondary.send(sent, intent.version, done):
            self.write_behind.mark_later(self.journal, intent, "finished", "")

    def _mapped(self, cells: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        # A column that Postgres does not have could not be sent again.
        return {name: cell for name, cell in cells.items() if name in self.columns}
