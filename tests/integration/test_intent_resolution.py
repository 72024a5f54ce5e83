"""Writes that one side can never take: those known beforehand are refused at once, the others are ended by an operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pytest
from cassandra import WriteFailure
from support.commands import Done
from support.dual import Table, disturbed, prepare
from support.places import NewPlace, Place
from support.reverse import be_primary, reverse_writer

from sync.adapters.cassandra.rows.rows import SourceRows
from sync.adapters.postgres.dual_write.resolution import find
from sync.core.schema.vector_index import not_indexable
from sync.errors import WriteRefused, WriteUnsure
from sync.settings import Config, DualWriteTuning
from sync.stores import CqlStore, DualWriteStore
from sync.wiring.dual_write import resolve as resolving

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.3))
INF, NAN = float("inf"), float("nan")
TAKEN = [[1e17, 0.0], [1e-30, 0.0], [1e-45, 0.0], [1.0, 0.0]]
REFUSED = [[NAN, 1.0], [INF, 1.0], [1.0, -INF], [1.00001e17, 0.0], [0.0, -2e17]]
ZEROS = [[0.0, 0.0], [-0.0, 0.0]]
FUNCTIONS = ("cosine", "dot_product", "euclidean")


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        for function in FUNCTIONS:
            place.cql(f"CREATE TABLE KS.{function} (id uuid PRIMARY KEY, v vector<float, 2>, w vector<float, 2>)")
            place.cql(index(function, function))
        place.cql(
            "CREATE TABLE KS.late (id uuid PRIMARY KEY, v vector<float, 2>, a text)",
            "CREATE TABLE KS.times (id uuid PRIMARY KEY, t timestamp)",
            "CREATE TABLE KS.gone (id uuid PRIMARY KEY, a text)",
        )
        place.configure("schema_files = []\n")
        prepare(place.settings, CONFIG, *FUNCTIONS, "late", "times", "gone")
        yield place


def index(table: str, function: str) -> str:
    options = f"{{'similarity_function': '{function}'}}"
    return f"CREATE CUSTOM INDEX ON KS.{table} (v) USING 'StorageAttachedIndex' WITH OPTIONS = {options}"


@pytest.fixture
def store(home: Place) -> Iterator[DualWriteStore]:
    with DualWriteStore(home.settings, CONFIG) as opened:
        yield opened


def table_of(home: Place, name: str) -> Any:
    return closing(Table(home.cassandra, home.settings, CONFIG, name))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_an_index_is_sent_is_what_the_server_takes(home: Place, function: str) -> None:
    """Would break: a vector that the source would take is refused. Vectors that make a server fail are sent to none."""
    with table_of(home, function) as table:
        for vector in TAKEN if function == "cosine" else [*TAKEN, *ZEROS]:
            key = table.key(id=uuid4())
            mutation = table.writer().mutation("put", key, v=vector, w=[0.0, 0.0])
            assert not_indexable(mutation.cells["v"] or b"", function) == ""
            assert table.rows.write(mutation, 1) == ("written", "")
            table.rows.write(table.writer().mutation("delete", key), 2)
        for vector in [*REFUSED, *(ZEROS if function == "cosine" else [])]:
            mutation = table.writer().mutation("put", table.key(id=uuid4()), v=vector, w=None)
            assert not_indexable(mutation.cells["v"] or b"", function).startswith("its index ")


def test_what_an_index_is_known_to_refuse_is_refused_at_once(home: Place, store: DualWriteStore) -> None:
    """Would break: a write can never settle: the application gets WriteUnsure, and the cut-over's gate stays red for good."""
    good, bad = uuid4(), uuid4()
    for write in (
        lambda: store.put("cosine", {"id": bad, "v": [0.0, 0.0]}),
        lambda: store.update("cosine", {"id": bad}, {"v": [NAN, 1.0]}),
        lambda: store.put_many("cosine", [{"id": good, "v": [1.0, 0.0]}, {"id": bad, "v": [2e17, 1.0]}]),
    ):
        with pytest.raises(WriteRefused, match=r"^cosine: v: its index "):
            write()
    with CqlStore(home.settings) as plain, pytest.raises(WriteRefused, match=r"^cosine: v: its index "):
        plain.put("cosine", {"id": bad, "v": [0.0, 0.0]})
    with table_of(home, "cosine") as table:
        assert [table.source(table.key(id=i)) for i in (good, bad)] == [None, None]
        assert table.intents() == []
    assert store.put("cosine", {"id": good, "v": [1.0, 0.0], "w": [0.0, 0.0]})
    assert store.put("dot_product", {"id": good, "v": [0.0, 0.0]})
    with pytest.raises(WriteRefused, match="v: its index takes only finite"):
        store.put("dot_product", {"id": good, "v": [INF, 0.0]})


