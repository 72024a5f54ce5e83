"""One key that one side refuses, in whatever way: its neighbours settle, and a record says why it does not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from support.dual import LEASE, NEVER_OPEN, Table, holding, prepare
from support.pair_table import CONFIG
from support.places import NewPlace
from support.reverse import be_primary, reverse_writer

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.connection.pool import open_pool
from sync.adapters.postgres.connection.refusals import is_lock_conflict, is_server_wide, refuses_row
from sync.adapters.postgres.dual_write.breaker import Breaker
from sync.adapters.postgres.dual_write.journal import Journal, Writer
from sync.adapters.postgres.dual_write.reconcile import ReconcileSteps
from sync.core.mutations import Key
from sync.errors import WriteRefused
from sync.flows.reconcile import Reconcile
from sync.stores import PostgresStore

pytest_plugins = ("support.fixtures", "support.pair_table")
STATES = ["P0001", "42501", "0A000", "55000", "44000", "38000", "U0001", "P0004"]
"""Of a trigger's RAISE, a policy, a view, a function in another language, and unknown ones."""


@contextmanager
def refusing(table: Table, state: str = "P0001", when: str = "INSERT OR UPDATE") -> Iterator[None]:
    """Make the target refuse rows whose `a` begins with poison."""
    row = "OLD" if when == "DELETE" else "NEW"
    table.sql(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {row}.a LIKE 'poison%' THEN "
        f"RAISE EXCEPTION 'not this one' USING ERRCODE = '{state}'; END IF; RETURN {row}; END $$; "
        f"CREATE TRIGGER refuse BEFORE {when} ON pairs FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    try:
        yield
    finally:
        table.sql("DROP FUNCTION refuse() CASCADE")


def left_to_workers(table: Table, count: int = 12) -> tuple[Key, list[Key]]:
    """Write keys whose second half failed, with the poison in the middle."""
    keys, writer = [table.key(id=uuid4()) for _ in range(count)], table.writer()
    poison = keys[count // 2]
    for key in keys:
        writer.put(key, a="poison" if key == poison else "x").primary().mark("finished")
    return poison, [key for key in keys if key != poison]


def reasons(table: Table) -> list[tuple[object, ...]]:
    return table.sql("SELECT action, reason FROM sync.reject WHERE table_name = 'pairs'")


@pytest.mark.parametrize("state", STATES)
def test_a_row_that_the_target_refuses_is_a_reject_and_takes_no_other_with_it(table: Table, state: str) -> None:
    """Would break: up to 199 keys fail with it, are retried with it and never settle, so that no cut-over is possible."""
    with refusing(table, state):
        poison, others = left_to_workers(table)
        assert table.drain() == len(others) + 1
        assert table.intents() == []
        assert [table.target(key) for key in others] == [{"a": "x", "b": None}] * len(others)
        assert table.target(poison) is None
        assert reasons(table) == [("reject", "Postgres refuses it: not this one")]
    table.writer().put(poison, a="cured").done()
    assert reasons(table) == []
    table.check_equal()


def test_a_key_for_which_nothing_can_be_done_stays_alone(table: Table) -> None:
    """Would break: the same, where the row cannot even be deleted; or the reconcile ends with Postgres's own error."""
    poison = table.key(id=uuid4())
    table.writer().put(poison, a="poison").done()
    with refusing(table, when="DELETE"):
        table.writer().delete(poison).primary().mark("finished")
        good = table.key(id=uuid4())
        table.writer().put(good, a="x").primary().mark("finished")
        assert table.drain() == 1
        assert table.target(good) == {"a": "x", "b": None}
        assert table.intents() == [("delete", "finished")]
        assert table.sql("SELECT attempts, error FROM sync.intent") == [(1, "not this one")]
    assert table.settled(poison) is None


def test_a_right_that_was_taken_or_a_column_that_is_gone_deletes_nothing(table: Table) -> None:
    """Would break: an error of the table is taken for one of the row, and the target's row is deleted."""
    key = table.key(id=uuid4())
    table.writer().put(key, a="kept").done()
    table.writer().put(key, a="new").primary().mark("finished")
    with refusing(table):  # its function fails for every row
        table.sql(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "PERFORM nowhere.nothing(); RETURN NEW; END $$"
        )
        assert table.drain() == 0
        assert table.target(key) == {"a": "kept", "b": None}
    assert table.settled(key) == {"a": "new", "b": None}
    assert reasons(table) == []


@pytest.mark.parametrize("what", ["key", "row"])
def test_a_row_that_somebody_holds_is_left_for_later_and_the_rest_settles(table: Table, what: str) -> None:
    """Would break: a row that is held for long makes the others of its batch fail, too."""
    keys, writer = [table.key(id=uuid4()) for _ in range(6)], table.writer()
    for key in keys:
        writer.put(key, a="1").done()
        writer.put(key, a="2").primary().mark("finished")
    failed: dict[Key, str] = {}
    hold, value = ("SELECT pg_advisory_xact_lock(%s)", lock(keys[2]))
    if what == "row":
        hold, value = ("SELECT FROM pairs WHERE id = %s FOR UPDATE", table.cells.values({"id": keys[2].cells[0]})["id"])
    with (
        closing(open_pool(table.settings, 2, 1.0)) as pool, ThreadPoolExecutor(4) as executor, holding(table, hold, (value,)),
    ):  # fmt: skip
        reconcile_steps = ReconcileSteps(pool, table.mapped, table.encoder, LEASE, 1)
        assert Reconcile(reconcile_steps, table.rows, executor).keys(keys, failed.__setitem__) == 5
    assert list(failed) == [keys[2]]
    assert "lock timeout" in failed[keys[2]]
    assert [table.target(key)["a"] for key in keys] == [*"22122", "2"]  # type: ignore[index]
    table.drained()
    table.check_equal()


def lock(key: Key) -> int:
    from sync.adapters.postgres.dual_write.locks import lock_of

    return lock_of(key)


def test_keys_that_failed_together_are_not_tried_together_for_ever(table: Table) -> None:
    """Would break: keys that failed as a batch are retried as the same batch each time, and fail again."""
    journal = Journal(table.pool, table.mapped, table.encoder, Writer("drain", 0, 0, LEASE), Breaker(NEVER_OPEN))
    keys, writer = [table.key(id=uuid4()) for _ in range(30)], table.writer()
    for key in keys:
        writer.put(key, a="1").primary().mark("finished")
    table.sql("UPDATE sync.intent SET attempts = 7")
    for key in keys:
        journal.failed(key.canonical, "the server was restarted")
    ((least, most),) = table.sql(
        "SELECT extract(epoch FROM min(lease_until) - clock_timestamp())::int, "
        "extract(epoch FROM max(lease_until) - clock_timestamp())::int FROM sync.intent"
    )
    assert 80 < least < most - 10 < 170
    table.drained()


def test_one_row_that_cannot_be_raised_is_sent_alone_no_more(table: Table) -> None:
    """Would break: the same towards the source: its version is written to the row first, which a trigger may refuse."""
    be_primary(table, "postgres")
    writer = reverse_writer(table)
    keys = [table.key(id=uuid4()) for _ in range(5)]
    for key in keys:
        writer.begin("put", key, a="poison" if key == keys[1] else "x")
    table.sql("UPDATE sync.intent SET state = 'finished'")
    with refusing(table):
        assert table.drain() == 4
        assert table.sql("SELECT attempts, error FROM sync.intent") == [(1, "not this one")]
    assert table.settled(keys[1]) == {"a": "poison", "b": None}
    table.check_equal()


def test_a_backfill_rejects_the_row_that_a_trigger_refuses(new_place: NewPlace) -> None:
    """Would break: one row makes the job fail five times, and then the command."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.pairs (id uuid PRIMARY KEY, a text, b text)")
        for a in ("x", "poison", "poison two", "y"):
            place.cql(f"INSERT INTO KS.pairs (id, a) VALUES (uuid(), '{a}')")
        place.configure("schema_files = []\n")
        prepare(place.settings, CONFIG, "pairs")
        with closing(Table(place.cassandra, place.settings, CONFIG, "pairs")) as opened, refusing(opened):
            done = place.commands.run("backfill", "--workers", "1", "--json")
            assert done.code == 0, done
            (figures,) = done.json["tables"]
            assert (figures["rows_read"], figures["rows_written"], figures["rows_rejected"]) == (4, 2, 2)
            assert reasons(opened) == [("reject", "Postgres refuses it: not this one")] * 2


def test_an_applications_store_is_told_of_a_refusal(table: Table) -> None:
    """Would break: a refusal by Postgres is taken for a lost connection, and the write is reported as unsure."""
    for state in STATES:
        with (
            refusing(table, state), PostgresStore(table.settings, 1) as store, pytest.raises(WriteRefused, match="not this one"),
        ):  # fmt: skip
            store.put("pairs", {"id": uuid4(), "a": "poison"})


class Said(Exception):
    """Stands for a driver's error."""

    def __init__(self, sqlstate: str, place: str = "exec_stmt_raise") -> None:
        self.sqlstate, self.diag = sqlstate, SimpleNamespace(source_function=place)


def said(sqlstate: str, place: str = "exec_stmt_raise") -> Any:
    """Such an error; Any, as only the driver makes real ones."""
    return Said(sqlstate, place)


def test_what_an_error_is_about() -> None:
    """Would break: an unreachable server turns good rows into rejects, or one refused row makes the server count as sick."""
    server = ["08006", "25006", "53100", "53200", "53300", "57014", "57P01", "57P03", "58030"]
    rows = ["22001", "23505", "54000", "08P01", "P0001", "42501", "0A000", "44000", "U0001"]
    passing, neither = ["40001", "40P01", "55P03"], ["42703", "42P01", "3F000", "XX000", "26000"]
    judged = {
        s: (is_server_wide(said(s)), is_lock_conflict(said(s)), refuses_row(said(s)))
        for s in [*server, *rows, *passing, *neither]
    }
    assert judged == {
        **dict.fromkeys(server, (True, False, False)), **dict.fromkeys(rows, (False, False, True)),
        **dict.fromkeys(passing, (False, True, False)), **dict.fromkeys(neither, (False, False, False)),
    }  # fmt: skip
    assert not refuses_row(said("42501", "aclcheck_error")), "a right that the role lacks"


def test_a_right_that_the_role_lacks_is_no_reject(table: Table) -> None:
    """Would break: if the role may not write, every row of a copy becomes a reject."""
    with closing(connect(table.settings, autocommit=True)) as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE ROLE nobody_at_all")
        connection.execute("SET LOCAL ROLE nobody_at_all")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as said:
            connection.execute("INSERT INTO public.pairs (id) VALUES (gen_random_uuid())")
    assert not refuses_row(said.value)
