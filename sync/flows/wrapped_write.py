"""A write that an application's own class makes: its key is announced, then read back from the primary and reconciled.

Such a class cannot be given a timestamp, so it is never trusted for a version: the target's side is written by reconcile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from sync.core.mutations import Key, Mutation
from sync.errors import TargetUnavailable, WriteRefused
from sync.flows.dual_write import Aside, Mode
from sync.flows.reconcile import Reconcile
from sync.ports import Intent, TableJournal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WrappedWrite:
    """Calls that write some keys of one table."""

    journal: TableJournal
    reconcile: Reconcile
    aside: Aside
    mode: Mode

    def write(self, keys: Sequence[Key], call: Callable[[], T]) -> T:
        """Announce the keys, call, reconcile; what the call returned. An error of the call leaves the keys unsure."""
        intents = [self._open(key) for key in keys]
        try:
            result = call()
        except BaseException as error:
            self._mark_all(intents, "unsure", type(error).__name__)
            raise
        self._mark_all(intents, "finished", "")
        if self.mode == "inline":
            self._reconcile(keys)
        return result

    def _open(self, key: Key) -> tuple[Key, Intent | None]:
        try:
            return key, self.journal.open(Mutation("recheck", key, {}))
        except TargetUnavailable as away:
            if not self.aside.accepts:
                raise WriteRefused(f"{key.table}: the journal in Postgres is away ({away}); nothing was written") from None
            return key, None

    def _mark_all(self, intents: list[tuple[Key, Intent | None]], state: Literal["finished", "unsure"], error: str) -> None:
        for key, intent in intents:
            if intent is None:
                self.aside.unrecorded(self.journal, Mutation("recheck", key, {}), self.aside.stamp(key), "finished")
                continue
            try:
                self.journal.mark([intent], state, error)
                self.aside.left(key.table)
            except TargetUnavailable as away:
                self.aside.later(self.journal, intent, state, str(away))

    def _reconcile(self, keys: Sequence[Key]) -> None:
        try:
            self.reconcile.keys(keys, lambda key, error: self.aside.left(key.table))
        except TargetUnavailable:
            self.aside.left(keys[0].table)  # the intents stay, and workers drain them
