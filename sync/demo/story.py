"""The demo's story: an application writes throughout, and the migration goes there, back, there again and to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sync.core.words import counted
from sync.errors import SyncError
from sync.settings import Settings
from sync.stores.one_side.cql import CqlStore
from sync.stores.one_side.postgres import PostgresStore

_WHILE_SECONDS = 3.0
"""How long the application writes to each primary before the next command."""


class Story:
    """Runs commands as a user does, and applications beside them; `say` shows both."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self.told: Counter[str] = Counter()
        self.longest_ms = 0.0
        self.songs: dict[str, dict[str, Any] | None] = {}
        self.switches: list[dict[str, Any]] = []
        self._ledgers = 0

    def sync(self, *arguments: str) -> Any:
        """Run a command; what it prints with --json. Raises SyncError if it fails."""
        self._say(f"$ sync {' '.join(arguments)}")
        return self._run(*arguments)

    def _run(self, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "sync", *arguments, "--json"], capture_output=True, text=True, env=os.environ, check=False
        )
        if done.returncode:
            raise SyncError(f"sync {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        return json.loads(done.stdout)

    def prove(self) -> None:
        """Run two drift passes: the gates require two clean ones."""
        for _ in range(2):
            found = self.sync("drift-report")
            rows = sum(table["rows"]["source"] for table in found["tables"])
            self._say(f"  {counted(rows, 'row')} compared: {'clean' if found['clean'] else 'DRIFT'}")

    def switch(self, command: str) -> None:
        """Cut over, or roll back."""
        done = self.sync(command, "--yes")
        self.switches.append(done)
        self._say(
            f"  {done['primary']} is primary (epoch {done['epoch']}); closed for {done['closed_ms']:.0f} ms, "
            f"{counted(done['waits']['count'], 'write')} waited, at most {done['waits']['max_ms']:.0f} ms"
        )
        time.sleep(_WHILE_SECONDS)

    @contextmanager
    def application(self, **environment: str) -> Iterator[None]:
        """Run an application that writes until the block ends; then add up what its writes came to."""
        before = self._ledger() if self._ledgers else None
        self._ledgers += 1
        command = [sys.executable, "-m", "sync.demo.application", str(self._ledger()), *([str(before)] if before else [])]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment
        )
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise SyncError("the demo's application did not start")
            yield
        finally:
            process.communicate()
        self._count()

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Run `sync worker` until the block ends."""
        self._say("$ sync worker -n 1 &")
        process = subprocess.Popen(
            [sys.executable, "-m", "sync", "worker", "-n", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def drain(self) -> None:
        """Wait until the worker has left no intent."""
        while self._run("status")["intents"]["open"]:
            time.sleep(0.5)

    def check(self, settings: Settings, sides: tuple[type[CqlStore] | type[PostgresStore], ...]) -> int:
        """Compare every song that was acknowledged to the application with these stores; how many were wrong."""
        wrong = 0
        for side in sides:
            with side(settings) as store:
                wrong += sum(not _holds(store, UUID(key), row) for key, row in self.songs.items())
        return wrong

    def _ledger(self) -> Path:
        return self._folder / f"application-{self._ledgers}.json"

    def _count(self) -> None:
        found = json.loads(self._ledger().read_text())
        self.told += Counter(found["told"])
        self.longest_ms = max(self.longest_ms, found["longest_ms"])
        self.songs = found["songs"]
        if found["error"]:
            self._say(f"  the application was told: {found['error']}")


def _holds(store: CqlStore | PostgresStore, key: UUID, row: dict[str, Any] | None) -> bool:
    found = store.get("songs", {"id": key})
    if found is None or row is None:
        return found is None and row is None
    return all(found[name] == value for name, value in row.items())
