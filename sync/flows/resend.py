"""Making the source equal to Postgres while that is primary, key by key: pick, send the row, remove (rules 26 and 27)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sync.core.expiry import expires_late
from sync.core.mutations import Key, Mutation
from sync.failpoints import failpoint
from sync.flows.isolation import isolate
from sync.ports import MAX_LOCKS, Outcome, PendingResend, SecondaryRows, TableResendSteps

log = logging.getLogger(__name__)
Cells = Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Resend:
    """Reconciles keys of one table towards the source; `decode` makes raw CQL cells of a row's canonical bytes."""

    resend_steps: TableResendSteps
    secondary: SecondaryRows
    decode: Callable[[bytes], Cells]

    def keys(self, keys: Iterable[Key], failed: Callable[[Key, str], None]) -> int:
        """Reconcile these keys; how many. `failed` is called for those that could not be. Raises TargetUnavailable."""
        picked: dict[Key, PendingResend] = {}
        for some, found in isolate(self.resend_steps.pick, list(dict.fromkeys(keys))):
            if isinstance(found, str):
                for key in some:
                    failed(key, found)
            else:
                picked |= found
        failpoint("resend.picked")
        done: list[Key] = []
        for key, error in self._send(picked):
            if error:
                log.warning("%s: %s", key.table, error, extra={"table": key.table, "keys": 1})
                failed(key, error)
            else:
                done.append(key)
        failpoint("resend.sent")
        self.resend_steps.remove(_intents(picked, done))
        failpoint("resend.removed")
        return len(done)

    def _send(self, picked: Mapping[Key, PendingResend]) -> Iterator[tuple[Key, str]]:
        """Write the rows as they were read, every column of them; of each the error in words, or nothing."""
        mutations: dict[Key, Mutation] = {}
        for key, found in picked.items():
            try:
                mutations[key] = self._mutation(key, found.row)
            except ValueError as error:
                yield key, f"the source cannot hold it: {error}"
        keys = list(mutations)
        for at in range(0, len(keys), MAX_LOCKS):
            some = keys[at : at + MAX_LOCKS]
            ended = self.secondary.write_many([(mutations[key], picked[key].version) for key in some])
            for key, (outcome, why, seconds) in zip(some, ended, strict=True):
                yield key, _said(mutations[key], outcome, why, seconds)

    def _mutation(self, key: Key, row: bytes | None) -> Mutation:
        if row is None:
            return Mutation("delete", key, {})
        return Mutation("put", key, self.decode(row))


def _said(mutation: Mutation, outcome: Outcome, error: str, seconds: float) -> str:
    if outcome == "written" and expires_late(mutation.cells, seconds):
        return "the source was slow, and the row expires that much later there: it is sent again"
    return "" if outcome == "written" else f"the source did not take it: {error}"


def _intents(picked: Mapping[Key, PendingResend], keys: Sequence[Key]) -> list[int]:
    return [intent for key in keys for intent in picked[key].intents]
