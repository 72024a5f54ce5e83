"""Spans of writes and of ranges, as OpenTelemetry's SDK records them, on real servers (docs/tracing.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from support.commands import SECRET, environment
from support.dual import Table
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary
from support.running_commands import until
from support.spans import Spans, about, recorded, recording, text_of, unruly
from support.wrapped import WRITES, AsyncSongs, NewSongs, OldSongs

from sync.adapters.postgres.connection.pool import open_pool
from sync.errors import WriteRefused, WriteUnsure
from sync.settings import Config, DualWriteTuning
from sync.stores import AsyncDualWriteStore, DualWriteStore

pytest_plugins = ("support.fixtures",)
TUNING = DualWriteTuning(connections=4, heartbeat_seconds=0.2, async_secondary=frozenset({"later"}))
CONFIG = Config(schema_files=(), dual_write=TUNING)
PLANTED = f"{SECRET}-private-value"
APPLICATION = trace.get_tracer("application")
home = home_of(
    CONFIG,
    songs="id uuid PRIMARY KEY, title text, year int",
    later="id uuid PRIMARY KEY, title text",
    titles="title text PRIMARY KEY, song uuid",
)


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        opened.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        opened.sql("UPDATE sync.writer SET state = 'signed_off'")
        be_primary(opened, "astra")
        yield opened


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recorded() as found:
        yield found


def by_name(spans: list[ReadableSpan], name: str) -> ReadableSpan:
    (found,) = [span for span in spans if span.name == name]
    return found


def below(spans: list[ReadableSpan], parent: ReadableSpan) -> list[str]:
    """The names of its children, in the order of their beginning."""
    mine = [span for span in spans if span.parent and span.parent.span_id == parent.context.span_id]
    return [span.name for span in sorted(mine, key=lambda span: span.start_time or 0)]


def test_a_write_and_its_sides(home: Place, table: Table, spans: Spans) -> None:
    """Would break: a slow write says nothing of which side was slow; or a trace has what a row holds."""
    key = uuid4()
    with DualWriteStore(home.settings, CONFIG) as store, APPLICATION.start_as_current_span("request"):
        store.put("songs", {"id": key, "title": PLANTED, "year": 1999})
        store.update("songs", {"id": key}, {"title": PLANTED})
        store.delete("songs", {"id": key})
    found = spans()
    request = by_name(found, "request")
    assert below(found, request) == ["put songs", "update songs", "delete songs"]
    put = by_name(found, "put songs")
    assert about(put) == {
        "name": "put songs", "status": "UNSET", "db.operation.name": "put", "db.collection.name": "songs",
        "sync.outcome": "written",
    }  # fmt: skip
    assert below(found, put) == ["source songs", "target songs"]
    assert below(found, by_name(found, "delete songs")) == ["source songs", "target songs"]
    source, target = (
        next(s for s in found if s.name == f"{side} songs" and s.parent and s.parent.span_id == put.context.span_id)
        for side in ("source", "target")
    )
    assert about(source) == {
        "name": "source songs", "status": "UNSET", "db.system.name": "cassandra", "db.collection.name": "songs",
        "sync.side": "source", "sync.outcome": "written",
    }  # fmt: skip
    assert about(target)["db.system.name"] == "postgresql"
    times = (put.start_time, source.start_time, source.end_time, target.start_time, target.end_time, put.end_time)
    assert all(times) and list(times) == sorted(times, key=lambda at: at or 0)
    said = text_of(found)
    assert not [hidden for hidden in (PLANTED, SECRET, str(key), key.hex, "1999") if hidden in said]


def test_what_fails_says_its_kind_alone(home: Place, table: Table, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: an error's text, which may quote a value, is sent to wherever traces are kept."""
    with DualWriteStore(home.settings, CONFIG) as store:
        with pytest.raises(WriteRefused):
            store.put("songs", {"id": uuid4(), "year": PLANTED})
        rows = store._of("songs").rows
        monkeypatch.setattr(type(rows), "write", lambda *_: ("unsure", PLANTED))
        with pytest.raises(WriteUnsure):
            store.put("songs", {"id": uuid4(), "title": "a"})
    refused, source, unsure = spans()
    assert about(refused) == {
        "name": "put songs", "status": "ERROR", "db.operation.name": "put", "db.collection.name": "songs",
        "sync.outcome": "refused", "error.type": "sync.errors.WriteRefused",
    }  # fmt: skip
    assert (about(source)["sync.outcome"], about(source)["status"], about(source)["error.type"]) == (
        "unsure",
        "ERROR",
        "unsure",
    )
    assert (about(unsure)["sync.outcome"], about(unsure)["error.type"]) == ("unsure", "sync.errors.WriteUnsure")
    assert not refused.events and PLANTED not in text_of(spans())


