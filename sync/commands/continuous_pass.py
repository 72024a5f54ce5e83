"""One pass of `sync drift-report --continuous`, in a process of its own that ends with the one that started it.

That one holds the other end of this process's stdin: when it closes it, or has ended, by a kill, too, this process stops as
by Ctrl-C. It is sent no signal, which could meet it while it is still importing what it needs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from sync.cli import INTERRUPTED, main

AGAIN_SECONDS = 120.0
"""Longer than a stopped pass takes to end (a minute for ranges, then for workers): a second Ctrl-C would break that off."""


def run(arguments: list[str]) -> int:
    """Make the pass; its exit code."""
    try:
        threading.Thread(target=_end_with_starter, daemon=True).start()
        code = main(["drift-report", *arguments])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it has ended by itself
        return code
    except KeyboardInterrupt:  # before it had begun
        return INTERRUPTED


def _end_with_starter() -> None:
    while os.read(0, 1024):
        pass
    while True:  # what Python drops in a callback comes again (sync.cli), but not before the command has begun
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(AGAIN_SECONDS)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
