"""Making the target equal to the primary, key by key: claim, replay, read, apply (rule 15), many keys at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from sync.core.mutations import Key
from sync.errors import SourceUnavailable
from sync.failpoints import failpoint
from sync.ports import Picked, PrimaryRows, Read, TableSettling

log = logging.getLogger(__name__)
MOST_TRIES = 20


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Reconciles keys of one table; the primary is asked for many keys at once through `executor`."""

    settling: TableSettling
    primary: PrimaryRows
    executor: Executor

    def keys(self, keys: Iterable[Key], failed: Callable[[Key, str], None]) -> int:
        """Reconcile these keys; how many. `failed` hears of those that could not be. Raises TargetUnavailable."""
        left = list(dict.fromkeys(keys))
        done = 0
        for _ in range(MOST_TRIES):
            if not left:
                return done
            changed, errors = self._once(left)
            for key, error in errors:
                failed(key, error)
            done += len(left) - len(changed) - len(errors)
            left = changed
        for key in left:
            failed(key, "it changed each time it was tried")
        return done

    def _once(self, keys: Sequence[Key]) -> tuple[list[Key], list[tuple[Key, str]]]:
        """One try: the keys that changed under it, and those whose primary did not answer, with its error."""
        picked = self.settling.pick(keys)
        failpoint("reconcile.claimed")
        settled, errors = [], []
        for key, found in zip(picked, self.executor.map(lambda k: self._look(k, picked[k]), picked), strict=True):
            if isinstance(found, str):
                errors.append((key, found))
            else:
                settled.append((key, picked[key], found))
        failpoint("reconcile.read")
        changed = self.settling.settle(settled) if settled else []
        failpoint("reconcile.applied")
        return changed, errors

    def _look(self, key: Key, picked: Picked) -> Read | str:
        """Send claimed mutations again until each is acknowledged, so that a late first attempt changes nothing; read."""
        for mutation, version in picked.replay:
            outcome, error = self.primary.write(mutation, version)
            if outcome == "unsure":
                return f"a write could not be repeated: {error}"
            # Refused now, it was refused or done before: the read says what counts.
        try:
            return self.primary.read(key)
        except SourceUnavailable as error:
            log.warning("%s: %s", key.table, error)
            return str(error)
