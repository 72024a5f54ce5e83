"""Notes which reads the application makes, for the gate that says whether the other side can answer them.

A caller looks into a dictionary; a thread records what is new there. A Postgres that is away costs the caller nothing.
"""

from __future__ import annotations

import logging
import time

import psycopg
from psycopg_pool import PoolTimeout

from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.cutover import read_shapes
from sync.adapters.postgres.cutover.read_shapes import MAX_SHAPES
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.core.reads.shapes import Shape
from sync.errors import SyncError
from sync.stores.both_sides.background import Background
from sync.stores.both_sides.target import TargetSide

log = logging.getLogger(__name__)
_AGAIN_SECONDS, _END_SECONDS = 3600.0, 1.0
Made = tuple[str, Shape]


class ReadShapes:
    """The reads of one process. Safe to use from many threads."""

    def __init__(self, side: TargetSide, idle_seconds: float) -> None:
        self._side = side
        self._noted: dict[Made, float] = {}
        self._waiting: dict[Made, None] = {}
        self._thread = Background[Made]("sync-reads", MAX_SHAPES, self._record, idle_seconds)

    def note(self, table: str, shape: Shape) -> None:
        """A read was answered; it is recorded at the first time, and once an hour."""
        made, now = (table, shape), time.monotonic()
        if now < self._noted.get(made, now):
            return
        if made not in self._noted and len(self._noted) >= MAX_SHAPES:
            return  # no application has so many kinds of reads: names are made up at run time
        self._noted[made] = now + _AGAIN_SECONDS
        self._thread.offer([made])

    def end(self) -> None:
        """Record what is left, if Postgres can be asked."""
        left = self._thread.end()
        self._thread.join(time.monotonic() + _END_SECONDS)
        self._record(left)

    def _record(self, made: list[Made]) -> None:
        self._waiting.update(dict.fromkeys(made))
        waiting = list(self._waiting)
        if not waiting or not self._side.is_registered or self._side.registration.breaker.is_open:
            return
        try:
            with connection_of(self._side.store.pool) as connection:
                read_shapes.record(connection, waiting)
        except (SyncError, psycopg.Error, PoolTimeout) as error:
            log.warning("which reads are made is not recorded yet: %s", error_text(error))
            return
        for each in waiting:
            self._waiting.pop(each, None)
