"""Tells a webhook what has happened (`[notify]` in sync.toml). It never fails a command, and tells no keys and no values."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.cutover.writers import list_writers
from sync.adapters.postgres.schema.migrations import usable_state
from sync.adapters.webhook import Sending
from sync.core.cutover.attention import is_silent
from sync.core.words import counted
from sync.errors import SyncError
from sync.ports import Progress
from sync.settings import Config, Settings

log = logging.getLogger(__name__)
Event = Literal["backfill done", "pass clean", "pass not clean", "cutover", "rollback", "writer silent"]


def notify(settings: Settings, config: Config, event: Event, text: str, **facts: Any) -> None:
    """Tell the webhook, if there is one. A failure is one line in the log, without the address.

    So is Ctrl-C meanwhile: the work of which it tells is done, and must not look as if it had been interrupted.
    """
    sending: Sending | None = None
    try:
        if sending := _begin(settings, config, event, text, facts):
            sending.wait()
    except SyncError as error:
        log.warning("notify: “%s” was not told: %s", event, error)
    except KeyboardInterrupt:
        log.warning("notify: “%s” was not told: it was interrupted", event)
        if sending:
            sending.stop()


def _begin(settings: Settings, config: Config, event: Event, text: str, facts: Mapping[str, Any]) -> Sending | None:
    if config.notify.url is None:
        return None
    at = datetime.now(UTC).isoformat(timespec="seconds")
    body = {"event": event, "at": at, "keyspace": settings.astra_db_keyspace, "text": f"sync: {text}", **facts}
    return Sending(config.notify.url.get_secret_value(), config.notify.timeout_seconds, body)


def notify_backfill(settings: Settings, config: Config, final: Sequence[Progress]) -> None:
    """A backfill has ended; its figures by table."""
    tables = [
        {
            "table": p.table, "rows_read": p.rows_read, "rows_written": p.rows_written, "rows_already_there": p.rows_stale,
            "rows_rejected": p.rows_rejected, "ranges_done": p.done, "ranges_failed": p.failed,
        }
        for p in final
    ]  # fmt: skip
    rows, failed = sum(p.rows_read for p in final), sum(p.failed for p in final)
    text = f"backfill done: {rows:,} rows read" + (f", {failed:,} ranges failed" if failed else "")
    notify(settings, config, "backfill done", text, ok=not failed, tables=tables)


def notify_pass(settings: Settings, config: Config, report: Mapping[str, Any]) -> None:
    """A drift pass has ended."""
    event: Event = "pass clean" if report["clean"] else "pass not clean"
    tables = [{"table": t["table"], "clean": t["clean"], "rows": t["rows"]} for t in report["tables"]]
    text = f"drift pass {report['pass']}: {'clean' if report['clean'] else 'not clean'}; next: {report['next_step']}"
    notify(settings, config, event, text, **{"pass": report["pass"]}, clean=report["clean"], tables=tables)


def registered_writers(settings: Settings) -> list[dict[str, Any]]:
    """The writers as `sync writers` lists them; none before `sync schema apply`. Raises SyncError and psycopg.Error."""
    with closing(connect(settings, direct=False, autocommit=True)) as connection:
        return list_writers(connection) if usable_state(connection) else []


class SilentWriters:
    """Finds writers that have become silent, each once until it is heard again.

    Silent is who has been without a heartbeat for the lease, and still is after another lease in which Postgres answered at
    every look: after an outage of Postgres the heartbeats of all are old.
    """

    def __init__(
        self,
        settings: Settings,
        config: Config,
        read: Callable[[Settings], list[dict[str, Any]]] = registered_writers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._config, self._read, self._clock = settings, config, read, clock
        self._since = dict[str, float]()
        self._told = frozenset[str]()
        self._sending: Sending | None = None

    def look(self) -> None:
        """Tell of those that are new, in one message, without waiting for the answer; while one is awaited, none is sent."""
        if self._config.notify.url is None:
            return
        try:
            self._settle()
            silent = self._silent()
            self._told &= silent.keys()
            due = {name: age for name, age in silent.items() if name not in self._told and self._is_sure(name)}
            if due and self._sending is None:
                self._told |= due.keys()
                self._sending = self._tell(due)
        except SyncError as error:
            log.warning("notify: “writer silent” was not told: %s", error)

    def _settle(self) -> None:
        if self._sending and self._sending.ended:
            sent, self._sending = self._sending, None
            sent.wait()

    def _silent(self) -> dict[str, float]:
        """Those without a heartbeat, and for how many seconds; nobody knows of any while Postgres is away."""
        try:
            writers = self._read(self._settings)
        except (SyncError, psycopg.Error):  # the sweeper has said so
            writers = []
        lease, now = self._config.dual_write.writer_lease_seconds, self._clock()
        ages = {w["id"]: float(w["heartbeat_age_seconds"]) for w in writers if is_silent(w, lease)}
        silent = dict(sorted(ages.items()))
        self._since = {name: self._since.get(name, now) for name in silent}
        return silent

    def _is_sure(self, name: str) -> bool:
        return self._clock() - self._since[name] >= self._config.dual_write.writer_lease_seconds

    def _tell(self, due: Mapping[str, float]) -> Sending | None:
        named = ", ".join(f"{name} ({age:.0f} s)" for name, age in due.items())
        text = f"{counted(len(due), 'writer')} without a heartbeat: {named}; of those that have ended: sync writers --fence"
        writers = [{"writer": name, "heartbeat_age_seconds": round(age, 1)} for name, age in due.items()]
        return _begin(self._settings, self._config, "writer silent", text, {"writers": writers})
