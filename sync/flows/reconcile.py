"""Making the target equal to the primary for one key: claim, replay, read, apply (rule 15)."""

from __future__ import annotations

from dataclasses import dataclass

from sync.core.mutations import Key
from sync.errors import SourceUnavailable
from sync.failpoints import failpoint
from sync.ports import Picked, PrimaryRows, TableJournal

MOST_TRIES = 20


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Reconciles keys of one table."""

    journal: TableJournal
    primary: PrimaryRows

    def key(self, key: Key) -> bool:
        """Reconcile one key; False where it changed each time it was tried. Raises SourceUnavailable, TargetUnavailable."""
        for _ in range(MOST_TRIES):
            picked = self.journal.pick(key)
            if picked is None:
                return True
            failpoint("reconcile.claimed")
            self._replay(picked)
            read = self.primary.read(key)
            failpoint("reconcile.read")
            if self.journal.settle(key, picked, read.cells, read.version):
                failpoint("reconcile.applied")
                return True
        return False

    def _replay(self, picked: Picked) -> None:
        """Send claimed mutations again until each is acknowledged: a late first attempt then changes nothing."""
        for mutation, version in picked.replay:
            outcome, error = self.primary.write(mutation, version)
            if outcome == "unsure":
                raise SourceUnavailable(f"a write could not be replayed: {error}")
            # Refused now, it was refused or done before; the read says what counts.
