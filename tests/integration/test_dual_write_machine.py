"""Random histories of two keys: writers with wrong clocks, faults of either side, reconciles that die, a backfill in between.

Everything is real but the faults, injected in front of the servers. At the end all is drained; then both sides are equal,
and every key's row is explained by the writes that were acknowledged, in real-time order, and by some of those that were not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from chaos.explain import FOREVER, Op, explained
from chaos.trial import state_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from support.dual import Died, Primary, Reconciler, Table, Write, WriteBehind, clock, now_us

from sync.adapters.cassandra.connection.pages import RangeReader, quoted
from sync.adapters.postgres.backfill.loader import Loader
from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.dual_write import reconcile as reconcile_steps
from sync.core.encode.rows import RowEncoder
from sync.core.ring import WHOLE_RING
from sync.errors import AnswerLost, TargetUnavailable, WriteRefused, WriteUnsure
from sync.flows import reconcile
from sync.flows.dual_write import ForwardWrite
from sync.ports import Batch, Lease

pytest_plugins = ("support.fixtures", "support.pair_table")
pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("SYNC_EXAMPLES", "40"))
SKEWS = (5, -5)
WRITERS = st.sampled_from([0, 1])
KEYS = st.sampled_from([0, 0, 0, 1])
LETTERS = st.sampled_from(["p", "q", None])
KINDS = st.sampled_from(["put", "update a", "update b", "delete"])
FATES = st.sampled_from(["", "", "", "", "landed", "lost", "late", "refused"])
JOURNAL = st.sampled_from(
    ["", "", "", "", "", "", "open away", "open lost", "write away", "write lost", "mark away", "withdraw lost"]
)


class Faulty:
    """A journal whose next call of one kind finds Postgres away (nothing is done) or loses the answer (it is done)."""

    def __init__(self, journal: Any, fault: str) -> None:
        self._journal, (self._method, _, self._how) = journal, fault.partition(" ")

    def __getattr__(self, name: str) -> Any:
        return self._call(name) if name == self._method else getattr(self._journal, name)

    def _call(self, name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if self._how == "lost":
                getattr(self._journal, name)(*args)
                raise AnswerLost("the answer is lost")
            raise TargetUnavailable("away")

        return call


@contextmanager
def dying_at(point: str) -> Iterator[None]:
    """A reconcile that dies at this failpoint."""

    def failpoint(name: str) -> None:
        if name == point:
            raise Died

    with patch.object(reconcile, "failpoint", failpoint), patch.object(reconcile_steps, "failpoint", failpoint):
        yield


class Histories(RuleBasedStateMachine):
    """Two keys, two writers; `now` orders calls and answers."""

    def __init__(self, table: Table, connection: Connection) -> None:
        super().__init__()
        self.table, self.connection = table, connection
        self.keys = [table.key(id=uuid4()) for _ in range(2)]
        self.writers = [table.writer() for _ in SKEWS]
        self.primary = Primary(table.rows)
        self.ops: list[tuple[int, Op]] = []
        self.held: list[tuple[Write, int]] = []
        self.steps: Reconciler | None = None
        self.copying: tuple[RangeLedger, Lease, Batch, list[int]] | None = None
        self.first: list[Any] = [None, None]
        self.now = 0
        self.touched: set[int] = set()

    @initialize(legacy=st.booleans())
    def begin(self, legacy: bool) -> None:
        """Perhaps there is a row from before the migration, with a timestamp below the floor."""
        self.table.sql("UPDATE sync.epoch SET floor = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        if legacy:
            self.first[0] = ("legacy", "legacy")
            text = (
                f"INSERT INTO {quoted(self.table.mapped.source.keyspace)}.pairs (id, a, b) VALUES (%s, 'legacy', 'legacy') "
            )
            key = self.table.cells.values({"id": self.keys[0].cells[0]})["id"]
            self.table.cassandra.session.execute(f"{text} USING TIMESTAMP {now_us() - 60_000_000}", (key,))
            self.table.sql("UPDATE sync.epoch SET floor = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            self.copy_reads()

    def tick(self) -> int:
        self.now += 1
        return self.now

    def values(self, kind: str, a: str | None, b: str | None) -> tuple[str, dict[str, str | None]]:
        name, _, column = kind.partition(" ")
        mark = f"{self.now}"
        full = {"a": a and a + mark, "b": b and b + mark}
        return name, {} if name == "delete" else full if name == "put" else {column: full[column]}

    # writers

    @rule(who=WRITERS, which=KEYS, kind=KINDS, a=LETTERS, b=LETTERS, fate=FATES, fault=JOURNAL)
    def write(self, who: int, which: int, kind: str, a: str | None, b: str | None, fate: str, fault: str) -> None:
        """A whole write, with faults of either side."""
        self.touched.add(which)
        begin = self.tick()
        name, values = self.values(kind, a, b)
        writer = self.writers[who]
        self.primary.plan[:] = [fate]
        flow = ForwardWrite(Faulty(writer.journal, fault), self.primary, WriteBehind())  # type: ignore[arg-type]
        answer = "must"
        with clock(now_us() + SKEWS[who] * 1_000_000):
            try:
                flow.write(writer.mutation(name, self.keys[which], **values))  # type: ignore[arg-type]
            except WriteRefused:
                answer = "never"
            except WriteUnsure:
                answer = "may"
        self.primary.plan.clear()
        self.ops.append((which, Op(name, values, begin, self.tick(), answer)))  # type: ignore[arg-type]

    @rule(who=WRITERS, which=KEYS, kind=KINDS, a=LETTERS, b=LETTERS)
    def write_half(self, who: int, which: int, kind: str, a: str | None, b: str | None) -> None:
        """A write that pauses after the primary's acknowledgement."""
        begin = self.tick()
        name, values = self.values(kind, a, b)
        with clock(now_us() + SKEWS[who] * 1_000_000):
            write = self.writers[who].begin(name, self.keys[which], **values)  # type: ignore[arg-type]
        self.touched.add(which)
        self.held.append((write.primary(), len(self.ops)))
        self.ops.append((which, Op(name, values, begin, FOREVER, "may")))  # type: ignore[arg-type]

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 20))
    def write_other_half(self, which: int) -> None:
        """A paused write goes on, and is acknowledged."""
        write, number = self.held.pop(which % len(self.held))
        write.target()
        key, op = self.ops[number]
        self.ops[number] = key, Op(op.kind, op.values, op.begin, self.tick(), "must")
        self.touched.add(key)

    @precondition(lambda self: len(self.held) > 1)
    @rule(which=st.integers(0, 20))
    def writer_dies(self, which: int) -> None:
        """A paused write never goes on; what its writer left open may be claimed."""
        write, _ = self.held.pop(which % len(self.held))
        write.actor.dies()

    @rule(who=WRITERS)
    def writer_is_silent(self, who: int) -> None:
        """A writer's heartbeat stops, and it goes on writing."""
        self.writers[who].dies()

    @precondition(lambda self: self.primary.late)
    @rule()
    def late_write_lands(self) -> None:
        self.primary.rows.write(*self.primary.late.pop(0))
        self.touched |= {0, 1}

    # reconciles

    @rule(fate=FATES)
    def drain(self, fate: str) -> None:
        """A worker drains; its first write to the primary may fail."""
        self.primary.plan[:] = [fate if fate != "refused" else ""]
        self.table.sql("UPDATE sync.intent SET lease_until = NULL")
        self.table.drain(self.primary)
        self.primary.plan.clear()
        self.touched |= {0, 1}

    @rule(point=st.sampled_from(["claimed", "replayed", "read", "before_commit", "applied"]))
    def drain_dies(self, point: str) -> None:
        self.table.sql("UPDATE sync.intent SET lease_until = NULL")
        with dying_at(f"reconcile.{point}"), suppress(Died):
            self.table.drain(self.primary)

    @precondition(lambda self: self.steps is None)
    @rule(which=KEYS)
    def reconcile_begins(self, which: int) -> None:
        """Another worker claims, sends again and reads; then it pauses."""
        steps = self.table.reconciler()
        steps.key, steps.picked = self.keys[which], steps.reconcile_steps.pick([self.keys[which]]).get(self.keys[which])
        if steps.picked is not None:
            self.steps = steps.replay().read()

    @precondition(lambda self: self.steps is not None)
    @rule()
    def reconcile_goes_on(self) -> None:
        assert self.steps is not None
        self.steps.settle()
        self.steps = None
        self.touched |= {0, 1}

    # the backfill

    @precondition(lambda self: self.copying is None)
    @rule()
    def copy_reads(self) -> None:
        """A backfill of the whole ring reads."""
        ledger = RangeLedger(self.connection, 600)
        runs = ledger.begin({"pairs": WHOLE_RING.split(1)})
        lease = ledger.claim(runs, "machine")
        assert lease is not None
        encoder = RowEncoder(self.table.mapped, lease.floor)
        reader = RangeReader(self.table.cassandra.raw, self.table.mapped.source, encoder.columns, 1 << 20)
        pages = tuple(p for p in reader.pages(lease.whole) if p.count)
        self.copying = ledger, lease, Batch(pages, lease.whole.end, True), runs

    @precondition(lambda self: self.copying is not None)
    @rule()
    def copy_merges(self) -> None:
        """The backfill merges what it has read."""
        assert self.copying is not None
        ledger, lease, batch, runs = self.copying
        encoder = RowEncoder(self.table.mapped, lease.floor)
        Loader(self.connection, self.table.mapped, encoder, 600).load(lease, batch)
        assert all(ledger.finish(run) for run in runs)
        self.copying = None
        self.touched |= {0, 1}

    # what must be true

    @invariant()
    def without_an_intent_both_sides_are_equal(self) -> None:
        """Nobody reconciles a key without an intent: what differs now would differ for ever."""
        if self.copying is not None or not self.touched:
            return
        left = {bytes(key) for (key,) in self.table.sql("SELECT key FROM sync.intent")}
        for which in self.touched:
            if self.keys[which].canonical not in left:
                source, target = self.table.source(self.keys[which]), self.table.target(self.keys[which])
                assert source == target, f"key {which}, no intent: source {source}, target {target}"
        self.touched.clear()

    def teardown(self) -> None:
        if self.copying is not None:
            self.copy_merges()
        self.table.drained()
        self.primary.land()
        self.table.drained()
        for which, key in enumerate(self.keys):
            source, target = state_of(self.table.source(key)), state_of(self.table.target(key))
            assert source == target, f"key {which}: source {source}, target {target}"
            ops = [op for k, op in self.ops if k == which]
            assert explained(self.first[which], ops, source), f"key {which}: {source} is explained by no order of {ops}"


def test_random_histories_lose_nothing(table: Table) -> None:
    """Would break: invariants 1 to 3, in an order of events that nobody thought of."""
    relaxed = settings(
        max_examples=EXAMPLES,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        database=None,
    )
    with closing(connect(table.settings, autocommit=True)) as connection, ThreadPoolExecutor(1):
        run_state_machine_as_test(lambda: Histories(table, connection), settings=relaxed)  # type: ignore[arg-type]
