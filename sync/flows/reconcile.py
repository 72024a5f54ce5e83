"""Making the target equal to the primary, key by key: claim, replay, read, apply (rule 15), many keys at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from sync.core.mutations import Key
from sync.errors import SourceUnavailable, TargetBusy, TargetRefused
from sync.failpoints import failpoint
from sync.flows.isolation import isolate
from sync.ports import PendingKey, PrimaryRows, Read, TableReconcileSteps

log = logging.getLogger(__name__)
MAX_TRIES, READ_TOGETHER = 5, 16


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Reconciles keys of one table; the primary is asked for many keys at once through `executor`."""

    reconcile_steps: TableReconcileSteps
    primary: PrimaryRows
    executor: Executor

    def keys(self, keys: Iterable[Key], failed: Callable[[Key, str], None]) -> int:
        """Reconcile these keys; how many. `failed` is called for those that could not be. Raises TargetUnavailable."""
        left = list(dict.fromkeys(keys))
        done = 0
        for _ in range(MAX_TRIES):
            if not left:
                return done
            changed, errors = self._once(left)
            for key, error in errors:
                failed(key, error)
            done += len(left) - len(changed) - len(errors)
            left = changed
        for key in left:
            done += self._hot(key, failed)
        return done

    def _hot(self, key: Key, failed: Callable[[Key, str], None]) -> bool:
        """Reconcile a key that changed during every try, with its lock held (rule 16)."""
        try:
            self.reconcile_steps.apply_locked(key, self._look)
        except (SourceUnavailable, TargetBusy, TargetRefused) as error:
            failed(key, str(error))
            return False
        return True

    def _once(self, keys: Sequence[Key]) -> tuple[list[Key], list[tuple[Key, str]]]:
        """One try: the keys that changed meanwhile, and those that failed on one side, with the error."""
        picked: dict[Key, PendingKey] = {}
        settled, changed, errors = [], [], []
        for some, claimed in isolate(self.reconcile_steps.pick, keys):
            if isinstance(claimed, str):
                errors += [(key, claimed) for key in some]
            else:
                picked |= claimed
        failpoint("reconcile.claimed")
        for key, found in self._read(picked):
            if isinstance(found, str):
                errors.append((key, found))
            else:
                settled.append((key, picked[key], found))
        failpoint("reconcile.read")
        for these, again in isolate(self.reconcile_steps.apply, settled):
            if isinstance(again, str):
                errors += [(key, again) for key, _, _ in these]
            else:
                changed += again
        failpoint("reconcile.applied")
        return changed, errors

    def _read(self, picked: Mapping[Key, PendingKey]) -> Iterator[tuple[Key, Read | str]]:
        """Every key's row, read without a lock (rule 15c), or why not; keys with nothing to send again are read together."""
        plain = [key for key in picked if not picked[key].replay]
        groups = [plain[i : i + READ_TOGETHER] for i in range(0, len(plain), READ_TOGETHER)]
        alone = [key for key in picked if picked[key].replay]
        for keys, rows in zip(groups, self.executor.map(self._together, groups), strict=True):
            if rows is None:
                alone += keys
            else:
                yield from zip(keys, rows, strict=True)
        yield from zip(alone, self.executor.map(lambda k: self._try(k, picked[k]), alone), strict=True)

    def _together(self, keys: Sequence[Key]) -> list[Read] | None:
        """The rows of these keys; None if at least one of them could not be read."""
        failpoint("reconcile.replayed")
        try:
            return self.primary.read_many(keys)
        except SourceUnavailable:
            return None

    def _try(self, key: Key, picked: PendingKey) -> Read | str:
        """The row, or why it could not be read."""
        try:
            return self._look(key, picked)
        except SourceUnavailable as error:
            log.warning("%s: %s", key.table, error, extra={"table": key.table, "keys": 1})
            return str(error)

    def _look(self, key: Key, picked: PendingKey) -> Read:
        """Send claimed writes again (rule 15b: late first attempts change nothing), then read. Raises SourceUnavailable."""
        for replay in picked.replay:
            outcome, error = self.primary.write_again(replay)
            # A refusal now says nothing about the first attempt: it may be in a queue, in a hint, or on one replica.
            if outcome == "refused":
                raise SourceUnavailable(f"the source refuses to repeat a write: {error}")
            if outcome == "unsure":
                raise SourceUnavailable(f"a write could not be repeated: {error}")
        failpoint("reconcile.replayed")
        return self.primary.read(key)