def test_many_rows_in_the_stores_threads(home: Place, table: Table, spans: Spans) -> None:
    """Would break: each batch is a trace of its own; or ten thousand rows are twenty thousand spans."""
    rows = [{"id": uuid4(), "title": "a"} for _ in range(150)]
    with DualWriteStore(home.settings, CONFIG) as store, APPLICATION.start_as_current_span("request"):
        store.put_many("songs", rows)
    found = spans()
    many = by_name(found, "put_many songs")
    assert below(found, by_name(found, "request")) == ["put_many songs"]
    assert about(many)["db.operation.batch.size"] == 150
    assert sorted(below(found, many)) == ["source songs"] * 3 + ["target songs"] * 3, "three batches"


def test_a_half_that_is_left_to_workers(home: Place, table: Table, spans: Spans) -> None:
    """Would break: it looks as if the target had been written."""
    with DualWriteStore(home.settings, CONFIG) as store:
        store.put("later", {"id": uuid4(), "title": "a"})
    found = spans()
    assert below(found, by_name(found, "put later")) == ["source later"]


def test_after_the_cut_over(home: Place, table: Table, spans: Spans) -> None:
    """Would break: what the driver's thread does for a write belongs to no trace, or to another one's."""
    be_primary(table, "postgres")
    settings = home.settings.model_copy(update={"storage_backend": "postgres"})
    key = {"id": uuid4()}
    with DualWriteStore(settings, CONFIG) as store:
        with APPLICATION.start_as_current_span("first"):
            assert store.insert("songs", {**key, "title": "a"})
        with APPLICATION.start_as_current_span("second"):
            assert not store.insert("songs", {**key, "title": "a"})
        with APPLICATION.start_as_current_span("third"), store.transaction() as tx:
            tx.put("songs", {**key, "title": "b"})
            tx.delete("songs", {"id": uuid4()})
        until(lambda: sum(span.name == "source songs" for span in spans()) == 3, what="the source has them")
    found = spans()
    wrote, unchanged = [span for span in found if span.name == "insert songs"]
    assert below(found, by_name(found, "first")) == ["insert songs"]
    assert (about(wrote)["sync.outcome"], below(found, wrote)) == ("written", ["target songs", "source songs"])
    assert (about(unchanged)["sync.outcome"], below(found, unchanged)) == ("unchanged", ["target songs"])
    whole = by_name(found, "transaction")
    assert below(found, by_name(found, "third")) == ["transaction"]
    assert sorted(below(found, whole)) == ["source songs"] * 2 + ["target songs"] * 2


def test_a_process_that_only_has_transactions(home: Place, table: Table, spans: Spans) -> None:
    """Would break: nobody has looked for a provider, and its writes have no spans."""
    be_primary(table, "postgres")
    settings = home.settings.model_copy(update={"storage_backend": "postgres"})
    with DualWriteStore(settings, CONFIG) as store, store.transaction() as tx:
        tx.put("songs", {"id": uuid4(), "title": "b"})
    until(lambda: any(span.name == "source songs" for span in spans()), what="the source has it")
    assert below(spans(), by_name(spans(), "transaction")) == ["target songs", "source songs"]


