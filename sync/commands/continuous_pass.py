"""One pass of `sync drift-report --continuous`, in a process of its own that ends with the one that started it.

That one holds the other end of this process's stdin: when it closes it, or has ended, by a kill, too, this process stops as
by Ctrl-C. It is sent no signal, which could meet it while it is still importing what it needs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from sync.cli import INTERRUPTED, main


def _end_with_starter() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    try:
        code = main(["drift-report", *sys.argv[1:]])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it has ended by itself
    except KeyboardInterrupt:  # before it had begun
        code = INTERRUPTED
    sys.exit(code)
