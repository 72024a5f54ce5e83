"""Rule 20: whoever waits for a switch acts by the epoch that it results in, and a switch waits for nobody for long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from uuid import uuid4

import pytest
from support.backfills import until
from support.dual import Actor, Table, holding, until_waiting
from support.places import Place
from support.prepared_places import home_of
from support.reverse import authority, be_primary, both, reverse_writer

from sync.adapters.postgres.backfill.loader import Loader
from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection import epoch_lock
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.connection.epoch_lock import SHARE
from sync.adapters.postgres.cutover.writers import fence
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.core.mutations import Key
from sync.core.ring import WHOLE_RING
from sync.errors import EpochChanged, GateRefused, PreflightError, TargetBusy
from sync.ports import Batch, Written
from sync.settings import Config, DualWriteTuning

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4))
PAUSE = 20.0


home = home_of(CONFIG, pairs="id uuid PRIMARY KEY, a text, b text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """Rows of two columns; the source is primary, nothing is under way."""
    opened = Table(home.cassandra, home.settings, CONFIG, "pairs")
    opened.sql("UPDATE sync.switch SET finished_at = clock_timestamp(), state = 'abandoned' WHERE finished_at IS NULL")
    opened.sql("UPDATE sync.epoch SET state = 'open' WHERE epoch = (SELECT max(epoch) FROM sync.epoch)")
    for name in ("intent", "writer", "run"):
        opened.sql(f"DELETE FROM sync.{name}")
    be_primary(opened, "astra")
    yield opened
    opened.close()


@pytest.fixture
def key(table: Table) -> Key:
    return table.key(id=uuid4())


@contextmanager
def switching(table: Table) -> Iterator[None]:
    """A cut-over whose switch is not committed before the end of the block."""
    table.sql(
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$; "
        "CREATE TRIGGER slow BEFORE INSERT ON sync.audit FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    try:
        with authority(table) as epochs, ThreadPoolExecutor(1) as executor:
            switch = epochs.begin("cutover")
            epochs.close(switch, PAUSE)
            with holding(table, "SELECT pg_advisory_xact_lock(42)"):
                committed = executor.submit(epochs.switch_primary, switch, {})
                until_waiting(table, 1)
                yield
            committed.result(10)
        table.epoch += 1
    finally:
        table.sql("DROP TRIGGER slow ON sync.audit; DROP FUNCTION slow()")


def behind_the_switch(table: Table, act: Callable[[], object]) -> None:
    """Run `act` while a cut-over is being committed, for which it waits."""
    with ThreadPoolExecutor(1) as executor:
        with switching(table):
            acting = executor.submit(act)
            until_waiting(table, 2)
        acting.result(10)


def test_rule_20_a_recheck_that_waited_is_of_the_new_epoch(table: Table, key: Key) -> None:
    """Would break: a repair leaves an intent in a closed epoch, which nobody drains, and which blocks every later switch."""
    with closing(connect(table.settings, autocommit=True)) as connection:
        keys = TargetKeys(connection, table.mapped, table.encoder)
        behind_the_switch(table, lambda: keys.request_recheck([key]))
    assert table.sql("SELECT epoch FROM sync.intent") == [(table.epoch,)]
    table.drained()


def test_rule_20_a_late_record_that_waited_is_of_the_new_epoch(table: Table, key: Key) -> None:
    """Would break: a fenced writer that wakes at the cut-over leaves a forward write in a closed epoch."""
    late = table.writer(alive=False)
    mutation = late.mutation("put", key, a="1", b="1")
    behind_the_switch(table, lambda: late.journal.record([Written(mutation, 1, "finished")]))
    assert table.sql("SELECT epoch, kind FROM sync.intent") == [(table.epoch, "recheck")]
    table.drained()


def test_rule_20_a_backfill_that_waited_does_not_begin_under_postgres(table: Table) -> None:
    """Would break: an open run that can never finish blocks every later switch."""

    def begin() -> None:
        with closing(connect(table.settings, autocommit=True)) as connection, pytest.raises(PreflightError, match="primary"):
            RangeLedger(connection, 60).begin({"pairs": list(WHOLE_RING.split(2))})

    behind_the_switch(table, begin)
    assert table.sql("SELECT count(*) FROM sync.run") == [(0,)]


def test_rule_20_a_merge_that_waited_loads_nothing_into_the_primary(table: Table) -> None:
    """Would break: a worker's batch lands in Postgres after the cut-over, over the application's rows."""
    with closing(connect(table.settings, autocommit=True)) as connection:
        ledger = RangeLedger(connection, 60)
        (run,) = ledger.begin({"pairs": [WHOLE_RING]})
        lease = ledger.claim([run], "worker/1")
        assert lease is not None
        table.sql("UPDATE sync.run SET state = 'done'")  # a cut-over does not look at what somebody closed by hand

        def load() -> None:
            with pytest.raises(PreflightError, match="primary"):
                Loader(connection, table.mapped, table.encoder, 60).load(lease, Batch((), 0, False))

        behind_the_switch(table, load)


def test_rule_22_an_intent_of_a_closed_epoch_settles_as_the_present_one_says(table: Table, key: Key) -> None:
    """Would break: what an older version left in a closed epoch stays for good, and blocks rollback and finish."""
    left = table.writer(alive=False).put(key, a="1", b="1").primary()
    be_primary(table, "postgres")
    table.sql("UPDATE sync.intent SET state = 'unsure'")
    reverse_writer(table).begin("put", key, a="2", b=None).done()
    table.drained()
    assert both(table, key) == ({"a": "2", "b": None}, {"a": "2", "b": None}), "the old write was sent again"
    assert left.version


def test_rule_22_a_reverse_intent_of_a_closed_epoch_is_not_sent_again(table: Table, key: Key) -> None:
    """Would break: an intent of Postgres's time as primary holds no values: sent again under Astra, it makes an empty row."""
    be_primary(table, "postgres")
    reverse_writer(table, alive=False).begin("put", key, a="1", b="1")
    be_primary(table, "astra")
    table.drained()
    assert both(table, key) == (None, None)


