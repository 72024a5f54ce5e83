"""`sync follow`: the mapped tables and the ledger for a feed, and the loop that records it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.cassandra.rows.cells import token_of
from sync.adapters.postgres.capture.announced import TableKeys
from sync.adapters.postgres.capture.feed_ledger import FeedLedger, FeedLimits
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.schema.migrations import require_state
from sync.core.capture.changes import ChangeBatch
from sync.core.encode.rows import RowEncoder
from sync.core.rows import SourceTable
from sync.errors import SettingsError
from sync.flows.follow import ChangedKeys, follow
from sync.settings import Config, Settings
from sync.wiring.backfill.worker import map_tables, worker_name
from sync.wiring.preflight import chosen_tables

_PAUSE_SECONDS = 1.0
"""Of a switch, for what is drained after the last announcement's time."""


@dataclass(frozen=True, slots=True)
class FollowSite:
    """What a feed is made with, and recorded by: the migrated tables as the source has them, and the ledger."""

    settings: Settings
    config: Config
    tables: Mapping[str, SourceTable]
    ledger: FeedLedger


def feed_limits(config: Config) -> FeedLimits:
    """The limits that sync.toml gives. A pass that counts looks when nothing is open of what began before (rule 41).

    A store's write that is older than a writer's lease brings nothing any more: workers have its intent (rule 12).
    """
    capture, tuning = config.capture, config.dual_write
    apart = tuning.max_clock_skew_seconds + tuning.writer_lease_seconds
    return FeedLimits(capture.lease_seconds, capture.write_timeout_seconds, apart)


@contextmanager
def open_follow_site(settings: Settings, config: Config) -> Iterator[FollowSite]:
    """Both sides' tables, and the ledger. Raises PreflightError where no migration has begun or a table has no target."""
    if (least := config.capture.write_timeout_seconds + _PAUSE_SECONDS) > config.cutover.max_pause_seconds:
        raise SettingsError(
            f"[cutover] max_pause_seconds is {config.cutover.max_pause_seconds:g}: with followers a switch needs {least:g} "
            f"at least ([capture] write_timeout_seconds and {_PAUSE_SECONDS:g} more)"
        )
    with (
        closing(connect(settings, autocommit=True)) as connection,
        open_cassandra(settings, config.dual_write.primary_timeout_seconds) as cassandra,
    ):
        require_state(connection)
        names = [source.name for source in chosen_tables(cassandra, settings, config, None)]
        mapped = map_tables(cassandra, connection, settings, config, names)
    keys = {name: TableKeys(table, RowEncoder(table, 0), token_of) for name, table in mapped.items()}
    ledger = FeedLedger(lambda: connect(settings, autocommit=True), keys, worker_name(), feed_limits(config))
    with closing(ledger):
        yield FollowSite(settings, config, {name: table.source for name, table in mapped.items()}, ledger)


def follow_feed(site: FollowSite, feed: ChangedKeys, say: Callable[[str], None], told: Callable[[ChangeBatch], None]) -> None:
    """Record the feed until it ends, or Ctrl-C. Raises FeedTaken, and what the feed raises."""
    follow(feed, site.ledger, site.config.capture.lease_seconds + 1, say, told)
