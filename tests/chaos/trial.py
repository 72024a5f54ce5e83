"""One trial: a process is killed at a named step while others write the same keys; then all is drained and compared."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from support.commands import ROOT, environment
from support.dual import Primary, Table, WriteBehind, prepare
from support.places import Place

from chaos.child import TABLE, choose
from chaos.explain import FOREVER, Op, State, explained
from sync.errors import AnswerLost, SyncError, TargetUnavailable, WriteRefused
from sync.flows.dual_write import ForwardWrite
from sync.settings import Config, load_config

LEASE = 0.5
TOML = """
schema_files = []
[dual_write]
writer_lease_seconds = 0.5
heartbeat_seconds = 0.1
on_postgres_down = "refuse"
secondary_timeout_seconds = 1
"""
WRITER = (
    "write.before_intent",
    "write.after_intent",
    "write.after_primary",
    "write.before_commit",
    "write.after_secondary",
    "write.before_mark",
    "write_behind.before_mark",
    "write_behind.marked",
    "write_behind.before_record",
    "write_behind.recorded",
)
WORKER = (
    "drain.leased",
    "reconcile.claimed",
    "reconcile.replayed",
    "reconcile.read",
    "reconcile.before_commit",
    "reconcile.applied",
    "sweep.before_notify",
)
IN_BATCHES = WRITER[:6]
WRITE_BEHIND = ("write_behind.before_mark", "write_behind.marked")
RECORD = ("write_behind.before_record", "write_behind.recorded")
"""A writer that accepts writes without a journal records them here. What dies with it, a full comparison finds (rule 31)."""
SLOT_SECONDS = 0.002
"""A stamp made without the journal may be this far ahead of the clock, and other writers' stamps do not know of it."""
POINTS = (*WRITER, *WORKER)
"""Every step of the protocol at which a process may die."""
CLOSED, SIGTERM = "closed under load", "SIGTERM"
ENDS = (CLOSED, SIGTERM)
"""A process ends as a deployment ends it, while its threads write and now and then take Postgres to be unreachable."""
JUMPS = "the clock jumps"
"""Before each write: up to a day back or two hours ahead. Further ahead than `max_clock_skew_seconds`, writes are refused."""
FULL = "disk full"
"""The disk of the target's tables fills up, again and again; needs root, to mount one."""
TWO = "two data centres"
"""A process is killed at some step in one data centre, while the other data centre is stopped and resumed repeatedly."""
CROWD = "threads that share batches"
"""A process whose threads put rows together is killed at some step of a batch."""
CLOCKS = [-86400.0, -3600.0, -5.0, -0.5, 0.0, 0.0, 0.5, 5.0, 50.0, 7200.0]
CUT = "connections cut"
"""Instead of a crash, the connections to Postgres are cut repeatedly, in the middle of whatever they do."""


@dataclass
class Verdict:
    """The outcome of a trial."""

    point: str
    seed: str
    killed: bool = False
    lost: list[str] = field(default_factory=list)
    resurrected: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        return [*self.lost, *self.resurrected, *self.stale]


