"""Trials of deletes of partitions, by the store and by calls of the application's own (rule 47), whose partitions are rechecked.

A process is killed at a named step while others write the same few rows.

As a program it is the process that others are forked from, as `chaos.child`: roles `play` (random writes, each recorded
before and after) and `drain`.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

from support.commands import ROOT, environment
from support.dual import WINDOW_PASSES, Actor, Primary, Table, WriteBehind, prepare
from support.partitions import delete_where, journal
from support.places import Place
from support.reverse import be_primary

from chaos import child
from chaos.explain import FOREVER, Op, explained
from chaos.own_calls import delete_room, own_call
from chaos.trial import LEASE, TOML, Flaky, entries, redis_of, state_of
from sync.adapters.postgres.dual_write.announcements import Announcements, RowsAndPartitions
from sync.errors import StoreClosed, SyncError, TargetUnavailable, WriteRefused, WriteUnsure
from sync.flows.dual_write import ForwardWrite
from sync.flows.wrapped_write import BegunWrite, WrappedTable, WrappedWrite
from sync.settings import Settings, load_config
from sync.stores import DualWriteStore

TABLE, DAYS = "rooms", 3
Choice = tuple[str, int, dict[str, str | None]]
"""What to do, with which row (of a range: from which on), and the values."""
WRITER = ("write.before_intent", "write.after_intent", "write.after_primary", "partition.before_commit", "write.after_secondary",
          "write.before_mark")  # fmt: skip
WORKER = ("partitions.claimed", "partitions.sent", "drain.leased", "reconcile.claimed", "reconcile.before_commit")
REVERSE = ("reverse.before_write", "reverse.before_commit", "reverse.committed")
CALL = ("wrapped.announced", "wrapped.called", "wrapped.marked")
RECHECK = ("partition_rechecks.claimed", "partition_recheck.before_commit", "partition_rechecks.buried",
           "partition_rechecks.source_read", "partition_rechecks.target_read")  # fmt: skip
RESEND = ("partitions.claimed", "partitions.sent", "resend.picked", "resend.sent")
POINTS = [
    *((point, "astra") for point in (*WRITER, *WORKER, *CALL, *RECHECK)),
    *((point, "postgres") for point in (*REVERSE, *RESEND, *CALL[:2])),
]


def choose(rng: random.Random, n: int) -> Choice:
    """A random write."""
    kind = rng.choice(["put", "put", "put", "update", "update", "delete", "partition", "room", "room", "range", "range"])
    values: dict[str, str | None] = {"a": f"{n}a", "b": rng.choice([f"{n}b", None])} if kind == "put" else {}
    if kind == "update":
        values = {rng.choice("ab"): rng.choice([f"{n}u", None])}
    return kind, rng.randrange(DAYS), values


def days_of(kind: str, day: int) -> list[int]:
    """The rows that such a write changes."""
    return list(range(day if kind == "range" else 0, DAYS)) if kind in ("partition", "room", "range") else [day]


def where_of(room: str, kind: str, day: int) -> dict[str, Any]:
    """What a delete of rows is asked for."""
    return {"room": room} if kind == "partition" else {"room": room, "day": {">=": day}}


def call(store: DualWriteStore, room: str, kind: str, day: int, values: dict[str, str | None]) -> bool:
    """Do it; False for an update of a row that is not there, while Postgres is primary."""
    key = {"room": room, "day": day}
    if kind == "put":
        return store.put(TABLE, {**key, **values})
    if kind == "update":
        return store.update(TABLE, key, values)
    if kind == "delete":
        return store.delete(TABLE, key)
    if kind == "room":
        return own_call(store, TABLE, room)
    return store.delete_many(TABLE, where_of(room, kind, day))


def play(order: dict[str, Any], settings: Settings) -> None:
    """Write until killed, or until all is written."""
    rng, hand, store = random.Random(order["seed"]), child.Hand(order), child.opened(order, settings)
    if store is None:
        return
    with store:
        for n in range(order["writes"]):
            kind, day, values = choose(rng, n)
            made = {k: v and f"c{v}" for k, v in values.items()}
            hand.note(n=n, kind=kind, day=day, values=made)
            try:
                fate = "must" if call(store, order["room"], kind, day, made) else "never"
            except (WriteRefused, StoreClosed):
                fate = "never"
            except SyncError:
                fate = "may"
            hand.note(n=n, fate=fate)


class Rooms:
    """A table with partitions, and the process that others are forked from."""

    def __init__(self, place: Place) -> None:
        place.cql(f"CREATE TABLE KS.{TABLE} (room text, day int, a text, b text, PRIMARY KEY (room, day))")
        place.configure(TOML)
        self.place, self.folder = place, place.commands.folder
        self.config = load_config(self.folder / "sync.toml")
        (self.folder / "queued.toml").write_text(f'{TOML}async_secondary = ["{TABLE}"]\n')
        self.settings = {k.lower(): v for k, v in {**environment(place.settings), **redis_of(place)}.items()}
        prepare(place.settings, self.config, TABLE)
        self.table = Table(place.cassandra, place.settings, self.config, TABLE)
        self.kills = 0
        command = [sys.executable, "-m", "chaos.rooms"]
        self._zygote = subprocess.Popen(command, cwd=ROOT / "tests", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        self._zygote.kill()
        self._zygote.wait()
        self.table.close()

    def trial(self, point: str, primary: str, seed: str) -> list[str]:
        """Kill a process at this point; drain, compare, explain; what is wrong."""
        rng, room, ops = random.Random(seed), uuid4().hex, list[tuple[int, Op]]()
        self._drained()
        be_primary(self.table, primary)
        record, stop = self.folder / f"record-{room}", threading.Event()
        with ThreadPoolExecutor(2) as pool:
            own = pool.submit(self._write, room, random.Random(rng.random()), ops, primary)
            drains = pool.submit(self._drain_now_and_then, stop, random.Random(rng.random()))
            at_work = point in (*WORKER, *RESEND, *RECHECK)
            try:
                code = self._child(point, rng, room, record, "drain" if at_work else "play", primary)
                late = own.result(60)
            finally:
                stop.set()
            drains.result(60)
        assert code in (-9, 0), f"the child failed: {code}"
        self.kills += code == -9
        self._drained()
        if late:
            late.land()
            self._drained()
        return self._judged(room, ops + _recorded(record))

    def _child(self, point: str, rng: random.Random, room: str, record: Path, role: str, primary: str) -> int:
        assert self._zygote.stdin and self._zygote.stdout
        queued = point == "write.before_mark" or role == "drain"
        order = {
            "role": role, "failpoints": {point: f"kill:{rng.randint(1, 3 if role == 'drain' else 8)}"}, "room": room,
            "settings": {**self.settings, "storage_backend": primary}, "seed": str(rng.random()), "record": str(record),
            "config": str(self.folder / ("queued.toml" if queued else "sync.toml")), "writes": 20, "seconds": 2,
        }  # fmt: skip
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        ready, _, _ = select.select([self._zygote.stdout], [], [], 60)
        assert ready, f"the child hangs: {order}"
        return int(self._zygote.stdout.readline())

    def _write(self, room: str, rng: random.Random, ops: list[tuple[int, Op]], primary: str) -> Primary | None:
        """This process's own writes: while Astra is primary, with faults of the primary and of the journal."""
        if primary == "postgres":
            settings = self.place.settings.model_copy(update={"storage_backend": primary})
            queued = load_config(self.folder / rng.choice(["queued.toml", "sync.toml"]))
            with DualWriteStore(settings, queued) as store:
                self._writes(rng, ops, lambda kind, day, values: call(store, room, kind, day, values))
            return None
        actor, faulty = self.table.writer(), Primary(self.table.rows)
        flows = {
            is_range: ForwardWrite(Flaky(made, rng), faulty, WriteBehind())  # type: ignore[arg-type]
            for is_range, made in ((True, journal(actor)), (False, actor.journal))
        }

        calls = self._calls(actor)

        def write(kind: str, day: int, values: dict[str, str | None]) -> bool:
            if kind == "room":
                return self._own_call(calls.begin([self.table.cells.first_columns({"room": room})]), room, rng)
            faulty.plan[:] = [rng.choice(["", "", "", "", "landed", "lost", "late", "refused"])]
            is_range = kind in ("partition", "range")
            if is_range:
                mutation = delete_where(self.table, **where_of(room, kind, day))
            else:
                mutation = actor.mutation(kind, self.table.key(room=room, day=day), **values)  # type: ignore[arg-type]
            return flows[mutation.kind == "delete_partition"].write(mutation)

        self._writes(rng, ops, write)
        return faulty

    def _calls(self, actor: Actor) -> WrappedWrite:
        """What announces calls of the application's own, and says how they ended."""
        one = journal(actor)
        either = RowsAndPartitions(actor.journal, one, 2)
        announcements = Announcements(self.table.pool, one._breaker, one._writer, {TABLE: either}, "astra")
        table = WrappedTable(actor.journal, self.table.reconciler(), "async", 2)  # type: ignore[arg-type]
        return WrappedWrite(announcements.announce, {TABLE: table}, WriteBehind(), True)  # type: ignore[arg-type]

    def _own_call(self, begun: BegunWrite, room: str, rng: random.Random) -> bool:
        """Such a call, with its faults: it raises before it has deleted the room, or after; or its process dies with it."""
        fault = rng.choice(["", "", "", "refused", "raised", "died"])
        if fault != "refused":
            delete_room(self.place.cassandra, f'"{self.place.keyspace}".{TABLE}', room, begun.above)
        if not fault:
            begun.finish()
            return True
        if fault != "died":
            begun.fail(TimeoutError())
        raise WriteUnsure(fault)

    def _writes(self, rng: random.Random, ops: list[tuple[int, Op]], write: Any) -> None:
        for n in range(20):
            kind, day, made = choose(rng, n)
            values = {k: v and f"o{v}" for k, v in made.items()}
            begin = time.monotonic()
            try:
                fate = "must" if write(kind, day, values) else "never"
            except WriteRefused:
                fate = "never"
            except (SyncError, TargetUnavailable):
                fate = "may"
            ops += _ops(kind, day, values, begin, time.monotonic(), fate)
            time.sleep(rng.uniform(0, 0.05))

    def _drain_now_and_then(self, stop: threading.Event, rng: random.Random) -> None:
        while not stop.wait(rng.uniform(0, 0.4)):
            self.table.drain(lease=LEASE)

    def _drained(self) -> None:
        end = time.monotonic() + 120
        self.table.sql(WINDOW_PASSES)
        self.table.sql("UPDATE sync.writer SET heartbeat_at = heartbeat_at - interval '1 day'")
        while self.table.intents():
            self.table.sql("UPDATE sync.intent SET lease_until = NULL")
            self.table.drain(lease=LEASE)
            assert time.monotonic() < end, f"intents are left: {self.table.intents()}"
            time.sleep(0.1)
        self.table.sql("UPDATE sync.writer SET state = 'signed_off'")

    def _judged(self, room: str, ops: list[tuple[int, Op]]) -> list[str]:
        found = []
        for day in range(DAYS):
            key = self.table.key(room=room, day=day)
            source, target = state_of(self.table.source(key)), state_of(self.table.target(key))
            of_it = [op for of, op in ops if of == day]
            if source != target:
                found.append(f"{day}: source {source}, target {target}: {of_it}")
            elif not explained(None, of_it, source):
                found.append(f"{day}: {source} is explained by no order of {of_it}")
        return found


def _ops(kind: str, day: int, values: Any, begin: float, end: float, fate: Any) -> list[tuple[int, Op]]:
    one: Any = "delete" if kind in ("partition", "room", "range") else kind
    return [(of, Op(one, values, begin, end, fate)) for of in days_of(kind, day)]


def _recorded(path: Path) -> list[tuple[int, Op]]:
    found: dict[int, dict[str, Any]] = {}
    for entry in entries(path):
        if "kind" in entry:
            found[entry["n"]] = {**entry, "end": FOREVER, "fate": "may"}
        else:
            found[entry["n"]] |= {"end": entry["at"], "fate": entry["fate"]}
    return [op for e in found.values() for op in _ops(e["kind"], e["day"], e["values"], e["at"], e["end"], e["fate"])]


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    child.TABLE = TABLE
    child.ROLES["play"] = play
    child.main()
