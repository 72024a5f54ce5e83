"""No transaction takes many of the locks that Postgres has for all sessions together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from threading import Thread
from uuid import uuid4

import pytest
from support.dual import Table, holding, until_waiting
from support.reverse import be_primary, reverse_writer

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.adapters.postgres.dual_write.locks import lock_of
from sync.core.mutations import Key
from sync.flows.isolation import isolate
from sync.wiring.drift.command import stamp_strays

pytest_plugins = ("support.fixtures", "support.pair_table")
MOST, KEYS = 64, 320
HELD = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid IN "
    "(SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
)


@pytest.fixture
def keys(table: Table) -> Iterator[list[Key]]:
    yield [table.key(id=uuid4()) for _ in range(KEYS)]
    be_primary(table, "astra")
    table.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change; DELETE FROM pairs")


def drain(table: Table, keys: list[Key]) -> Callable[[], object]:
    writer = table.writer()
    for key in keys:
        writer.put(key, a="x").primary().mark("finished")
    return table.drain


def resend(table: Table, keys: list[Key]) -> Callable[[], object]:
    be_primary(table, "postgres")
    writer = reverse_writer(table)
    for key in keys:
        writer.begin("put", key, a="x")
    table.sql("UPDATE sync.intent SET state = 'finished'")
    return table.drain


def stamp(table: Table, keys: list[Key]) -> Callable[[], object]:
    writer = table.writer()
    for key in keys:
        writer.put(key, a="x").done()
    table.sql("UPDATE pairs SET _sync_token = NULL")

    def stamped() -> None:
        with closing(connect(table.settings, autocommit=True)) as connection:
            assert TargetKeys(connection, table.mapped, table.encoder).stamp(keys) == KEYS

    return stamped


@pytest.mark.parametrize("prepare", [drain, resend, stamp])
def test_a_transaction_takes_few_locks(
    table: Table, keys: list[Key], prepare: Callable[[Table, list[Key]], Callable[[], object]]
) -> None:
    """Would break: some 30 of them fill the lock table, and everybody gets 53200, including the application's writers."""
    act = prepare(table, keys)
    last = max(map(lock_of, keys))  # whoever waits for it holds all the locks before it
    with holding(table, "SELECT pg_advisory_xact_lock(%s)", (last,)):
        thread = Thread(target=act)
        thread.start()
        until_waiting(table)
        ((held,),) = table.sql(HELD)
    thread.join()
    assert 1 < held <= MOST + 1  # and the epoch's, which is shared
    table.drained()
    assert table.sql("SELECT count(*) FROM pairs WHERE _sync_token IS NOT NULL") == [(KEYS,)]


def test_work_for_many_keys_is_cut() -> None:
    """Would break: `--repair`, which hands over 200 keys at a time, takes as many locks twice."""
    asked: list[int] = []

    def work(items: Sequence[int], /, *, quickly: bool = False) -> int:
        asked.append(len(items))
        return sum(items)

    found = list(isolate(work, range(200)))
    assert max(asked) <= MOST and sum(asked) == 200
    assert [item for some, _ in found for item in some] == list(range(200))


def test_a_row_that_the_target_refuses_to_stamp_leaves_the_others(table: Table, keys: list[Key]) -> None:
    """Would break: a trigger's RAISE ends the report, and every one after it."""
    stamp(table, keys)
    poison = keys[KEYS // 2]
    table.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.a = 'poison' THEN "
        "RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$"
    )
    table.sql("UPDATE pairs SET a = 'poison' WHERE id = %s", (str(table.cells.values({"id": poison.cells[0]})["id"]),))
    table.sql("CREATE TRIGGER refuse BEFORE UPDATE ON pairs FOR EACH ROW EXECUTE FUNCTION refuse()")
    try:
        with closing(connect(table.settings, autocommit=True)) as connection:
            assert stamp_strays(connection, table.mapped) == KEYS - 1
        assert table.sql("SELECT count(*) FROM pairs WHERE _sync_token IS NULL") == [(1,)]
    finally:
        table.sql("DROP FUNCTION refuse() CASCADE")
