"""`sync worker`: RQ workers for the queue `sync`, and the sweeper that notifies them of whatever is due."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import ExitStack, suppress
from typing import NoReturn

from sync.commands.context import load
from sync.console import Line, Rate, duration, say, status, steps
from sync.core.words import counted
from sync.errors import Interrupted, SyncError
from sync.settings import Config, Settings
from sync.wiring.dashboard.sampler import Sampler
from sync.wiring.dual_write.expired import ExpirySweeper
from sync.wiring.dual_write.worker import MAX_COUNTED, Sweeper
from sync.wiring.notify import SilentWriters
from sync.wiring.worker_check import worker_blocker
from sync.workers.health import HealthProcess, Shared
from sync.workers.overdue import Overdue
from sync.workers.pool import Pool

SWEEP_SECONDS = 2


def run(args: argparse.Namespace) -> NoReturn:
    """Work and sweep until Ctrl-C or SIGTERM; workers that die are replaced."""
    settings, config = load("source", "target", "redis_url")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # a service manager's way to end it is no error
    shared = Shared()
    with ExitStack() as ends:  # whatever has been started when something fails
        health = _health(args, settings, config, shared)
        if health:
            ends.callback(health.stop)
        pool = Pool(settings, args.n)
        ends.callback(pool.stop, 90)
        overdue = Overdue(settings, config)
        ends.callback(overdue.stop)
        them = "it" if args.n == 1 else "them"
        steps(args.quiet)(f"{counted(args.n, 'worker')} on the queue `sync`; Ctrl-C ends {them} after the present job")
        try:
            _work(args, settings, config, shared, health, pool, overdue)
        except KeyboardInterrupt:
            raise Interrupted("what the workers held is free for others") from None


def _work(
    args: argparse.Namespace, settings: Settings, config: Config, shared: Shared,
    health: HealthProcess | None, pool: Pool, overdue: Overdue,
) -> NoReturn:  # fmt: skip
    """Go round until an exception ends it."""
    with suppress(SyncError):  # a server that is away is tried again by the workers
        if found := worker_blocker(settings, config):
            say(f"source: {found}")
    with status(args.quiet) as block:
        progress, sweeper = Draining(), Sweeper(settings, config.dual_write.writers_folder)
        expired, silent = ExpirySweeper(settings, config), SilentWriters(settings, config)
        sampler = Sampler(settings)
        while True:
            shared.note(len(pool), 0)
            time.sleep(SWEEP_SECONDS)
            if replaced := pool.heal():
                say("a worker had died and was replaced")
            shared.note(len(pool), replaced)
            if health:
                health.heal()
            block.update(progress.lines(sweeper.sweep()))
            overdue.sweep(sweeper.ended)
            expired.sweep()
            silent.look()
            sampler.tick()


def _health(args: argparse.Namespace, settings: Settings, config: Config, shared: Shared) -> HealthProcess | None:
    if args.metrics_port is None:
        return None
    return HealthProcess(settings, config, (args.metrics_host, args.metrics_port), shared)


class Draining:
    """Turns the numbers of open intents into lines: how many, how fast they go, and how long that takes."""

    def __init__(self) -> None:
        self._rates = dict[str, Rate]()

    def lines(self, left: dict[str, int]) -> list[Line]:
        """A line a table that has open intents."""
        self._rates = {table: self._rates.get(table, Rate()) for table in left}
        return [self._line(table, count) for table, count in left.items()]

    def _line(self, table: str, count: int) -> Line:
        rate = self._rates[table].add(-count)
        ends = f", {rate:,.0f}/s, {duration(count / rate)} left" if rate > 0 else ""
        if count > MAX_COUNTED:
            return Line(f"{table}: more than {MAX_COUNTED:,} intents open")
        open_ones = f"{table}: {counted(count, 'intent')} open"
        return Line(open_ones + ends, open_ones)
