"""`sync worker`: RQ workers for the queue `sync`, and the sweeper that notifies them of whatever is due."""

from __future__ import annotations

import argparse
import signal
import time
from contextlib import suppress

from sync.commands.context import load
from sync.console import Rate, duration, say, status
from sync.core.plurals import counted
from sync.errors import SyncError
from sync.wiring.dual_write.worker import MOST_COUNTED, Sweeper
from sync.wiring.working import obstacle
from sync.workers.pool import Pool

SWEEP_SECONDS = 2


def run(args: argparse.Namespace) -> int:
    """Work and sweep until Ctrl-C or SIGTERM; workers that die are replaced."""
    settings, config = load()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pool = Pool(settings, args.n)
    say(f"{counted(args.n, 'worker')} on the queue `sync`; Ctrl-C stops them after their current job")
    with suppress(SyncError):  # a server that is unreachable is retried by the workers
        if found := obstacle(settings, config):
            say(f"source: {found}")
    try:
        with status() as block:
            progress, sweeper = Draining(), Sweeper(settings, config.dual_write.writers_folder)
            while True:
                time.sleep(SWEEP_SECONDS)
                if pool.heal():
                    say("a worker had died and was replaced")
                block.update(progress.lines(sweeper.sweep()))
    except KeyboardInterrupt:
        return 0
    finally:
        pool.stop(grace_seconds=90)


class Draining:
    """Turns the numbers of open intents into lines: how many, how fast they go, and how long that takes."""

    def __init__(self) -> None:
        self._rates = dict[str, Rate]()

    def lines(self, left: dict[str, int]) -> list[str]:
        """A line a table that has open intents."""
        self._rates = {table: self._rates.get(table, Rate()) for table in left}
        return [self._line(table, count) for table, count in left.items()]

    def _line(self, table: str, count: int) -> str:
        rate = self._rates[table].add(-count)
        ends = f", {rate:,.0f}/s, {duration(count / rate)} left" if rate > 0 else ""
        if count > MOST_COUNTED:
            return f"{table}: more than {MOST_COUNTED:,} intents open"
        return f"{table}: {counted(count, 'intent')} open{ends}"