def resolve(home: Place, *arguments: object) -> Done:
    return home.commands.run("intents", "--json", *(str(a) for a in arguments))


def stuck(table: Table) -> int:
    """The number of the table's only intent."""
    ((number,),) = table.sql("SELECT id FROM sync.intent WHERE table_name = %s", (table.name,))
    return int(number)


def long_ago(table: Table) -> None:
    """Age the intents until nothing that was sent can still arrive."""
    for column in ("created_at", "ended_at", "replayed_at", "lease_until"):
        table.sql(f"UPDATE sync.intent SET {column} = {column} - interval '1 hour'")


def audits(table: Table) -> list[tuple[Any, ...]]:
    return table.sql(
        "SELECT what, detail ->> 'state' FROM sync.audit WHERE detail ->> 'table' = %s ORDER BY id", (table.name,)
    )


def test_a_write_that_its_replicas_fail_is_unsure_and_ends_by_an_operators_word(
    home: Place, store: DualWriteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: the key's intent fails forever, so that no cut-over is possible; or the error blames the host."""
    key_id = uuid4()
    store.put("late", {"id": key_id, "v": [1.0, 0.0], "a": "before"})

    def failing(rows: SourceRows, mutation: Any, version: int) -> Any:
        # A write that makes replicas fail for good must not be sent to a real server: its commit log keeps it.
        raise WriteFailure("1 replica failed", consistency=6, required_responses=1, received_responses=0, failures=1)

    monkeypatch.setattr(SourceRows, "_bound", failing)
    with pytest.raises(WriteUnsure, match="its replicas failed") as said:
        store.put("late", {"id": key_id, "v": [0.0, 1.0], "a": "never"})
    assert "check the host" not in str(said.value)
    with table_of(home, "late") as table:
        key = table.key(id=key_id)
        assert table.intents(key) == [("put", "unsure")]
        assert table.drain() == 0
        number = stuck(table)
        ((error,),) = table.sql("SELECT error FROM sync.intent")
        assert error.startswith("a write could not be repeated: its replicas failed")
        assert resolve(home, "--resolve", number).err.endswith("not a terminal; pass --yes\n")
        assert table.intents(key) == [("put", "claimed")]
        table.sql("UPDATE sync.intent SET replayed_at = clock_timestamp()")
        with table.pool.connection() as connection:
            (found,) = find(connection, [number])
        assert 65 < found.waits <= 70, "what was just sent may still arrive; a counter's attempt is sent up to 10 s late"
        long_ago(table)
        before = disturbed(table)
        done = resolve(home, "--resolve", number, "--yes")
        said_of_it = {"id": number, "table": "late", "outcome": "settled", "error": ""}
        assert (done.code, done.json) == (0, {"resolved": [said_of_it], "intents": []})
        assert table.intents() == []
        assert table.source(key) == {"v": [1.0, 0.0], "a": "before"}
        assert (table.target(key) or {})["a"] == "before"
        assert audits(table) == [("intent resolved: its write is not sent again", "claimed")]
        now = disturbed(table)
        assert now != before and now and now[1] == "an intent was resolved by hand in late"


@pytest.mark.slow
def test_what_astra_can_never_hold_is_dropped_and_stays_a_difference(home: Place) -> None:
    """Would break: after the cut-over, a value that Astra cannot hold keeps the migration from ever ending."""
    with table_of(home, "times") as table:
        be_primary(table, "postgres")
        try:
            reverse_writer(table, alive=False).begin("put", table.key(id=uuid4()))
            table.sql("UPDATE times SET t = '2020-01-01 00:00:00.000001Z'")
            table.sql("UPDATE sync.intent SET state = 'finished'")
            assert table.drain() == 0
            number = stuck(table)
            done = resolve(home, "--resolve", number, "--table", "times", "--yes")
            (resolved,) = done.json["resolved"]
            assert (done.code, resolved["outcome"]) == (0, "dropped")
            assert resolved["error"].startswith("the source cannot hold it: ")
            assert table.intents() == []
            assert [what for what, _ in audits(table)] == [
                "intent resolved: its write is not sent again", f"intent dropped: {resolved['error']}"
            ]  # fmt: skip
            report = home.commands.run("drift-report", "--table", "times", "--workers", "1", "--json")
            assert report.code == 2, "both sides differ, and that is said"
        finally:
            table.sql("DELETE FROM times")
            be_primary(table, "astra")


@pytest.mark.parametrize("times", [1, 99])
def test_a_time_out_of_astra_is_no_reason_to_drop(home: Place, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Would break: after the cut-over, an intent that a slow Astra would take in a minute is thrown away."""
    left, write, try_write = [times], SourceRows.write, SourceRows.try_write

    def slow(answer: Any) -> Any:
        """A source that answers reads, and no write."""

        def sent(*what: Any) -> Any:
            left[0] -= 1
            return ("unsure", "timed out") if left[0] >= 0 else answer(*what)

        return sent

    with table_of(home, "times") as table:
        be_primary(table, "postgres")
        try:
            key = table.key(id=uuid4())
            reverse_writer(table, alive=False).begin("put", key)
            table.sql("UPDATE sync.intent SET state = 'finished'")
            monkeypatch.setattr(SourceRows, "write", slow(write))
            monkeypatch.setattr(SourceRows, "write_many", lambda rows, writes: [(*rows.write(*each), 0.0) for each in writes])
            monkeypatch.setattr(SourceRows, "try_write", slow(try_write))
            (told,) = resolving.resolve(home.settings, CONFIG, [stuck(table)], None, lambda _: None, lambda _: None)
            if times == 1:  # the row itself is taken at the second try, since Astra takes others by then
                assert (told["outcome"], table.source(key)) == ("settled", {"t": None})
            else:
                assert told["outcome"] == "left to workers" and table.intents(key) == [("put", "finished")], told
                left[0] = 0
                table.drained()
                assert table.source(key) == {"t": None}
        finally:
            table.sql("DELETE FROM times")
            be_primary(table, "astra")


def test_an_intent_of_a_dropped_table_is_dropped(home: Place) -> None:
    """Would break: the intent can be neither reconciled nor dropped, and no cut-over of the other tables is possible."""
    with table_of(home, "gone") as table:
        be_primary(table, "astra")
        writer = table.writer()
        writer.put(table.key(id=uuid4()), a="x")
        table.sql("UPDATE sync.writer SET state = 'unclean' WHERE id = %s", (writer.name,))  # fenced
        long_ago(table)
        home.cql("DROP TABLE KS.gone")
        (resolved,) = resolve(home, "--resolve", stuck(table), "--yes").json["resolved"]
        assert (resolved["outcome"], resolved["error"]) == ("dropped", "the source has no such table any more")
        assert table.intents() == []


def test_what_may_not_be_resolved_is_said(home: Place) -> None:
    """Would break: an intent is taken from its writer while the write is still being made."""
    with table_of(home, "late") as table:
        be_primary(table, "astra")
        key = table.key(id=UUID(int=1))
        table.writer().put(key, a="x")
        number = stuck(table)
        for arguments, said in (
            (
                (number, "--yes"),
                f"intent {number}: its writer may still be working on it; wait, or end that process and `sync writers",
            ),
            ((number + 1, "--yes"), f"there is no intent {number + 1}: it has settled, or"),
            ((number, "--table", "songs", "--yes"), f"there is no intent {number} of songs"),
        ):
            done = resolve(home, "--resolve", *arguments)
            assert (done.code, done.out) == (1, "")
            assert said in done.err
        assert table.intents(key) == [("put", "open")]
        table.sql("UPDATE sync.intent SET created_at = created_at - interval '1 hour'")
        table.reconciler().claim(key)
        assert "its writer may still be working on it" in resolve(home, "--resolve", number, "--yes").err, (
            "a claim hides it, no more"
        )
        table.sql("UPDATE sync.writer SET state = 'unclean'")
        table.writer(alive=False).put(key, a="y").mark("unsure")
        assert f"intent {number}: its key has others (" in resolve(home, "--resolve", number, "--yes").err
        table.drained()


def test_a_keys_intents_are_given_up_together(home: Place) -> None:
    """Would break: the reconcile that gives up the first intent sends the second one's write after all."""
    with table_of(home, "late") as table:
        be_primary(table, "astra")
        key = table.key(id=UUID(int=2))
        for value in ("x", "y"):
            table.writer(alive=False).put(key, a=value).mark("unsure")
        long_ago(table)
        numbers = [n for (n,) in table.sql("SELECT id FROM sync.intent WHERE table_name = 'late' ORDER BY id")]
        assert len(numbers) == 2
        done = resolve(home, *(a for n in numbers for a in ("--resolve", n)), "--yes")
        assert [one["outcome"] for one in done.json["resolved"]] == ["settled", "settled"], done
        assert table.intents() == []
        assert table.source(key) is None and table.target(key) is None
        assert len(audits(table)) >= 2
