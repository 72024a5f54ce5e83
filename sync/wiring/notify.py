"""Tells a webhook what has happened (`[notify]` in sync.toml). It never fails a command, and tells no keys and no values."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.cutover.writers import list_writers
from sync.adapters.postgres.schema.migrations import usable_state
from sync.adapters.webhook import post
from sync.errors import SyncError
from sync.ports import Progress
from sync.settings import Config, Settings

log = logging.getLogger(__name__)
Event = Literal["backfill done", "pass clean", "pass not clean", "cutover", "rollback", "writer silent"]


def notify(settings: Settings, config: Config, event: Event, text: str, **facts: Any) -> None:
    """Tell the webhook, if there is one. A failure is one line in the log, without the address."""
    if config.notify.url is None:
        return
    at = datetime.now(UTC).isoformat(timespec="seconds")
    body = {"event": event, "at": at, "keyspace": settings.astra_db_keyspace, "text": f"sync: {text}", **facts}
    try:
        post(config.notify.url.get_secret_value(), config.notify.timeout_seconds, body)
    except SyncError as error:
        log.warning("notify: “%s” was not told: %s", event, error)


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


class SilentWriters:
    """Finds writers that have become silent, each once until it is heard again."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self._settings, self._config, self._told = settings, config, frozenset[str]()

    def look(self) -> None:
        """Tell of those that are new. Not while Postgres is away: nobody knows then."""
        if self._config.notify.url is None:
            return
        try:
            with closing(connect(self._settings, direct=False, autocommit=True)) as connection:
                writers = list_writers(connection) if usable_state(connection) else []
        except (SyncError, psycopg.Error):  # the sweeper has said so
            return
        silent = {w["id"]: w for w in self._silent(writers)}
        for name in sorted(silent.keys() - self._told):
            age = silent[name]["heartbeat_age_seconds"]
            text = f"writer {name} is without a heartbeat for {age:.0f} s; if it has ended: sync writers --fence"
            facts = {"writer": name, "heartbeat_age_seconds": round(age, 1)}
            notify(self._settings, self._config, "writer silent", text, **facts)
        self._told = frozenset(silent)

    def _silent(self, writers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        lease = self._config.dual_write.writer_lease_seconds
        return [w for w in writers if w["state"] == "active" and w["heartbeat_age_seconds"] > lease]
