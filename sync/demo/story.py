"""The demo's story: an application writes throughout, and the migration goes there, back, there again and to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sync.core.words import counted
from sync.demo import others
from sync.errors import SyncError
from sync.settings import Settings
from sync.stores.one_side.cql import CqlStore
from sync.stores.one_side.postgres import PostgresStore

WHILE_SECONDS = 3.0
"""How long the application writes to each primary before the next command."""
_MAX_PASSES = 6


class Story:
    """Runs commands as a user does, and applications beside them; `say` shows both."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self.told: Counter[str] = Counter()
        self.longest_ms = 0.0
        self.songs: dict[str, dict[str, Any] | None] = {}
        self.switches: list[dict[str, Any]] = []
        self._ledgers = 0

    def sync(self, *arguments: str, ok: Sequence[int] = (0,)) -> Any:
        """Run a command; what it prints with --json. Raises SyncError if it ends with another exit code than these."""
        self._say(f"$ sync {' '.join(arguments)}")
        return self._run(*arguments, ok=ok)

    def _run(self, *arguments: str, ok: Sequence[int] = (0,)) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "sync", *arguments, "--json"], capture_output=True, text=True, env=os.environ, check=False
        )
        if done.returncode not in ok:
            raise SyncError(f"sync {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        return json.loads(done.stdout)

    def prove(self) -> None:
        """Run drift passes until two in a row are clean, which the gates require; a key in flight leaves one unclean."""
        clean = 0
        for _ in range(_MAX_PASSES):
            found = self.sync("drift-report", ok=(0, 2))
            tables = found["tables"]
            if any(table["findings"] for table in tables):
                raise SyncError(f"the sides differ: {found['next_step']}")
            clean = clean + 1 if found["clean"] else 0
            rows = counted(sum(table["rows"]["source"] for table in tables), "row")
            flight = counted(sum(table["rows"]["in_flight"] for table in tables), "key")
            self._say(f"  {rows} compared: {'clean' if found['clean'] else f'{flight} in flight all the while: once more'}")
            if clean == 2:
                return
        raise SyncError(f"no two of {_MAX_PASSES} drift passes in a row were clean")

    def switch(self, command: str, *options: str) -> None:
        """Cut over, or roll back."""
        done = self.sync(command, "--yes", *options)
        self.switches.append(done)
        self._say(
            f"  {done['primary']} is primary (epoch {done['epoch']}); closed for {done['closed_ms']:.0f} ms, "
            f"{counted(done['waits']['count'], 'write')} waited, at most {done['waits']['max_ms']:.0f} ms"
        )
        time.sleep(WHILE_SECONDS)

    @contextmanager
    def application(self, **environment: str) -> Iterator[None]:
        """Run an application that writes until the block ends; then add up what its writes came to."""
        with self._writing(["-m", "sync.demo.application"], environment):
            yield

    @contextmanager
    def others(self, by: str) -> Iterator[None]:
        """Run a service that writes to `cassandra` by CQL, or to `postgres` by SQL, until the block ends; then add up."""
        self._say(f"a service that knows nothing of sync writes to {by.title()} by {'CQL' if by == 'cassandra' else 'SQL'}")
        with self._writing([others.__file__, by], {}):
            yield

    @contextmanager
    def _writing(self, program: list[str], environment: dict[str, str]) -> Iterator[None]:
        before = [str(self._ledger())] if self._ledgers else []
        self._ledgers += 1
        command = [sys.executable, *program, str(self._ledger()), *before]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment
        )
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise SyncError("what should write beside the demo did not start")
            yield
        finally:
            process.communicate()
        self._count()

    @contextmanager
    def follower(self, raw: Path) -> Iterator[None]:
        """Run `sync follow commitlog` on a node's cdc_raw until the block ends."""
        with self._beside("follow", "commitlog", "--cdc-raw", str(raw)):
            yield

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Run `sync worker` until the block ends."""
        with self._beside("worker", "-n", "1"):
            yield

    @contextmanager
    def _beside(self, *arguments: str) -> Iterator[None]:
        self._say(f"$ sync {' '.join(arguments)} &")
        command = [sys.executable, "-m", "sync", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def catch_up(self) -> None:
        """Wait until all that others have written so far is told, and the worker has copied it."""
        until = time.time()
        self._say("  the service rests; waiting for what it wrote to be told and copied")
        while True:
            found, now = self._run("status"), time.time()
            late = [f for f in found["feeds"] if f["behind_seconds"] is None or now - f["behind_seconds"] < until]
            if found["feeds"] and not late and not sum(found["intents"]["states"].values()):
                return
            time.sleep(0.5)

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
        if found["told"].get("turned away"):
            self._say("  Postgres refused its next statement, and wrote nothing of it: Cassandra is primary again")
        if found["error"]:
            self._say(f"  the application was told: {found['error']}")


def _holds(store: CqlStore | PostgresStore, key: UUID, row: dict[str, Any] | None) -> bool:
    found = store.get("songs", {"id": key})
    if found is None or row is None:
        return found is None and row is None
    return all(found[name] == value for name, value in row.items())
