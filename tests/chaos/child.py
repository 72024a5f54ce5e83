"""The processes that die: forked from one that has everything imported; orders come as lines of JSON on stdin.

Roles: `write` (random writes through DualWriteStore, each recorded before and after), `drain` (what a worker does),
`sweep`. The failpoint is that of the order; the answer is the child's exit status.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any
from uuid import UUID

from sync import failpoints
from sync.errors import SyncError, WriteRefused
from sync.settings import Settings, load_config
from sync.stores.dual import DualWriteStore
from sync.wiring.reconciling import drain_job, sweep

TABLE = "pairs"


def choose(rng: random.Random, keys: list[str], n: int) -> tuple[str, str, dict[str, str | None]]:
    """A random write: its kind, its key, its values."""
    kind = rng.choice(["put", "put", "update", "update", "update", "delete"])
    key = rng.choice(keys)
    if kind == "put":
        return kind, key, {"a": f"{n}a", "b": rng.choice([f"{n}b", None])}
    if kind == "update":
        return kind, key, {rng.choice("ab"): rng.choice([f"{n}u", f"{n}u", None])}
    return kind, key, {}


def write(order: dict[str, Any], settings: Settings) -> None:
    """Write until killed, or all is written."""
    rng, record = random.Random(order["seed"]), os.open(order["record"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(**what: Any) -> None:
        os.write(record, json.dumps({"at": time.monotonic(), **what}).encode() + b"\n")
        os.fsync(record)

    try:
        store = DualWriteStore(settings, load_config(Path(order["config"])))
    except SyncError:
        return  # its connections were cut while it opened them: it says so, and writes nothing
    with store:
        for n in range(order["writes"]):
            kind, key, values = choose(rng, order["keys"], n)
            note(n=n, kind=kind, key=key, values={k: v and f"c{v}" for k, v in values.items()})
            try:
                call(store, kind, key, {k: v and f"c{v}" for k, v in values.items()})
            except WriteRefused:
                note(n=n, fate="never")
            except SyncError as error:
                note(n=n, fate="may", error=str(error))
            else:
                note(n=n, fate="must")


def call(store: DualWriteStore, kind: str, key: str, values: dict[str, str | None]) -> None:
    where = {"id": UUID(key)}
    if kind == "put":
        store.put(TABLE, {**where, **values})
    elif kind == "update":
        store.update(TABLE, where, values)
    else:
        store.delete(TABLE, where)


def drain(order: dict[str, Any], settings: Settings) -> None:
    """Drain until killed, or the time is over."""
    end = time.monotonic() + order["seconds"]
    config = load_config(Path(order["config"]))
    while time.monotonic() < end:
        drain_job(settings, config, TABLE, lambda: time.monotonic() > end)
        time.sleep(0.02)


def ring(order: dict[str, Any], settings: Settings) -> None:
    """Sweep until killed, or the time is over."""
    end = time.monotonic() + order["seconds"]
    while time.monotonic() < end:
        sweep(settings)
        time.sleep(0.05)


ROLES = {"write": write, "drain": drain, "sweep": ring}


def main() -> None:
    """Serve until stdin ends."""
    logging.disable(logging.WARNING)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            failpoints._PLAN.update(order["failpoints"])
            try:
                ROLES[order["role"]](order, Settings(_env_file=None, **order["settings"]))  # type: ignore[call-arg]
            except BaseException as error:  # noqa: BLE001
                sys.stderr.write("".join(traceback.format_exception(error)))
                sys.stderr.flush()
                os._exit(3)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
