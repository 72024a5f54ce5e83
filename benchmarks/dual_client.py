"""The application of `make bench-dual-write`: threads or tasks that put songs, in one of several ways, as long as it is told.

    python -m benchmarks.dual_client            asked for cells by lines of JSON on stdin, answers each with one
    python -m benchmarks.dual_client drain      what a worker does for the intents that stand, once

Servers are those of the environment.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from sync.settings import Config, DualWriteTuning, Settings, load_settings
from sync.stores import CqlStore, DualWriteStore, PostgresStore

TABLE = "songs"
PLAIN = "bench_plain"
"""The same in Postgres, without the triggers that refuse others while Astra is primary."""
PLAIN_TABLES: tuple[LiteralString, ...] = (
    "CREATE TABLE IF NOT EXISTS public.bench_commit (number int)",
    f"CREATE TABLE IF NOT EXISTS public.{PLAIN} (LIKE public.{TABLE} INCLUDING ALL)",
)
CONNECTIONS = DualWriteTuning().connections  # every way to Postgres has as many
TASK_WAYS = ("tasks", "trial")
"""The ways of `benchmarks/async_client.py`."""
_STEPS = {"open": "intent", "write": "second half", "mark": "mark"}
_BEGIN = datetime(2015, 1, 1, tzinfo=UTC)
Put = Callable[[dict[str, Any]], object]


class Timed:
    """Passes the calls of these names on and keeps how long each took."""

    def __init__(self, inner: Any, names: dict[str, str], kept: dict[str, list[float]]) -> None:
        self._inner = inner
        for name, step in names.items():
            setattr(self, name, _timed(getattr(inner, name), kept.setdefault(step, [])))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _timed(call: Callable[..., Any], kept: list[float]) -> Callable[..., Any]:
    def timed(*given: Any) -> Any:
        begin = time.perf_counter()
        try:
            return call(*given)
        finally:
            kept.append(time.perf_counter() - begin)

    return timed


class Ways:
    """The ways to put a song, each opened when it is first asked for."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings, self._stack = settings, stack
        self._opened: dict[str, Put] = {}
        self._stores: dict[str, Any] = {}
        self.steps: dict[str, dict[str, list[float]]] = {}

    def put(self, way: str) -> Put:
        """How this way puts a song."""
        if way not in self._opened:
            self._opened[way] = getattr(self, f"_{way}")()
        return self._opened[way]

    def _store(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._stores:
            self._stores[name] = self._stack.enter_context(make())
        return self._stores[name]

    def _commit(self) -> Put:
        """One small row and nothing around it: what a commit costs."""
        pool = self._store("postgres", lambda: PostgresStore(self._settings, CONNECTIONS)).pool

        def put(row: dict[str, Any]) -> None:
            with pool.connection() as connection:
                connection.execute("INSERT INTO public.bench_commit VALUES (%s)", (row["year"],))

        return put

    def _cassandra(self) -> Put:
        store = self._store("cassandra", lambda: CqlStore(self._settings))
        return lambda row: store.put(TABLE, row)

    def _postgres(self) -> Put:
        store = self._store("postgres", lambda: PostgresStore(self._settings, CONNECTIONS))
        return lambda row: store.put(PLAIN, row)

    def _both(self) -> Put:
        """One after the other, with no protocol: what loses writes."""
        first, second = self.put("cassandra"), self.put("postgres")
        return lambda row: (first(row), second(row))

    def _inline(self) -> Put:
        return self._dual("inline", Config())

    def _async(self) -> Put:
        return self._dual("async", Config(dual_write=DualWriteTuning(async_secondary=frozenset({TABLE}))))

    def _dual(self, way: str, config: Config) -> Put:
        store = self._store(way, lambda: DualWriteStore(self._settings, config))
        kept = self.steps.setdefault(way, {})
        flows = store._of(TABLE)
        flow = flows.forward
        journal, primary = Timed(flow.journal, _STEPS, kept), Timed(flow.primary, {"write": "primary"}, kept)
        timed = replace(flow, journal=journal, primary=primary)
        if hasattr(flows, "puts"):  # the steps of those that go alone; another checkout may have no others
            flows.puts.one = timed
        known = store._known._flows
        known[TABLE] = known[TABLE][0], replace(flows, forward=timed)
        return lambda row: store.put(TABLE, row)


def song() -> dict[str, Any]:
    """A new song, as an application has it."""
    number = random.getrandbits(31)
    made = _BEGIN + timedelta(seconds=number % 300_000_000)
    return {
        "id": uuid.uuid4(),
        "title": f"A song of the benchmark, no. {number}",
        "artist": f"artist {number % 5000}",
        "album": f"album {number % 20000}",
        "genre": ("rock", "jazz", "folk", "classical", "electronic")[number % 5],
        "year": 1950 + number % 75,
        "duration": 45 + number % 6000 / 10,
        "created_at": made,
        "updated_at": made + timedelta(days=1),
    }


class Cell:
    """Threads that put songs until the time is over, or so many are written."""

    def __init__(self, put: Put, threads: int, seconds: float, writes: int | None) -> None:
        self._put, self._seconds, self._threads = put, seconds, threads
        self._left = -(-writes // threads) if writes else None
        self._times: list[list[float]] = [[] for _ in range(threads)]
        self._errors: list[BaseException] = []
        self._begin = threading.Barrier(threads + 1)

    def run(self) -> dict[str, Any]:
        """What it came to."""
        threads = [threading.Thread(target=self._work, args=(times,)) for times in self._times]
        for thread in threads:
            thread.start()
        self._begin.wait()
        begin, cpu = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.join()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        if self._errors:
            raise self._errors[0]
        found = sorted(t for times in self._times for t in times)
        return {"writes": len(found), "seconds": seconds, "cpu": cpu, "p50": at(found, 0.5), "p99": at(found, 0.99)}

    def _work(self, times: list[float]) -> None:
        self._begin.wait()
        try:
            end = time.perf_counter() + self._seconds
            while len(times) < self._left if self._left else time.perf_counter() < end:
                row, begin = song(), time.perf_counter()
                self._put(row)
                times.append(time.perf_counter() - begin)
        except BaseException as error:
            self._errors.append(error)
            raise


def at(found: list[float], share: float) -> float:
    """The value that this share of the sorted values does not exceed."""
    return found[min(len(found) - 1, int(len(found) * share))] if found else 0.0


def serve(settings: Settings) -> None:
    """Run what each line of stdin asks for."""
    from benchmarks.async_client import Tasks

    with ExitStack() as stack, closing(Tasks(settings)) as tasks:
        ways = Ways(settings, stack)
        for line in sys.stdin:
            asked = json.loads(line)
            if asked["way"] in TASK_WAYS:
                answer({**tasks.run(asked["way"], asked["threads"], asked["seconds"], asked.get("writes")), "steps": {}})
                continue
            put, steps = ways.put(asked["way"]), ways.steps.get(asked["way"], {})
            for kept in steps.values():
                kept.clear()
            found = Cell(put, asked["threads"], asked["seconds"], asked.get("writes")).run()
            found["steps"] = {step: at(sorted(kept), 0.5) for step, kept in steps.items() if kept}
            answer(found)


def drain(settings: Settings) -> None:
    """Drain all intents, connections and all."""
    from sync.wiring.dual_write.worker import drain_job

    begin, cpu = time.monotonic(), time.process_time()
    keys = drain_job(settings, Config(), TABLE, lambda: False)
    answer({"keys": keys, "seconds": time.monotonic() - begin, "cpu": time.process_time() - cpu})


def answer(found: dict[str, Any]) -> None:
    """One line for the program that asked."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    (drain if sys.argv[1:] == ["drain"] else serve)(load_settings(None))
