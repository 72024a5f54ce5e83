"""`sync worker`: RQ workers for the queue `sync`."""

from __future__ import annotations

import argparse
import signal
import time

from sync.commands.context import load
from sync.console import say
from workers.pool import Pool


def run(args: argparse.Namespace) -> int:
    """Work until Ctrl-C or SIGTERM; workers that die are replaced."""
    settings, _config = load()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pool = Pool(settings, args.n)
    say(f"{args.n} workers on the queue `sync`; Ctrl-C ends them after their job")
    try:
        while True:
            time.sleep(1)
            if pool.heal():
                say("a worker had died and was replaced")
    except KeyboardInterrupt:
        return 0
    finally:
        pool.stop(grace_seconds=90)
