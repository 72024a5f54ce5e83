"""`sync worker`: RQ workers for the queue `sync`, and the sweeper that rings for whatever is due."""

from __future__ import annotations

import argparse
import signal
import time

from sync.commands.context import load
from sync.console import say
from sync.wiring.reconciling import sweep
from workers.pool import Pool

SWEEP_SECONDS = 2


def run(args: argparse.Namespace) -> int:
    """Work and sweep until Ctrl-C or SIGTERM; workers that die are replaced."""
    settings, _config = load()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pool = Pool(settings, args.n)
    say(f"{args.n} workers on the queue `sync`; Ctrl-C ends them after their job")
    try:
        while True:
            time.sleep(SWEEP_SECONDS)
            if pool.heal():
                say("a worker had died and was replaced")
            sweep(settings)
    except KeyboardInterrupt:
        return 0
    finally:
        pool.stop(grace_seconds=90)