class Arena:
    """A table, and the process that others are forked from."""

    def __init__(self, place: Place, disk: Path | None = None, other: int = 0) -> None:
        """`disk` holds the target's tables, if it may be filled up; `other` is the PID of the other data centre's node."""
        self.disk, self.other = disk, other
        place.cql(f"CREATE TABLE KS.{TABLE} (id uuid PRIMARY KEY, a text, b text)")
        place.configure(TOML)
        self.folder = place.commands.folder
        self.config: Config = load_config(self.folder / "sync.toml")
        self.settings = {k.lower(): v for k, v in {**environment(place.settings), **redis_of(place)}.items()}
        (self.folder / "accept.toml").write_text(TOML.replace('"refuse"', '"accept"'))
        # After one failure, writes are made without a journal until the next heartbeat: the close happens among such writes.
        ends = TOML.replace('"refuse"', '"accept"\nbreaker_failures = 1').replace(
            "heartbeat_seconds = 0.1", "heartbeat_seconds = 0.3"
        )
        (self.folder / "ends.toml").write_text(ends)
        (self.folder / "queued.toml").write_text(f'{TOML}async_secondary = ["{TABLE}"]\n')
        prepare(place.settings, self.config, TABLE)
        self.table = Table(place.cassandra, place.settings, self.config, TABLE)
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "chaos.child"],
            cwd=ROOT / "tests",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._zygote.kill()
        self._zygote.wait()
        self.table.close()

    @contextmanager
    def child(self, role: str, failpoints: dict[str, str], **more: Any) -> Iterator[list[int]]:
        """A child that works during the block; afterwards its exit code is in the list."""
        assert self._zygote.stdin and self._zygote.stdout
        config = str(self.folder / more.pop("config", "sync.toml"))
        order = {"role": role, "failpoints": failpoints, "settings": self.settings, "config": config, **more}
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        code: list[int] = []
        yield code
        ready, _, _ = select.select([self._zygote.stdout], [], [], 60)
        assert ready, f"the child hangs: {order}"
        code.append(int(self._zygote.stdout.readline()))

    # a trial

    def trial(self, point: str, seed: str) -> Verdict:
        """Kill a process at this point while this one writes the same keys; drain; compare and explain."""
        rng, verdict, named = random.Random(seed), Verdict(point, seed), point
        point = rng.choice(POINTS) if point == TWO else rng.choice(IN_BATCHES) if point == CROWD else point
        # What the end of a process loses shows only where no later write of the key covers it: hence many keys.
        keys = [str(uuid4()) for _ in range(60 if named in (*ENDS, CROWD) else rng.choice([1, 2, 3]))]
        record = self.folder / f"record-{uuid4().hex}"
        own = Own(self.table, random.Random(rng.random()), keys)
        stop = threading.Event()
        with ThreadPoolExecutor(2) as pool:
            drains = pool.submit(self._drain_now_and_then, stop, random.Random(rng.random()), point in WRITER or point == CUT)
            cuts = self._trouble(pool, named, stop, random.Random(rng.random()))
            with self._child(point, rng, keys, record, threads=12 if named == CROWD else 1) as code:
                own.run(15)
            stop.set()
            drains.result(60), cuts and cuts.result(60)
        verdict.killed = code == [-9]
        assert code in ([-9], [0]), f"the child failed: {code}"
        self._drain_all()
        own.primary.land()
        self._drain_all()
        if point in RECORD or (point in ENDS and not self._signed_off(record)):
            self._repair(keys)
        ops = own.ops + recorded(record, SLOT_SECONDS if point in (*RECORD, *ENDS) else 0.0)
        for key in keys:
            self._judge(verdict, key, [op for k, op in ops if k == key])
        record.unlink(missing_ok=True)
        self.table.sql("UPDATE sync.writer SET state = 'signed_off'")  # dead writers keep their slots, and slots are limited
        return verdict

    def _child(self, point: str, rng: random.Random, keys: list[str], record: Path, threads: int) -> Any:
        if point == "sweep.before_notify":
            return self.child("sweep", {point: f"kill:{rng.randint(1, 2)}"}, seconds=1.5)
        if point in WORKER:
            return self.child("drain", {point: f"kill:{rng.randint(1, 3)}"}, seconds=1.5)
        more = {"seed": str(rng.random()), "keys": keys, "record": str(record), "writes": 25, "threads": threads}
        if point in ENDS:
            times = {"seconds": rng.uniform(0.3, 1.0), "sigterm": point == SIGTERM}
            return self.child("close", {"write.unrecorded": "sleep:0.1"}, **more, **times, config="accept.toml")
        if point in (JUMPS, FULL):
            extra = {"jumps": CLOCKS} if point == JUMPS else {"pad": 3000}
            return self.child("write", {}, **more, **extra, config=rng.choice(["sync.toml", "queued.toml"]))
        write_behind = point in (*WRITE_BEHIND, *RECORD)
        plan = {} if point == CUT else {point: f"kill:{1 if write_behind else rng.randint(1, 12)}"}
        if write_behind:
            plan["write.before_commit"] = "sleep:0.05"  # so that most cuts of the connection happen there
        more |= {"writes": 60} if write_behind else {}
        queued = point == "write.before_mark" or (point in WRITE_BEHIND and rng.random() < 0.5)
        config = "accept.toml" if point in RECORD else "queued.toml" if queued else "sync.toml"
        return self.child("write", plan, **more, config=config)

    def _drain_now_and_then(self, stop: threading.Event, rng: random.Random, often: bool) -> None:
        while not stop.wait(rng.uniform(0, 0.2 if often else 1)):
            try:
                self.table.drain(lease=LEASE)
            except (TargetUnavailable, psycopg.OperationalError):  # its own connection may be cut as well
                continue

    def _trouble(self, pool: Executor, point: str, stop: threading.Event, rng: random.Random) -> Future[None] | None:
        """Start what disturbs the servers during the trial."""
        if point == TWO:
            return pool.submit(self._stop_other, stop, rng)
        if point in (CUT, *WRITE_BEHIND, *RECORD):
            return pool.submit(self._cut, stop, rng)
        return pool.submit(self._fill, stop, rng) if point == FULL else None

    def _signed_off(self, record: Path) -> bool:
        """Whether the child signed off, and so said that it leaves nothing behind: then nothing may be missing."""
        names = [entry["writer"] for entry in entries(record) if "writer" in entry]
        return self.table.sql("SELECT state FROM sync.writer WHERE id = ANY (%s)", (names,)) == [("signed_off",)]

    def _stop_other(self, stop: threading.Event, rng: random.Random) -> None:
        """Stop the other data centre and resume it, again and again."""
        while not stop.wait(rng.uniform(0.05, 0.5)):
            os.kill(self.other, signal.SIGSTOP)
            stop.wait(rng.uniform(0.1, 1.0))
            os.kill(self.other, signal.SIGCONT)

    def _fill(self, stop: threading.Event, rng: random.Random) -> None:
        """Fill the disk of the tables and make room again, over and over."""
        assert self.disk is not None, "a trial of a full disk needs a disk of its own"
        filler = self.disk / "filler"
        while not stop.wait(rng.uniform(0.05, 0.3)):
            with filler.open("wb") as file, suppress(OSError):
                while True:
                    os.write(file.fileno(), bytes(1 << 12))
            stop.wait(rng.uniform(0.1, 0.4))
            filler.unlink()

    def _cut(self, stop: threading.Event, rng: random.Random) -> None:
        """Cut the other processes' connections, whatever they are in the middle of."""
        statement = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL(%s)"
        )
        while not stop.wait(rng.uniform(0.05, 0.4)):
            own = [c.info.backend_pid for c in list(self.table.pool._pool)]
            try:
                self.table.sql(statement, (own,))
            except Exception:  # noqa: BLE001, S112  (it may cut itself)
                continue

    def _drain_all(self) -> None:
        end = time.monotonic() + 120
        while True:
            self.table.sql("UPDATE sync.intent SET lease_until = NULL")
            self.table.drain(lease=LEASE)
            if not self.table.intents():
                return
            assert time.monotonic() < end, f"intents are left: {self.table.intents()}"
            time.sleep(0.1)

    def _repair(self, keys: list[str]) -> None:
        """As `sync drift-report --repair` does: each key that differs is read again."""
        for key in (self.table.key(id=UUID(name)) for name in keys):
            if self.table.source(key) != self.table.target(key):
                self.table.sql(
                    "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) "
                    "VALUES (%s, %s, %s, 'recheck', 'finished', 1, 1, 'drift')",
                    (TABLE, key.canonical, key.token),
                )
        self._drain_all()

    def _judge(self, verdict: Verdict, name: str, ops: list[Op]) -> None:
        key = self.table.key(id=UUID(name))
        source, target = state_of(self.table.source(key)), state_of(self.table.target(key))
        if source != target:
            kind = verdict.lost if target is None else verdict.resurrected if source is None else verdict.stale
            kind.append(f"{name}: source {source}, target {target}")
        if not explained(None, ops, source):
            newest = max(ops, key=lambda op: op.begin)
            (verdict.resurrected if newest.kind == "delete" and source else verdict.lost).append(
                f"{name}: {source} is explained by no order of {ops}"
            )


