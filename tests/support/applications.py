"""Applications that keep writing through a DualWriteStore, and remember the answers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

from support.dual import Table
from sync.errors import SyncError, WriteUnsure
from sync.settings import Config, Settings
from sync.stores import DualWriteStore

_KEYS = 12


@dataclass
class Application:
    """One writer of the table `songs` with keys of its own; it remembers the last acknowledged write to each."""

    store: DualWriteStore
    seed: int
    acknowledged: dict[UUID, dict[str, Any] | None] = field(default_factory=dict)
    unsure: set[UUID] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    writes: int = 0

    def run(self, ended: Event) -> None:
        """Write until told to end, one write after the other."""
        dice = random.Random(self.seed)
        keys = [uuid4() for _ in range(_KEYS)]
        while not ended.is_set():
            key = dice.choice(keys)
            try:
                self._write(dice, key)
            except WriteUnsure:
                self.unsure.add(key)
            except SyncError as error:
                self.refused.append(f"{type(error).__name__}: {error}")
            self.writes += 1

    def _write(self, dice: random.Random, key: UUID) -> None:
        known = self.acknowledged.get(key)
        match dice.randrange(4):
            case 0:
                self.store.delete("songs", {"id": key})
                self.acknowledged[key] = None
            case 1 if known is not None:
                changes = {"plays": dice.randrange(1000)}
                assert self.store.update("songs", {"id": key}, changes) is True, "a row that was acknowledged is not there"
                self.acknowledged[key] = {**known, **changes}
            case _:
                row = {"title": f"{self.seed} {self.writes}", "plays": None, "tags": {"n": str(self.writes)}}
                self.store.put("songs", {"id": key, **row})
                self.acknowledged[key] = row

    def check(self, table: Table) -> None:
        """Both sides hold what was acknowledged last, once everything is settled; nothing was refused."""
        assert self.writes and not self.refused, self.refused[:3]
        for key, row in self.acknowledged.items():
            if key in self.unsure:
                continue
            settled = table.settled(table.key(id=key))
            assert settled == row, f"{key}: acknowledged {row}, both sides hold {settled}"


@contextmanager
def running(settings: Settings, config: Config, count: int, threads_each: int = 1) -> Iterator[list[Application]]:
    """Applications in threads, `threads_each` to a store; at the end they stop and sign off."""
    stores = [DualWriteStore(settings, config) for _ in range(count)]
    applications = [Application(store, seed) for seed, store in enumerate(stores * threads_each)]
    ended = Event()
    threads = [Thread(target=a.run, args=(ended,), daemon=True) for a in applications]
    try:
        for thread in threads:
            thread.start()
        yield applications
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        for store in stores:
            store.close()
