"""A process that writes to both sides is registered in Postgres, with a heartbeat (rules 28 to 30).

The heartbeat also records what could not be recorded during an outage of Postgres, and learns of cut-overs: while writes
wait for one it looks many times a second, so that they wait no longer than necessary. It has its own connection: if all
others are taken, the writer must not look dead, nor must workers send again what it is sending.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from threading import Condition, Event, Thread
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.connection.single_flight import SingleFlight
from sync.adapters.postgres.cutover.epochs import read_epoch, reopen_late
from sync.adapters.postgres.dual_write import data_centres
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.dead_writers import delete_signed_off, register_with_slot, sign_off_dead
from sync.adapters.postgres.dual_write.journal import Writer
from sync.adapters.postgres.dual_write.pacing import CALM_SECONDS, Pacing
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.adapters.postgres.dual_write.write_behind import WriteBehind
from sync.adapters.store_metrics import store_metrics
from sync.adapters.suspension import SuspensionDetector
from sync.adapters.witness import Witness, folder_of
from sync.core.versions import SLOTS, STEP, UNREPEATABLE_WINDOW_SECONDS
from sync.errors import EpochChanged, NotRegistered, SyncError, TargetUnavailable
from sync.failpoints import failpoint
from sync.ports import Epoch, Primary
from sync.settings import DualWriteTuning

log = logging.getLogger(__name__)
_SQL = {name: text.encode() for name, text in queries("dual_write/writers").items()}
_AGAIN_SECONDS = 0.5
_MAX_WAITS = 2000


class Registration:
    """This process as a writer: its slot, its heartbeat, what it knows of the epoch, and what it buffers."""

    def __init__(
        self, pool: Pool, tuning: DualWriteTuning, notify: Callable[[str], object], told: Mapping[str, Any] | None = None
    ) -> None:
        self._pool, self._tuning = pool, tuning
        self._told = dict(told or {})
        self._accepts = tuning.on_postgres_down == "accept"
        self._witness = Witness(folder_of(tuning.writers_folder) if self._accepts else None)
        # A writer suspended for less cannot have been cleared meanwhile, nor its write given up (rules 17 and 31).
        gap = min(tuning.writer_lease_seconds, tuning.primary_timeout_seconds, UNREPEATABLE_WINDOW_SECONDS)
        self.suspension = SuspensionDetector(gap, tuning.max_wait_seconds)
        limit = tuning.max_unrecorded_mb * 1_000_000
        self.write_behind = WriteBehind(self._accepts, notify, self._witness, limit, self.suspension)
        self.breaker, self._pacing = Breaker(tuning.breaker_failures), Pacing()
        self._end, self._wake, self._changed = Event(), Event(), Condition()
        self._due = self._sent = 0.0
        self._waits: deque[float] = deque(maxlen=_MAX_WAITS)
        self._data_center: str | None = None
        self._own = pool.single()
        self._epoch_lookup = SingleFlight(self._ask)
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        try:
            slot = self._register(name)
        except BaseException:
            self._own.close()
            self._witness.end()
            raise
        self.writer = Writer(name, slot, int(tuning.max_clock_skew_seconds * 1_000_000), tuning.writer_lease_seconds)
        self.suspension.start()
        self._thread = Thread(target=self._run_heartbeats, name="sync-heartbeat", daemon=True)
        self._thread.start()

    def _register(self, name: str) -> int:
        values: dict[str, Any] = {"id": name, "host": socket.gethostname(), "pid": os.getpid(), "slots": SLOTS, "step": STEP}
        values |= {"data_center": self._data_center, "settings": Jsonb(self._told) if self._told else None}
        values |= {"accepts": self._accepts, "lease": self._tuning.writer_lease_seconds, "witness": self._witness.token}
        with connection_of(self._own) as connection:
            sign_off_dead(connection, self._tuning.writers_folder)
            row = register_with_slot(connection, values)
            self._epoch = read_epoch(connection)
            delete_signed_off(connection)
        slot, self._switch = row
        self.write_behind.slot, self.write_behind.floor = int(slot), self._epoch.floor
        self.write_behind.promise(self._switch is not None or self._epoch.primary != "astra")
        self._acknowledged = self._switch
        return int(slot)

    def writes_in(self, data_center: str) -> None:
        """Record the source's data centre. Raises SettingsError if another writer has another one."""
        self._data_center = data_center
        with connection_of(self._own) as connection:
            data_centres.writes_in(connection, self.writer.id, data_center)

    # what this process knows of the epoch

    @property
    def primary(self) -> Primary:
        """The store that was primary when this process last looked; a write finds out whether it still is."""
        return self._epoch.primary

    @property
    def primary_for_reads(self) -> Primary:
        """The store that a read goes to: during a switch, as Postgres says at this moment, if it answers."""
        if self._is_switching and not self.breaker.is_open:
            with suppress(TargetUnavailable):  # a read must not fail because of that (invariant 8)
                self._epoch_lookup.run_or_join()
        return self._epoch.primary

    @property
    def epoch(self) -> Epoch:
        """The epoch as it was when this process last looked."""
        return self._epoch

    def epoch_changed(self, changed: EpochChanged) -> None:
        """A write was turned away: look at the epoch at once, and often; if this writer is fenced, register at once."""
        with self._changed:
            if isinstance(changed, NotRegistered):
                self._due = 0.0
            if changed.epoch >= self._epoch.epoch:
                self._adopt(replace(self._epoch, epoch=changed.epoch, primary=changed.primary, state=changed.state))
        self._wake.set()

    def wait_open(self, seconds: float) -> float:
        """Wait until writes may begin, `seconds` at most; returns how long it was, in seconds."""
        begun = time.monotonic()
        if self.suspension.awaits_answer:  # what this process knows of the epoch may be outdated
            self._due = 0.0
            self._wake.set()
            self.suspension.wait(seconds)
        elif self._epoch.state == "open":
            return 0.0
        with self._changed:
            self._changed.wait_for(lambda: self._epoch.state == "open", max(0.0, begun + seconds - time.monotonic()))
        return time.monotonic() - begun

    def record_wait(self, seconds: float) -> None:
        """A write has waited for a cut-over; the heartbeat reports it soon."""
        store_metrics().waited(seconds)
        with self._changed:
            self._waits.append(round(seconds * 1000, 1))
        self._due = min(self._due, time.monotonic() + CALM_SECONDS)

    # the heartbeat

    def end(self, sign_off: bool = True) -> None:
        """End the heartbeat, record what is buffered, and sign off if no write is in progress or unrecorded (rule 29).

        A writer that does not sign off stays registered: its intents are claimed, and a cut-over waits for it.
        """
        self._end.set()
        self._wake.set()
        self._thread.join()
        self.suspension.end()
        self.write_behind.close()
        if self._own.closed:  # it could not sign off before
            self._own = self._pool.single()
        try:
            self._heartbeat()
            self.write_behind.notify_left()
            if sign_off:
                self._sign_off()
        except (SyncError, psycopg.Error, PoolTimeout) as error:
            log.warning("this writer could not sign off: %s", error)
        self._own.close()

    def _sign_off(self) -> None:
        values = {"id": self.writer.id, "unrecorded": self.write_behind.unrecorded_count}
        with connection_of(self._own) as connection:
            connection.execute(_SQL["sign_off"], values)
        if values["unrecorded"]:
            log.warning("%s does not sign off: %d writes are not recorded", values["id"], values["unrecorded"])
        else:
            self._witness.end()

    @property
    def _heartbeat_seconds(self) -> float:
        return CALM_SECONDS if self._is_switching else self._tuning.heartbeat_seconds

    @property
    def _is_switching(self) -> bool:
        return self._switch is not None or self._epoch.state != "open"

    def _run_heartbeats(self) -> None:
        while not self._end.is_set():
            self._wake.wait(self._pacing.seconds(self._epoch.state == "open"))
            self._wake.clear()
            try:
                if time.monotonic() >= self._due:
                    self._due = math.inf  # a wait that is reported meanwhile brings it forward
                    self._heartbeat()
                    self._due = min(self._due, time.monotonic() + self._heartbeat_seconds)
                elif not self.breaker.is_open:
                    self._between()
            except (SyncError, psycopg.Error, PoolTimeout) as error:
                self._due = time.monotonic() + _AGAIN_SECONDS
                log.warning("no heartbeat: %s", error_text(error))
            except Exception:  # without its heartbeat a live writer counts as dead
                self._due = time.monotonic() + _AGAIN_SECONDS
                log.exception("no heartbeat")
            self.write_behind.notify_left()

    def _between(self) -> None:
        if self.write_behind.has_marks:
            self.write_behind.mark()
        if self._epoch.state != "open":
            self._refresh_epoch()

    def _refresh_epoch(self) -> None:
        """Read the epoch, and reopen it if it was closed for longer than announced: the command has died."""
        self._epoch_lookup.run()

    def _ask(self) -> None:
        with self.breaker.connection(self._own) as connection:
            found = read_epoch(connection)
            if found.state == "closing" and (found.closing_seconds or 0.0) < 0:
                reopen_late(connection, found.epoch)
                found = read_epoch(connection)
        self._set_epoch(found)

    def _set_epoch(self, found: Epoch) -> None:
        with self._changed:
            self._adopt(found)
            self.write_behind.floor = found.floor
            self._changed.notify_all()

    def _adopt(self, epoch: Epoch) -> None:
        if epoch.epoch != self._epoch.epoch:
            log.warning("epoch %d: %s is primary now", epoch.epoch, epoch.primary)
        self._epoch = epoch

    def _heartbeat(self) -> None:
        asked = self.suspension.gaps()
        self._witness.renew()
        state, switch = self._send_heartbeat() or ("gone", None)
        if switch is not None or state != "active":
            self.write_behind.promise(True)  # before it is acknowledged (rule 30); a fenced writer has missed the epoch
        self._switch = switch or self._switch
        self.breaker.reset()  # before it registers again: a write that asks must wait
        if state != "active":
            self._register_again(state)
        self._refresh_epoch()
        if switch is None and state == "active":
            # Not before the epoch is known: while Postgres is primary, nothing is written without it, or read elsewhere.
            self._switch = None
            self.write_behind.promise(self._epoch.primary != "astra")
        self.suspension.answered(asked)
        self.write_behind.record(self._heartbeat_if_due)
        if switch is not None and self._acknowledged != switch:
            self._acknowledged = switch
            self._waits.clear()
            failpoint("switch.before_acknowledge")
            self._send_heartbeat()

    def _heartbeat_if_due(self) -> None:
        """Send a heartbeat between batches, of which there may be many."""
        if time.monotonic() >= self._sent + min(1.0, self._tuning.heartbeat_seconds):
            self._send_heartbeat()

    def _send_heartbeat(self) -> tuple[Any, ...] | None:
        with self._changed:
            waits = {"switch": self._acknowledged, "ms": list(self._waits)}
        values = {
            "id": self.writer.id,
            "unrecorded": self.write_behind.unrecorded_count,
            "failures": Jsonb(self.breaker.causes),
            "clock": time.time_ns() // 1000,
            "acknowledged": self._acknowledged,
            "waits": Jsonb(waits),
            "witness": self._witness.token,
        }
        self._sent = time.monotonic()
        with self._own.connection() as connection:
            return connection.execute(_SQL["heartbeat"], values).fetchone()

    def _register_again(self, state: str) -> None:
        """Register a live writer again that was fenced, under a new id, or that lost its slot, with another slot."""
        name = self.writer.id
        if state != "silent":
            name = f"{name.rsplit(':', 1)[0]}:{uuid.uuid4().hex[:6]}"
            log.warning("%s is %s; it continues as %s", self.writer.id, state, name)
        self.writer.slot, self.writer.id = self._register(name), name