class Own:
    """This process's own writer: the primary and the journal fail at random; it is registered and sends no heartbeat."""

    def __init__(self, table: Table, rng: random.Random, keys: list[str]) -> None:
        self._rng, self._keys, self._table = rng, keys, table
        self._actor = table.writer()
        self.primary = Primary(table.rows)
        self._flow = ForwardWrite(Flaky(self._actor.journal, rng), self.primary, WriteBehind())  # type: ignore[arg-type]
        self.ops: list[tuple[str, Op]] = []

    def run(self, writes: int) -> None:
        for n in range(writes):
            kind, key, values = choose(self._rng, self._keys, n)
            values = {k: v and f"o{v}" for k, v in values.items()}
            self.primary.plan[:] = [self._rng.choice(["", "", "", "", "", "landed", "lost", "late", "refused"])]
            begin, fate = time.monotonic(), "must"
            try:
                self._flow.write(self._actor.mutation(kind, self._table.key(id=UUID(key)), **values))  # type: ignore[arg-type]
            except WriteRefused:
                fate = "never"
            except (SyncError, TargetUnavailable):
                fate = "may"
            self.ops.append((key, Op(kind, values, begin, time.monotonic(), fate)))  # type: ignore[arg-type]
            if self._rng.random() < 0.1:
                self.primary.land()
            time.sleep(self._rng.uniform(0, 0.05))


class Flaky:
    """A journal that sometimes finds Postgres unreachable, before or after a commit."""

    def __init__(self, journal: Any, rng: random.Random) -> None:
        self._journal, self._rng = journal, rng

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._journal, name)
        if name not in ("open", "write", "mark", "withdraw"):
            return found

        def call(*args: Any) -> Any:
            dice = self._rng.random()
            if dice < 0.06:
                raise TargetUnavailable("away")
            result = found(*args)
            if dice < 0.12:
                raise AnswerLost("away, and the answer is lost")
            return result

        return call


def entries(path: Path) -> list[dict[str, Any]]:
    """The lines of a child's record."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def recorded(path: Path, slack: float = 0.0) -> list[tuple[str, Op]]:
    """The child's writes, from its record; a write begun within `slack` seconds of an answer does not count as later."""
    found: dict[int, dict[str, Any]] = {}
    for entry in entries(path):
        if "kind" in entry:
            found[entry["n"]] = {**entry, "end": FOREVER, "fate": "may"}
        elif "n" in entry:
            found[entry["n"]] |= {"end": entry["at"] + slack, "fate": entry["fate"]}
    return [(e["key"], Op(e["kind"], e["values"], e["at"], e["end"], e["fate"])) for e in found.values()]


def state_of(row: dict[str, Any] | None) -> State:
    return None if row is None else (row["a"], row["b"])


def redis_of(place: Place) -> dict[str, str]:
    """The queue that belongs to the place."""
    return {k: v for k, v in place.commands.env.items() if k == "REDIS_URL"}
