"""Feeds as an operator and the gates see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sync.adapters.postgres.capture.feed_ledger import FeedLimits
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.core.cutover.followers import FeedFact
from sync.errors import PreflightError

_SQL = {name: text.encode() for name, text in queries("capture/feeds").items()}


def read_feeds(connection: Connection) -> list[FeedFact]:
    """Every feed that was ever followed and is not forgotten, by name."""
    with target_errors():
        return [FeedFact(*row) for row in connection.execute(_SQL["feeds"]).fetchall()]


def read_gaps(connection: Connection) -> list[dict[str, Any]]:
    """The newest gaps, the newest first."""
    with target_errors():
        rows = connection.execute(_SQL["gaps"]).fetchall()
    return [{"feed": feed, "table": table or None, "until": at.isoformat(), "why": why} for feed, table, at, why in rows]


def feeds_behind(connection: Connection, moment: datetime) -> list[tuple[str, float | None]]:
    """Feeds that have not told everything before `moment`, and how many seconds are missing; None: they have told nothing."""
    with target_errors():
        return [(name, seconds) for name, seconds in connection.execute(_SQL["behind"], {"moment": moment}).fetchall()]


def forget(connection: Connection, name: str, limits: FeedLimits) -> bool:
    """Forget a feed; whether that is a gap. Raises PreflightError if there is none of this name, or a process follows it."""
    lost = {"table": "", "behind": 0.0, "why": "it was forgotten", "write_timeout": limits.write_timeout, "skew": limits.skew}
    with target_errors(), connection.transaction():
        found = connection.execute(_SQL["forget"], {"name": name}).fetchone()
        if found and found[0]:
            connection.execute(_SQL["gap"], {"name": name, **lost})
        if found is None:
            names = ", ".join(repr(feed.name) for feed in read_feeds(connection)) or "none"
            raise PreflightError(f"no feed {name!r} that nobody follows; feeds: {names} (end its `sync follow` first)")
    return bool(found[0])
