"""The demo's application: it adds tunes, counts how often they are played, and forgets some, until its input ends.

`python -m sync.demo.application LEDGER [BEFORE]` opens the store that the environment asks for. At its end it writes what its
writes came to into LEDGER, as JSON; with BEFORE it continues from an earlier run's ledger.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID

from sync.errors import SyncError, WriteUnsure
from sync.stores import open_store
from sync.stores.protocol import Store

_THREADS, _PAUSE_SECONDS, _DIMENSION = 2, 0.004, 64
Row = dict[str, Any]


@dataclass
class Listener:
    """One thread with its own songs: `songs` holds what was last acknowledged, None for a song that it deleted."""

    store: Store
    songs: dict[str, Row | None]
    told: Counter[str] = field(default_factory=Counter)
    first_error: str = ""
    longest: float = 0.0

    def listen(self, ended: Event) -> None:
        """Write until `ended` is set, one write after the other."""
        dice = random.Random()
        while not ended.is_set():
            began = time.monotonic()
            try:
                self._write(dice)
                self.told["acknowledged"] += 1
            except SyncError as error:
                self.told["unsure" if isinstance(error, WriteUnsure) else "refused"] += 1
                self.first_error = self.first_error or str(error)
            self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(_PAUSE_SECONDS)

    def _write(self, dice: random.Random) -> None:
        alive = [key for key, row in self.songs.items() if row is not None]
        choice = dice.random()
        if choice < 0.3 or len(alive) < 10:
            self._add(dice)
        elif choice < 0.9:
            self._play(dice, dice.choice(alive))
        else:
            key = dice.choice(alive)
            self.store.delete("songs", {"id": UUID(key)})
            self.store.delete("embeddings", {"song_id": UUID(key)})
            self.songs[key] = None

    def _add(self, dice: random.Random) -> None:
        key = UUID(int=dice.getrandbits(128), version=4)
        row = {"title": f"Heard at {datetime.now(UTC):%H:%M:%S.%f}", "artist": "the demo", "year": 2000, "duration": 0.0}
        self.store.put("songs", {"id": key, **row})
        self.songs[str(key)] = row
        vector = [dice.gauss(0, 1) for _ in range(_DIMENSION)]
        self.store.put("embeddings", {"song_id": key, "model": "the demo", "embedding": vector})

    def _play(self, dice: random.Random, key: str) -> None:
        row = self.songs[key] or {}
        changes = {"year": row["year"] + 1, "duration": float(dice.randrange(1000))}
        self.store.update("songs", {"id": UUID(key)}, changes)
        self.songs[key] = row | changes


def main(ledger: Path, before: Path | None) -> None:
    """Run until stdin ends."""
    known: dict[str, Row | None] = json.loads(before.read_text())["songs"] if before else {}
    with open_store() as store:
        listeners = [Listener(store, {k: v for k, v in known.items() if hash(k) % _THREADS == i}) for i in range(_THREADS)]
        ended = Event()
        threads = [Thread(target=one.listen, args=(ended,)) for one in listeners]
        for thread in threads:
            thread.start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
        ended.set()
        for thread in threads:
            thread.join()
    told: Counter[str] = sum((one.told for one in listeners), Counter())
    songs = {key: row for one in listeners for key, row in one.songs.items()}
    longest = max(one.longest for one in listeners)
    error = next((one.first_error for one in listeners if one.first_error), "")
    ledger.write_text(json.dumps({"told": told, "longest_ms": longest * 1000, "error": error, "songs": songs}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