def test_a_processor_that_raises(home: Place, table: Table, spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    """Would break: a write ends between its sides, or a call never ends, because of what an application has installed."""
    key = uuid4()
    with unruly(), DualWriteStore(home.settings, CONFIG) as store:
        assert store.put("songs", {"id": key, "title": "a"}) and store.delete("songs", {"id": key})
        assert store.put_many("songs", [{"id": uuid4(), "title": "a"} for _ in range(100)])
        store.begin([("songs", {"id": key})]).finish()
        store.begin([("songs", {"id": key})]).withdraw()
    assert table.sql("SELECT count(*) FROM sync.intent") == [(0,)], "the target has all, and each call has ended"
    be_primary(table, "postgres")
    settings = home.settings.model_copy(update={"storage_backend": "postgres"})
    with unruly(), DualWriteStore(settings, CONFIG) as store:
        assert store.put("songs", {"id": key, "title": "a"})
        with store.transaction() as tx:
            tx.put("songs", {"id": key, "title": "b"})
    assert table.settled(table.key(id=key)) == {
        "title": "b",
        "year": None,
    }  # a store that closes does not wait for the source's answers
    assert table.sql("SELECT count(*) FROM sync.writer WHERE state = 'active'") == [(0,)], "both have signed off"
    assert [record.getMessage() for record in caplog.records if "OpenTelemetry" in record.getMessage()] == [
        "spans are not recorded: OpenTelemetry: ValueError"
    ]


def test_on_asyncio(home: Place, table: Table, spans: Spans) -> None:
    """Would break: the threads of a store know nothing of the task, or one task's spans are another one's."""

    async def one(store: AsyncDualWriteStore, number: int) -> None:
        with APPLICATION.start_as_current_span(f"task {number}"):
            await store.put("songs", {"id": uuid4(), "title": "a"})

    async def forward() -> None:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            await asyncio.gather(*(one(store, number) for number in range(20)))

    async def reverse() -> None:
        settings = home.settings.model_copy(update={"storage_backend": "postgres"})
        async with AsyncDualWriteStore(settings, CONFIG) as store:
            with APPLICATION.start_as_current_span("request"):
                async with store.transaction() as tx:
                    await tx.put("songs", {"id": uuid4(), "title": "a"})
                with pytest.raises(ZeroDivisionError):
                    async with store.transaction() as tx:
                        _ = 1 / 0
                await store.put("songs", {"id": uuid4(), "title": "a"})

    asyncio.run(forward())
    found = spans()
    for number in range(20):
        assert below(found, by_name(found, f"task {number}")) == ["put songs"]
    puts = {span.context.span_id for span in found if span.name == "put songs"}
    sides = [span for span in found if span.name in ("source songs", "target songs")]
    assert sides and all(span.parent and span.parent.span_id in puts for span in sides), "each below the put that led it"
    be_primary(table, "postgres")
    asyncio.run(reverse())
    found = spans()
    assert below(found, by_name(found, "request")) == ["transaction", "transaction", "put songs"]
    kept, rolled_back = [about(span) for span in found if span.name == "transaction"]
    assert (kept["sync.outcome"], rolled_back["sync.outcome"]) == ("written", "failed")
    assert rolled_back["error.type"] == "builtins.ZeroDivisionError"


def test_classes_of_the_application(home: Place, table: Table, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a wrapped class's call is in no trace, or what it does itself is not below it."""
    for name, value in environment(home.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("STORAGE_BACKEND", raising=False)
    home.configure("schema_files = []\n[dual_write]\nheartbeat_seconds = 0.2\nconnections = 4\n")
    monkeypatch.setenv("SYNC_CONFIG", str(home.commands.folder / "sync.toml"))
    old = OldSongs(home.cassandra.session, home.keyspace)
    execute = OldSongs._execute

    def traced(self: OldSongs, statement: str, *values: Any) -> list[Any]:
        with APPLICATION.start_as_current_span("statement"):
            return execute(self, statement, *values)

    async def run(new: NewSongs) -> None:
        async with DualWriteStore.wrap(AsyncSongs(old), AsyncSongs(new), WRITES) as store:
            with APPLICATION.start_as_current_span("request"):
                await store.save({uuid4(): PLANTED})
            old.fail_after = 0
            with APPLICATION.start_as_current_span("failed"), pytest.raises(TimeoutError):
                await store.save({uuid4(): PLANTED})

    monkeypatch.setattr(OldSongs, "_execute", traced)
    with closing(open_pool(home.settings, 4)) as pool:
        with DualWriteStore.wrap(old, NewSongs(pool), WRITES) as store:
            store.save({uuid4(): PLANTED})
        found = spans()
        call = by_name(found, "call songs, titles")
        assert (about(call)["sync.outcome"], below(found, call)) == ("written", ["statement", "statement"])
        asyncio.run(run(NewSongs(pool)))
    found = spans()[len(found) :]
    assert "call songs, titles" in below(found, by_name(found, "request"))
    _, failed = [about(span) for span in found if span.name == "call songs, titles"]
    assert (failed["sync.outcome"], failed["error.type"]) == ("failed", "builtins.TimeoutError")
    assert PLANTED not in text_of(found)
    before = len(spans())
    with DualWriteStore(home.settings, CONFIG) as plain:
        plain.begin([("songs", {"id": uuid4()})]).withdraw()
    assert about(spans()[before])["sync.outcome"] == "withdrawn"


@pytest.mark.slow
def test_ranges_of_workers(home: Place) -> None:
    """Would break: RQ ends a job's process, and what it had recorded is lost; or a range that failed looks done."""
    for _ in range(20):
        home.cql(f"INSERT INTO KS.songs (id, title) VALUES ({uuid4()}, '{PLANTED}')")
    path, spans = recording(home.commands.folder)
    commands = home.commands.but(PYTHONPATH=path)
    home.configure("schema_files = []\n")
    assert commands.fresh("backfill", "--workers", "1", "--table", "songs").code == 0
    copied = [span for span in spans() if span["name"] == "backfill songs"]
    assert {span["attributes"]["sync.outcome"] for span in copied} == {"done"}
    ((ranges, rows),) = home.sql("SELECT count(*), sum(rows_read) FROM sync.range WHERE table_name = 'songs'")
    assert (len(copied), sum(span["attributes"]["sync.rows"] for span in copied)) == (ranges, rows)
    assert {"sync.range.start", "sync.range.end", "sync.worker"} <= copied[0]["attributes"].keys()
    home.sql("UPDATE songs SET title = 'planted' WHERE id = (SELECT id FROM songs LIMIT 1)")
    assert commands.fresh("drift-report", "--workers", "1", "--table", "songs").code == 2
    checked = [span["attributes"] for span in spans() if span["name"] == "drift songs"]
    assert sum(span["sync.rows"] for span in checked) == rows and sum(span["sync.differing"] for span in checked) == 1
    home.sql(
        "CREATE FUNCTION strange() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a strange error' USING "
        "ERRCODE = 'XX000', DETAIL = 'Failing row contains (' || NEW.title || ')'; END $$; "
        "CREATE TRIGGER strange BEFORE INSERT OR UPDATE ON songs FOR EACH ROW EXECUTE FUNCTION strange()"
    )
    assert commands.fresh("backfill", "--workers", "1", "--table", "songs").code == 1
    failed = [span for span in spans() if span["name"] == "backfill songs" and span["status"]["status_code"] == "ERROR"]
    assert failed and all(span["attributes"]["error.type"].startswith("psycopg.errors.") for span in failed)
    assert PLANTED not in str(spans())
