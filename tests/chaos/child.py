"""The processes that are killed: forked from one that has imported everything; orders arrive as lines of JSON on stdin.

Roles: `write` (random writes through DualWriteStore, each recorded before and after; the clock may jump before each),
`close` (threads that write while the store is closed, or the process is sent SIGTERM), `drain` (what a worker does), `sweep`.
The order names the failpoints; the answer is the child's exit status.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any
from uuid import UUID, uuid4

from sync import failpoints
from sync.errors import PreflightError, StoreClosed, SyncError, WriteRefused, WriteUnsure
from sync.settings import Settings, load_config
from sync.stores.both_sides.dual import DualWriteStore
from sync.wiring.dual_write.worker import Sweeper, drain_job

TABLE = "pairs"


def choose(rng: random.Random, keys: list[str], n: int, kind: str | None = None) -> tuple[str, str, dict[str, str | None]]:
    """A random write: its kind, its key, its values."""
    kind = kind or rng.choice(["put", "put", "update", "update", "update", "delete"])
    key = rng.choice(keys)
    if kind == "put":
        return kind, key, {"a": f"{n}a", "b": rng.choice([f"{n}b", None])}
    if kind == "update":
        return kind, key, {rng.choice("ab"): rng.choice([f"{n}u", f"{n}u", None])}
    return kind, key, {}


class Hand:
    """Writes, and records each write before and after."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order, self._record = order, os.open(order["record"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._pad = random.Random(order["seed"]).randbytes(order.get("pad", 0) // 2).hex()  # random: does not compress

    def note(self, **what: Any) -> None:
        os.write(self._record, json.dumps({"at": time.monotonic(), **what}).encode() + b"\n")
        os.fsync(self._record)

    def write(self, store: DualWriteStore, rng: random.Random, n: int, kind: str | None = None) -> str:
        """Do one random write, of this kind if one is given; returns its fate."""
        kind, key, made = choose(rng, self._order["keys"], n, kind)
        values = {k: v and f"c{v}{self._pad}" for k, v in made.items()}
        self.note(n=n, kind=kind, key=key, values=values)
        try:
            call(store, kind, key, values)
        except (WriteRefused, StoreClosed):
            fate, said = "never", ""
        except SyncError as error:
            fate, said = "may", str(error)
        else:
            fate, said = "must", ""
        self.note(n=n, fate=fate, error=said)
        return fate


def opened(order: dict[str, Any], settings: Settings) -> DualWriteStore | None:
    """The store; None if its connections were cut while it was opening, in which case nothing is written."""
    try:
        return DualWriteStore(settings, load_config(Path(order["config"])))
    except PreflightError:
        raise
    except SyncError:
        return None


def write(order: dict[str, Any], settings: Settings) -> None:
    """Write until killed, or until all is written."""
    rng, hand, store = random.Random(order["seed"]), Hand(order), opened(order, settings)
    if store is None:
        return
    now, ahead = time.time_ns, 0.0
    time.time_ns = lambda: now() + int(ahead * 1e9)
    with store:
        if order["threads"] > 1:
            crowd(hand, store, order)
        for n in range(order["writes"]):
            ahead = rng.choice(order.get("jumps", [0.0]))
            hand.write(store, rng, n)
    time.time_ns = now


def crowd(hand: Hand, store: DualWriteStore, order: dict[str, Any]) -> None:
    """Threads put rows at the same time, after a first one that looks at the tables."""
    hand.write(store, random.Random(order["seed"]), 900)

    def work(first: int) -> None:
        own = random.Random(f"{order['seed']}:{first}")
        for n in range(first, first + order["writes"]):
            hand.write(store, own, n, own.choice(["put", "put", "put", None]))

    hands = [Thread(target=work, args=(1000 * i,)) for i in range(1, order["threads"] + 1)]
    for each in hands:
        each.start()
    for each in hands:
        each.join()


def close(order: dict[str, Any], settings: Settings) -> None:
    """Threads write while the store is closed under them: at the end of its `with` block, or when SIGTERM leaves it."""
    rng, hand, store = random.Random(order["seed"]), Hand(order), opened(order, settings)
    if store is None:
        return
    hand.note(writer=store._registration.writer.id)
    for n in range(100):  # the first write inspects the tables on both sides, which takes a while
        if hand.write(store, rng, 9000 + n) == "must":
            break
    ended = Event()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def load(first: int) -> None:
        own = random.Random(f"{order['seed']}:{first}")
        for n in range(first, first + 1000):
            if ended.is_set():
                return
            if own.random() < 0.2:
                store._registration.breaker.failures = 1  # Postgres counts as unreachable until the next heartbeat
            hand.write(store, own, n)

    hands = [Thread(target=load, args=(1000 * i,)) for i in range(1, 4)]
    if order["sigterm"]:
        Timer(order["seconds"], os.kill, (os.getpid(), signal.SIGTERM)).start()
    try:
        with store:
            for each in hands:
                each.start()
            end = time.monotonic() + order["seconds"]
            for n in range(1000):
                if order["sigterm"]:
                    hand.write(store, rng, n)  # the signal's handler raises in the middle of it
                elif time.monotonic() > end:
                    break
                else:
                    time.sleep(0.01)
    except SystemExit:
        pass
    ended.set()
    for each in hands:
        each.join()


def call(store: DualWriteStore, kind: str, key: str, values: dict[str, str | None]) -> None:
    where = {"id": UUID(key)}
    if kind == "put" and values["b"] is None:
        try:
            store.put_many(TABLE, [{**where, **values}, {"id": uuid4(), **values}])
        except StoreClosed:
            raise
        except SyncError as error:  # of either row
            raise WriteUnsure(str(error)) from None
    elif kind == "put":
        store.put(TABLE, {**where, **values})
    elif kind == "update":
        store.update(TABLE, where, values)
    else:
        store.delete(TABLE, where)


def drain(order: dict[str, Any], settings: Settings) -> None:
    """Drain until killed, or until time is up."""
    end = time.monotonic() + order["seconds"]
    config = load_config(Path(order["config"]))
    while time.monotonic() < end:
        drain_job(settings, config, TABLE, lambda: time.monotonic() > end)
        time.sleep(0.02)


def notify(order: dict[str, Any], settings: Settings) -> None:
    """Sweep until killed, or until time is up."""
    end = time.monotonic() + order["seconds"]
    while time.monotonic() < end:
        Sweeper(settings).sweep()
        time.sleep(0.05)


ROLES = {"write": write, "close": close, "drain": drain, "sweep": notify}


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
