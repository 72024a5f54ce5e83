"""Reads everything again and again, for all who look: a page costs Postgres nothing, however many there are.

Two threads: one reads Postgres every two seconds while somebody looks; the other judges the gates, which asks the source too,
and may take as long as that does. Over the first one's connection Postgres refuses every write.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import Connection, target_name
from sync.adapters.postgres.connection.deadline import IMPATIENT, hung_up_after
from sync.adapters.postgres.connection.pooled import read_only
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.history.events import read_events, read_rings
from sync.adapters.postgres.history.samples import read_samples
from sync.core.cutover.attention import attention
from sync.core.dashboard.history import SLOT_SECONDS, WINDOWS, Sample, Window
from sync.core.dashboard.view import Snapshot
from sync.errors import SyncError
from sync.settings import Config, Settings
from sync.wiring.backfill.command import open_ledger
from sync.wiring.dashboard.sampler import Sampler
from sync.wiring.status import GateResults, gather, judge_gates

log = logging.getLogger(__name__)
LOOK_SECONDS, IDLE_SECONDS = 2.0, 5.0
"""The time between two looks at Postgres while somebody looks at a page, and while nobody does."""
GATES_SECONDS, IDLE_GATES_SECONDS = 10.0, 60.0
"""The same for the gates."""
_REST = 4.0  # times as long as judging the gates took
_LOOKED_AT_SECONDS = 15.0  # a page without JavaScript comes again within this time
SILENT_SECONDS = 10.0
"""A read that takes longer is called no answer."""
READ_SECONDS = 60.0
"""A read that takes longer is given up, and the next one is made over a new connection."""
PASSES = 12
_FIRST = GateResults(why="they are being judged")


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known: the last snapshot, and since when it could not be read again, and why. `number` rises with each read."""

    number: int = 0
    snapshot: Snapshot | None = None
    samples: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    why: str = ""
    away_since: datetime | None = None


class Watcher:
    """Reads in the background between `start` and `stop`."""

    def __init__(self, settings: Settings, config: Config, show_keys: bool = False) -> None:
        self.settings, self.show_keys = settings, show_keys
        self.config, self._sampler = config, Sampler(settings)
        self._seen, self._judged = Seen(), _FIRST
        self._judged_at: datetime | None = None
        self._looked_at = dict.fromkeys(WINDOWS, -1e9)
        self._read_at = dict.fromkeys(WINDOWS, -1e9)
        self._reading_since, self._stop = 0.0, threading.Event()
        self._opened: ExitStack | None = None
        self._connection: Connection
        self._ledger: RangeLedger
        self._threads = [threading.Thread(target=run, daemon=True, name=f"sync-dashboard-{name}")
                         for name, run in (("state", self._watch), ("gates", self._judge))]  # fmt: skip

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Read no more; what is being read is not waited for."""
        self._stop.set()

    def look(self, window: Window, patience: float = 3.0) -> Seen:
        """What is known. Asks no server; waits for the window's first samples, for `patience` seconds at most."""
        self._looked_at[window.name] = begun = time.monotonic()
        while window.name not in self._seen.samples and not self._seen.why and time.monotonic() - begun < patience:
            time.sleep(0.05)
        seen, since = self._seen, self._reading_since
        silent = time.monotonic() - since if since else 0.0
        if silent > SILENT_SECONDS and not seen.why:
            at = datetime.fromtimestamp(time.time() - silent, UTC)
            return replace(seen, why=f"{target_name(self.settings)} does not answer", away_since=at)
        return seen

    @property
    def _is_watched(self) -> bool:
        return time.monotonic() - max(self._looked_at.values()) < _LOOKED_AT_SECONDS

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._reading_since = time.monotonic()
            self._look_again()
            try:
                self._sampler.tick()
            except Exception as error:  # noqa: BLE001 - the page is worth more than its history
                log.error("history for the dashboard: %s", _why(error))
            self._reading_since = 0.0
            self._rest(LOOK_SECONDS, IDLE_SECONDS)
        self._close()

    def _judge(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                found = judge_gates(self.settings, self.config)
                found = found if self.show_keys else found.without_keys()
            except Exception as error:  # noqa: BLE001 - if the thread ended, old gates would look like those of now
                found = GateResults(why=_why(error))
            self._judged, self._judged_at = found, datetime.now(UTC)
            self._rest(max(GATES_SECONDS, _REST * (time.monotonic() - begun)), IDLE_GATES_SECONDS)

    def _rest(self, watched: float, idle: float) -> None:
        """Wait, less long when somebody looks."""
        until = time.monotonic() + max(watched, idle)
        least = time.monotonic() + watched
        while not self._stop.wait(0.2) and time.monotonic() < until:
            if self._is_watched and time.monotonic() >= least:
                return

    def _look_again(self) -> None:
        number = self._seen.number + 1
        try:
            self._open()
            with hung_up_after(self._connection, READ_SECONDS):
                snapshot, samples = self._read(), self._samples()
        except Exception as error:  # noqa: BLE001 - as in `_judge`
            self._close()
            since = self._seen.away_since or datetime.now(UTC)
            self._seen = replace(self._seen, number=number, why=_why(error), away_since=since)
        else:
            self._seen = Seen(number, snapshot, {**self._seen.samples, **samples})

    def _open(self) -> None:
        if self._opened is None:
            stack = ExitStack()
            self._connection, self._ledger = stack.enter_context(open_ledger(self.settings, self.config, IMPATIENT))
            self._opened = stack
            read_only(self._connection)

    def _read(self) -> Snapshot:
        """Everything but the gates, which another thread has judged. Raises SyncError and psycopg.Error."""
        self._open()
        judged, judged_at = self._judged, self._judged_at
        status = gather(self.settings, self.config, self._connection, self._ledger, judged)
        if judged_at is None:
            tuning, status = self.config.dual_write, {**status, "gates_error": None}
            if _FIRST.why in status["next_step"]:
                status["next_step"] = "the gates are being judged"
            status["attention"] = attention(status, tuning.writer_lease_seconds, tuning.max_clock_skew_seconds)
        names = {"keyspace": self.settings.astra_db_keyspace or "", "database": self._connection.info.dbname}
        events, rings = read_events(self._connection, PASSES), read_rings(self._connection)
        return Snapshot(datetime.now(UTC), status, judged_at, events, rings, names)

    def _samples(self) -> dict[str, Sequence[Sample]]:
        """Those of the windows that somebody looks at, as often as they change."""
        now, found = time.monotonic(), dict[str, Sequence[Sample]]()
        for name, window in WINDOWS.items():
            if now - self._looked_at[name] < _LOOKED_AT_SECONDS and now - self._read_at[name] >= _pause(window):
                found[name], self._read_at[name] = read_samples(self._connection, window), now
        return found

    def _close(self) -> None:
        if self._opened:
            self._opened.close()
            self._opened = None


def _why(error: Exception) -> str:
    """What the page says of an error; of one that nobody expected its kind and place, as its text may quote values."""
    if isinstance(error, SyncError | psycopg.Error):
        return error_text(error)
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__} ({Path(at.filename).name}, line {at.lineno}); it is tried again"


def _pause(window: Window) -> float:
    return max(SLOT_SECONDS, window.step_seconds / 3)
