"""One pass of `sync drift-report --continuous`, in a process of its own that ends with the one that started it.

That one holds the other end of this process's stdin: however it ends, by a kill, too, this is at its end then.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from sync.cli import main


def _end_with_starter() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    sys.exit(main(["drift-report", *sys.argv[1:]]))
