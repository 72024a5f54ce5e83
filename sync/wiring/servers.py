"""Which of the servers answer: for the metrics, and for whether a worker is ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from functools import partial

import psycopg

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.connection.deadline import IMPATIENT
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.postgres.schema.migrations import require_state
from sync.adapters.queue import redis_connection
from sync.errors import SyncError
from sync.missing import missing_of
from sync.settings import Settings
from sync.wiring.readings import Readings, answer

_PROBE_SECONDS = 5.0


def servers_away(settings: Settings, readings: Readings) -> dict[str, str]:
    """By server, why it does not answer in time, and "" where it does; one for which nothing is set is left out."""
    probes: dict[str, Callable[[Settings], None]] = {"postgres": _postgres, "cassandra": _cassandra, "redis": _redis}
    needed = {"postgres": "target", "cassandra": "source", "redis": "redis_url"}
    asked = {name: probe for name, probe in probes.items() if not missing_of(settings, needed[name])}
    begun = time.monotonic()
    found = {name: readings.begin(name, partial(probe, settings)) for name, probe in asked.items()}
    return {name: _why(reading, begun, readings.probe_seconds) for name, reading in found.items()}


def state_missing(settings: Settings, readings: Readings) -> str:
    """Why Postgres holds no state that this version can use; "" where it does."""
    return _why(readings.begin("schema", partial(_state, settings)), time.monotonic(), readings.state_seconds)


def _why(reading: Future[None], begun: float, seconds: float) -> str:
    try:
        answer(reading, begun, seconds)
    except (SyncError, psycopg.Error) as error:
        return error_text(error) or type(error).__name__
    return ""


def _postgres(settings: Settings) -> None:
    with closing(connect(settings, autocommit=True, network=IMPATIENT)) as connection:
        connection.execute("SELECT 1")


def _state(settings: Settings) -> None:
    with closing(connect(settings, autocommit=True, network=IMPATIENT)) as connection:
        require_state(connection)


def _cassandra(settings: Settings) -> None:
    with open_cassandra(settings, _PROBE_SECONDS):
        return


def _redis(settings: Settings) -> None:
    redis_connection(settings).close()
