"""Processes that register as writers and end without signing off, forked from one that has imported everything.

`python ended_writers.py '{"forks": 20, "writers": 25, "ends": ["kill", "exit"], "tuning": {…}}'`: 25 writers in each fork.
Without `writers`, each fork opens a store as an application does, writes a row, and ends.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from sync.adapters.postgres.connection.pool import open_pool
from sync.adapters.postgres.dual_write.registration import Registration
from sync.settings import DualWriteTuning, load_settings
from sync.stores.factory import open_store


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


ENDS: dict[str, Callable[[], Any]] = {
    "kill": _kill,
    "exit": lambda: os._exit(3),
    "return": lambda: None,
    "raise": lambda: 1 / 0,
}


def register(order: dict[str, Any], end: str) -> None:
    """Register the writers in this process, then end it."""
    tuning = DualWriteTuning(**order["tuning"])
    pool = open_pool(load_settings(), 2, 10)
    kept = [Registration(pool, tuning, lambda _: None) for _ in range(order["writers"])]
    assert len({one.writer.slot for one in kept}) == len(kept), "two of one slot"
    ENDS[end]()


def write(end: str) -> None:
    """An application that never closes its store."""
    store = open_store()
    store.put("pairs", {"id": uuid4(), "a": "x"})
    if end == "thread":  # a thread that is still writing when the interpreter ends
        threading.Thread(target=_forever, args=(store,), daemon=True).start()
    ENDS.get(end, ENDS["return"])()


def _forever(store: Any) -> None:
    while True:
        store.put("pairs", {"id": uuid4(), "a": "x"})


def main() -> None:
    order = json.loads(sys.argv[1])
    for n in range(order["forks"]):
        end = order["ends"][n % len(order["ends"])]
        if end == "multiprocessing":
            process = multiprocessing.get_context("fork").Process(target=write, args=(end,))
            process.start()
            process.join()
            continue
        pid = os.fork()
        if pid == 0:
            # What follows is the interpreter's own shutdown, with its handlers.
            if "writers" in order:
                register(order, end)
            else:
                write(end)
            return
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
