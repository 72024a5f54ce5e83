"""A process that writes to both sides is registered in Postgres, with a heartbeat (rules 28 to 30).

The heartbeat also records what an outage of Postgres kept from it, and learns of cut-overs: while writes wait for
one it looks many times a second, so that they wait no longer than they must. It has a connection of its own: where all others
are taken, the writer is not to look dead, and workers are not to send again what it is sending.
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

from sync.adapters.awake import Awake
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import words
from sync.adapters.postgres.connection.shared_look import Shared
from sync.adapters.postgres.cutover.epochs import read_epoch, reopen_late
from sync.adapters.postgres.dual_write import agreement, data_centres
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.ending import end_dead, forget_gone, with_slot
from sync.adapters.postgres.dual_write.journal import Writer
from sync.adapters.postgres.dual_write.pacing import CALM_SECONDS, Pacing
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.adapters.postgres.dual_write.write_behind import Aside
from sync.adapters.witness import Witness, folder_of
from sync.core.versions import SLOTS, STEP, UNREPEATABLE_WINDOW_SECONDS
from sync.errors import EpochChanged, NotRegistered, SyncError, TargetUnavailable
from sync.failpoints import failpoint
from sync.ports import Epoch, Primary
from sync.settings import DualWriteTuning

log = logging.getLogger(__name__)
_SQL = {name: text.encode() for name, text in queries("dual_write/writers").items()}
_AGAIN_SECONDS = 0.5
_MOST_WAITS = 2000


class Registration:
    """This process as a writer: its slot, its heartbeat, what it knows of the epoch, and what it keeps aside."""

    def __init__(
        self, pool: Pool, tuning: DualWriteTuning, ring: Callable[[str], object], told: Mapping[str, Any] | None = None
    ) -> None:
        self._pool, self._tuning = pool, tuning
        self._told = dict(told or {})
        self._accepts = tuning.on_postgres_down == "accept"
        self._witness = Witness(folder_of(tuning.writers_folder) if self._accepts else None)
        # Who is suspended for less cannot have been cleared meanwhile, nor its write given up (rules 17 and 31).
        gap = min(tuning.writer_lease_seconds, tuning.primary_timeout_seconds, UNREPEATABLE_WINDOW_SECONDS)
        self.awake = Awake(gap, tuning.max_wait_seconds)
        self.aside = Aside(self._accepts, ring, self._witness, tuning.max_unrecorded_mb * 1_000_000, self.awake)
        self.breaker = Breaker(tuning.breaker_failures)
        self._end, self._wake, self._changed = Event(), Event(), Condition()
        self._due = self._sent = 0.0
        self._waits: deque[float] = deque(maxlen=_MOST_WAITS)
        self._pacing = Pacing()
        self._data_center: str | None = None
        self._own = pool.of_one()
        self._looking = Shared(self._ask)
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        try:
            slot = self._register(name)
        except BaseException:
            self._release()
            raise
        self.writer = Writer(name, slot, int(tuning.max_clock_skew_seconds * 1_000_000), tuning.writer_lease_seconds)
        self.awake.start()
        self._thread = Thread(target=self._beat, name="sync-heartbeat", daemon=True)
        self._thread.start()

    def _register(self, name: str) -> int:
        values: dict[str, Any] = {"id": name, "host": socket.gethostname(), "pid": os.getpid(), "slots": SLOTS, "step": STEP}
        values |= {"data_center": self._data_center, "settings": Jsonb(self._told) if self._told else None}
        values |= {"accepts": self._accepts, "lease": self._tuning.writer_lease_seconds, "witness": self._witness.token}
        with connection_of(self._own) as connection:
            end_dead(connection, self._tuning.writers_folder)
            row = with_slot(connection, values)
            self._epoch = read_epoch(connection)
            forget_gone(connection)
        slot, self._switch = row
        self.aside.slot, self.aside.floor = int(slot), self._epoch.floor
        self.aside.promise(self._switch is not None or self._epoch.primary != "astra")
        self._acknowledged = self._switch
        return int(slot)

    def tell(self, **more: Any) -> None:
        """Record more of what this writer was started with. Raises TargetUnavailable."""
        self._told |= more
        with connection_of(self._pool) as connection:
            agreement.tell(connection, self.writer.id, more)

    def writes_in(self, data_center: str) -> None:
        """Record the source's data centre. Raises SettingsError where another writer has another one."""
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
        """The store that a read goes to: while a switch is under way, as Postgres says now, if it says anything."""
        if self._is_switching and not self.breaker.is_open:
            with suppress(TargetUnavailable):  # a read does not fail for that (invariant 8)
                self._looking.since_now()
        return self._epoch.primary

    @property
    def epoch(self) -> Epoch:
        """The epoch as it was when this process last looked."""
        return self._epoch

    def heard(self, changed: EpochChanged) -> None:
        """A write was turned away: look at once, and often; where this writer is fenced, register at once."""
        with self._changed:
            if isinstance(changed, NotRegistered):
                self._due = 0.0
            if changed.epoch >= self._epoch.epoch:
                self._epoch = replace(self._epoch, epoch=changed.epoch, primary=changed.primary, state=changed.state)
        self._wake.set()

    def wait_open(self, seconds: float) -> float:
        """Wait until writes may begin, or so long; how long it was, in seconds."""
        begun = time.monotonic()
        if self.awake.is_awaited:  # what this process knows of the epoch may be of long ago
            self._due = 0.0
            self._wake.set()
            self.awake.wait(seconds)
        elif self._epoch.state == "open":
            return 0.0
        with self._changed:
            self._changed.wait_for(lambda: self._epoch.state == "open", max(0.0, begun + seconds - time.monotonic()))
        return time.monotonic() - begun

    def waited(self, seconds: float) -> None:
        """A write has waited for a cut-over; the heartbeat reports it soon."""
        with self._changed:
            self._waits.append(round(seconds * 1000, 1))
        self._due = min(self._due, time.monotonic() + CALM_SECONDS)

    # the heartbeat

    def end(self, sign_off: bool = True) -> None:
        """End the heartbeat, record what is buffered, and sign off, if nothing is under way or unrecorded (rule 29).

        A writer that does not sign off stays registered: its intents are claimed, and a cut-over waits for it.
        """
        self._end.set()
        self._wake.set()
        self._thread.join()
        self.awake.end()
        self.aside.close()
        if self._own.closed:  # it could not sign off before
            self._own = self._pool.of_one()
        try:
            self._heartbeat()
            self.aside.ring_for_left()
            if sign_off:
                self._sign_off()
        except (SyncError, psycopg.Error, PoolTimeout) as error:
            log.warning("this writer could not sign off: %s", error)
        self._own.close()

    def _sign_off(self) -> None:
        values = {"id": self.writer.id, "unrecorded": self.aside.unrecorded_count}
        with connection_of(self._own) as connection:
            connection.execute(_SQL["sign_off"], values)
        if values["unrecorded"]:
            log.warning("%s does not sign off: %d writes are not recorded", values["id"], values["unrecorded"])
        else:
            self._witness.end()

    def _release(self) -> None:
        self._own.close()
        self._witness.end()

    @property
    def _heartbeat_seconds(self) -> float:
        return CALM_SECONDS if self._is_switching else self._tuning.heartbeat_seconds

    @property
    def _is_switching(self) -> bool:
        return self._switch is not None or self._epoch.state != "open"

    def _beat(self) -> None:
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
                log.warning("no heartbeat: %s", words(error))
            except Exception:  # without its heartbeat a writer that lives is taken for dead
                self._due = time.monotonic() + _AGAIN_SECONDS
                log.exception("no heartbeat")
            self.aside.ring_for_left()

    def _between(self) -> None:
        if self.aside.has_marks:
            self.aside.mark()
        if self._epoch.state != "open":
            self._look()

    def _look(self) -> None:
        """See how the epoch stands, and open it again where the command that closed it has died."""
        self._looking.anew()

    def _ask(self) -> None:
        with self.breaker.connection(self._own) as connection:
            found = read_epoch(connection)
            if found.state == "closing" and (found.closing_seconds or 0.0) < 0:
                reopen_late(connection, found.epoch)
                found = read_epoch(connection)
        self._learn(found)

    def _learn(self, found: Epoch) -> None:
        with self._changed:
            if found.epoch != self._epoch.epoch:
                log.warning("epoch %d: %s is primary now", found.epoch, found.primary)
            self._epoch = found
            self.aside.floor = found.floor
            self._changed.notify_all()

    def _heartbeat(self) -> None:
        asked = self.awake.gaps()
        self._witness.renew()
        state, switch = self._send_heartbeat() or ("gone", None)
        if switch is not None or state != "active":
            self.aside.promise(True)  # before it is acknowledged (rule 30); who was fenced has missed the epoch
        self._switch = switch or self._switch
        self.breaker.reset()  # before it registers again: a write that asks is told to wait
        if state != "active":
            self._register_again(state)
        self._look()
        if switch is None and state == "active":
            # Not before the epoch is known: where Postgres is primary, nothing is written without it, or read elsewhere.
            self._switch = None
            self.aside.promise(self._epoch.primary != "astra")
        self.awake.answered(asked)
        self.aside.record(self._now_and_then)
        if switch is not None and self._acknowledged != switch:
            self._acknowledged = switch
            self._waits.clear()
            failpoint("switch.before_acknowledge")
            self._send_heartbeat()

    def _now_and_then(self) -> None:
        """A heartbeat between batches: there may be many of them."""
        if time.monotonic() >= self._sent + min(1.0, self._tuning.heartbeat_seconds):
            self._send_heartbeat()

    def _send_heartbeat(self) -> tuple[Any, ...] | None:
        with self._changed:
            waits = {"switch": self._acknowledged, "ms": list(self._waits)}
        values = {
            "id": self.writer.id,
            "unrecorded": self.aside.unrecorded_count,
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
        """This writer was fenced, or lost its slot, though it lives: it may go on as another one, or with another slot."""
        name = self.writer.id
        if state != "silent":
            name = f"{name.rsplit(':', 1)[0]}:{uuid.uuid4().hex[:6]}"
            log.warning("%s is %s; it continues as %s", self.writer.id, state, name)
        self.writer.slot, self.writer.id = self._register(name), name
