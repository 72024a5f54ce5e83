"""What `benchmarks.arrays` times: one way, once, with the `sync` that the path leads to.

python -m benchmarks.arrays_client WAY KEYS [PROFILE]     PROFILE: a file for cProfile's figures
"""

from __future__ import annotations

import cProfile
import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

from benchmarks.dual_client import TABLE, song
from sync.adapters.postgres.dual_write.unrecorded import Unrecorded
from sync.ports import Written
from sync.settings import Config, Settings, load_settings
from sync.stores import DualWriteStore
from sync.wiring.dual_write.worker import drain_job

_ROWS_A_CALL = 1000


def timed(work: Callable[[], int], profile: str = "") -> None:
    """Do the work and print what it cost."""
    profiler = cProfile.Profile() if profile else None
    begin, cpu = time.monotonic(), time.process_time()
    with profiler or nullcontext():
        keys = work()
    found = {"keys": keys, "seconds": time.monotonic() - begin, "cpu": time.process_time() - cpu}
    if profiler:
        profiler.dump_stats(profile)
    sys.stdout.write(json.dumps(found) + "\n")


def drain(settings: Settings, _keys: int, profile: str) -> None:
    """Drain all intents, connections and all; in an epoch with Postgres as primary these are resends."""
    timed(lambda: drain_job(settings, Config(), TABLE, lambda: False), profile)


def record(settings: Settings, keys: int, profile: str) -> None:
    """Record acknowledged writes, as the heartbeat's thread does when Postgres is back."""
    with DualWriteStore(settings, Config()) as store:
        flows = store._of(TABLE)
        unrecorded = Unrecorded(10**12, lambda _: None)
        for _ in range(keys):
            unrecorded.add(flows.journal, Written(flows.put(song()), time.time_ns() // 1000, "finished"))

        def work() -> int:
            unrecorded.record(lambda: None)
            return keys - len(unrecorded)

        timed(work, profile)


def put_many(settings: Settings, keys: int, profile: str) -> None:
    """Put rows, a thousand at a time."""
    with DualWriteStore(settings, Config()) as store:
        store.put_many(TABLE, [])
        songs = [[song() for _ in range(_ROWS_A_CALL)] for _ in range(keys // _ROWS_A_CALL)]

        def work() -> int:
            return sum(store.put_many(TABLE, some) * len(some) for some in songs)

        timed(work, profile)


WAYS = {"drain": drain, "resend": drain, "record": record, "put_many": put_many}

if __name__ == "__main__":
    WAYS[sys.argv[1]](load_settings(None), int(sys.argv[2]), "".join(sys.argv[3:]))
