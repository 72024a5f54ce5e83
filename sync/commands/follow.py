"""`sync follow`: records what a feed of changes by others tells, and forgets feeds that nobody follows any more."""

from __future__ import annotations

import argparse
import atexit
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from sync.adapters.capture.key_lines import KeyLines
from sync.adapters.postgres.capture.feeds import forget
from sync.adapters.pulsar.connection import load_pulsar
from sync.adapters.pulsar.keys import PulsarKeys
from sync.adapters.pulsar.pulsar_settings import load_pulsar_settings
from sync.adapters.pulsar.topics import tables_of_topics
from sync.commands.context import load
from sync.console import Line, print_json, say, status, steps
from sync.core.capture.changes import ChangeBatch
from sync.core.cutover.followers import NODE_FEED, PULSAR_FEED
from sync.core.words import counted
from sync.errors import Interrupted, SettingsError
from sync.flows.follow import ChangedKeys
from sync.wiring.backfill.command import open_ledger
from sync.wiring.capture.commitlog import Followed, await_target, open_feed
from sync.wiring.capture.follow import FollowSite, feed_limits, follow_feed, open_follow_site

MakeFeed = Callable[[argparse.Namespace, FollowSite], ChangedKeys]


def _keys(args: argparse.Namespace, site: FollowSite) -> ChangedKeys:
    path = None if args.file == "-" else Path(args.file)
    name = args.name or ("keys" if path is None else f"keys {path.resolve()}")
    if name.startswith((NODE_FEED, PULSAR_FEED)):
        raise SettingsError(f"--name: {name} would be taken for a feed of a node or of Pulsar; choose another name")
    return KeyLines(name, path, site.tables, args.wait)


def _pulsar(args: argparse.Namespace, site: FollowSite) -> ChangedKeys:
    load_pulsar()  # says what is not installed before anything else is asked for
    settings = load_pulsar_settings()
    topics = tables_of_topics(args.topic, site.settings.astra_db_keyspace or "", site.tables)
    told = {table.name for table in topics.values()}  # static columns are told with their table
    if left := sorted({table.base or name for name, table in site.tables.items()} - told):
        say(f"no topic is followed for {', '.join(left)}: changes of others to them are not seen")
    return PulsarKeys(settings, topics)


def _followed(args: argparse.Namespace) -> Followed:
    return Followed(args.cdc_raw, args.folder, args.node, args.max_folder_mb << 20)


def _commitlog(args: argparse.Namespace, site: FollowSite) -> ChangedKeys:
    stack = ExitStack()
    atexit.register(stack.close)  # it reads the schema as long as this process follows
    feed = stack.enter_context(open_feed(site.settings, site.config, _followed(args), sorted(site.tables)))
    stack.enter_context(feed.collecting())  # Postgres may take its time to say where to go on
    return feed


FEEDS: dict[str, MakeFeed] = {
    "commitlog": _commitlog,
    "keys": _keys,
    "pulsar": _pulsar,
}
"""By subcommand, what makes its feed of its arguments; the arguments are in `sync.arguments`."""


def run(args: argparse.Namespace) -> int:
    """Follow one feed until it ends or Ctrl-C, or forget one."""
    if args.feed == "forget":
        return _forget(args)
    settings, config = load("source", "target")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's way to end it is Ctrl-C's
    if args.feed == "commitlog":
        await_target(settings, _followed(args), say)
    with open_follow_site(settings, config) as site:
        feed = FEEDS[args.feed](args, site)
        tell = steps(args.quiet)
        tell(f"following {feed.name!r}; Ctrl-C ends it, and the same command goes on from there")
        counts = _Counts()
        try:
            with status(args.quiet) as block:
                follow_feed(site, feed, say, lambda batch: block.update(counts.lines(batch)))
        except KeyboardInterrupt:
            raise Interrupted("what was told until now is recorded") from None
    if args.json:
        print_json({"feed": feed.name, "keys": counts.keys, "partitions": counts.partitions, "gaps": counts.gaps})
    else:
        say(f"{feed.name!r} has ended: {counts.text()}")
    return 0


class _Counts:
    """What this process has recorded."""

    def __init__(self) -> None:
        self.keys = self.partitions = self.gaps = 0

    def lines(self, batch: ChangeBatch) -> list[Line]:
        """The line that shows it, with this batch."""
        partitions = sum(change.clustering is None for change in batch.changes)
        self.partitions += partitions
        self.keys += len(batch.changes) - partitions
        self.gaps += len(batch.gaps)
        return [Line(self.text(), self.text())]

    def text(self) -> str:
        """How much that is."""
        parts = [
            counted(self.keys, "key"),
            counted(self.partitions, "partition"),
            *([counted(self.gaps, "gap")] * bool(self.gaps)),
        ]
        return ", ".join(parts)


def _forget(args: argparse.Namespace) -> int:
    settings, config = load("target")
    with open_ledger(settings, config) as (connection, _):
        is_gap = forget(connection, args.name, feed_limits(config))
    if args.json:
        print_json({"forgotten": args.name, "gap": is_gap})
    else:
        more = "; what it had not told yet is a gap: the proof needs drift passes that begin after that" if is_gap else ""
        say(f"{args.name!r} is forgotten: a cut-over does not wait for it any more{more}")
    return 0