def test_rule_20_a_switch_is_not_starved_by_writers(table: Table) -> None:
    """Would break: with a writer holding the epoch at every moment, no switch ever closes it."""
    stop = threading.Event()

    def hold(writer: Actor) -> None:
        """Hold the epoch as a writer does, again and again, so that at each moment some writer holds it."""
        n = 0
        while not stop.is_set():
            n += 1
            writer.put(table.key(id=uuid4()), a=str(n)).withdraw()

    table.sql(
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$; "
        "CREATE TRIGGER slow BEFORE INSERT ON sync.intent FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    try:
        with authority(table) as closing_one, ThreadPoolExecutor(8) as executor:
            holders = [executor.submit(hold, writer) for writer in [table.writer() for _ in range(8)]]
            try:
                together = "SELECT count(*) > 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
                until(lambda: table.sql(together) == [(True,)], what="several hold it at once")
                switch = closing_one.begin("cutover")
                closing_one.close(switch, 10.0)
            finally:
                stop.set()  # or they would not end
            closing_one.abandon(switch, "")
            assert {type(holder.exception(10)) for holder in holders} <= {type(None), EpochChanged}
    finally:
        table.sql("DROP TRIGGER slow ON sync.intent; DROP FUNCTION slow()")
        table.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")


def test_rule_20_nothing_is_left_on_disk_of_writers_that_hold_the_epoch_together(table: Table) -> None:
    """Would break: each overlapping writer makes a multixact, of which a database has only so many."""
    with ThreadPoolExecutor(8) as executor:
        writers = [table.writer() for _ in range(8)]

        def write(n: int) -> None:
            for _ in range(20):
                writers[n].put(table.key(id=uuid4()), a="1").withdraw()

        list(executor.map(write, range(8)))
    assert table.sql("SELECT xmax FROM sync.epoch WHERE epoch = %s", (table.epoch,)) == [("0",)], (
        "who locked it is written there"
    )


def test_a_switch_does_not_wait_for_ever_for_a_writer_that_hangs(table: Table) -> None:
    """Would break: a suspended writer holds the epoch, and the switch that waits for it holds up everybody else."""
    with authority(table) as closing_one:
        switch = closing_one.begin("cutover")
        with holding(table, SHARE.decode()), pytest.raises(GateRefused, match="a writer has held the epoch"):
            closing_one.close(switch, 0.5)
        assert closing_one.current().state == "open"
        closing_one.abandon(switch, "")


def test_the_floor_and_a_fence_do_not_wait_for_ever(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the start of a backfill hangs behind a suspended writer, with every other start behind it."""
    writer = table.writer()
    monkeypatch.setattr(epoch_lock, "CHANGE_SECONDS", 0.3)
    with closing(connect(table.settings, autocommit=True)) as connection, holding(table, SHARE.decode()):
        with pytest.raises(TargetBusy, match="a writer has held the epoch"):
            RangeLedger(connection, 60).begin({"pairs": [WHOLE_RING]})
        with pytest.raises(TargetBusy, match="a writer has held the epoch"):
            fence(connection, writer.name)
        assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)
