"""`sync follow pulsar` against a real Pulsar; the messages are made as DataStax's connector makes them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastavro import schemaless_writer
from support.partitions import plays
from support.places import NewPlace, Place
from support.pulsar import Pulsar, running, sending
from support.running_commands import until

from sync.adapters.pulsar.keys import PulsarKeys
from sync.core.capture.changes import ChangeBatch
from sync.core.cql import parse_type
from sync.core.rows import SourceColumn, SourceTable
from sync.errors import PreflightError, UnreachableNow

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
SONGS = SourceTable(
    "ks1",
    "songs",
    (SourceColumn("a", parse_type("text"), "partition_key"), SourceColumn("b", parse_type("int"), "clustering")),
)
KEY = {"type": "record", "name": "songs", "fields": [{"name": "a", "type": "string"}, {"name": "b", "type": ["null", "int"]}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulsar]:
    with running(tmp_path_factory.mktemp("pulsar")) as made:
        yield made


def key(a: str, b: int | None) -> bytes:
    out = BytesIO()
    schemaless_writer(out, KEY, {"a": a, "b": b})
    return out.getvalue()


def send(server: Pulsar, topic: str, *numbers: int) -> None:
    with sending(server, topic) as to:
        for number in numbers:
            to(key("x", number), {"writetime": str(number)})


@contextmanager
def following(server: Pulsar, topic: str, position: str | None = None) -> Iterator[Iterator[ChangeBatch]]:
    """The feed's batches; everything but the last one counts as recorded at the end, as after a crash."""
    feed = PulsarKeys(server.settings, {topic: SONGS})
    with closing(feed.batches(position)) as batches:  # type: ignore[type-var]
        yield batches


def read(
    batches: Iterator[ChangeBatch], enough: Callable[[list[ChangeBatch]], bool], seconds: float = 60
) -> list[ChangeBatch]:
    """Batches until there are enough."""
    found: list[ChangeBatch] = []
    until_then = time.monotonic() + seconds
    while not enough(found):
        assert time.monotonic() < until_then, found[-3:]
        found.append(next(batches))
    return found


def times(batches: list[ChangeBatch]) -> list[int | None]:
    return [change.timestamp for batch in batches for change in batch.changes]


def gaps(batches: list[ChangeBatch]) -> list[str]:
    return [gap.why for batch in batches for gap in batch.gaps]


def caught_up(since: float) -> Callable[[list[ChangeBatch]], bool]:
    return lambda found: bool(found) and found[-1].told_until >= since


def test_every_message_is_told_once_more_or_less_and_from_its_place_on(server: Pulsar) -> None:
    """Would break: a follower that starts again loses what came meanwhile, or reports gaps where there are none."""
    topic = server.topic("data-ks1.songs")
    sent = list(range(1, 26))  # over several ledgers of ten entries, which Pulsar drops where no subscription waits for them
    with following(server, topic) as batches:
        assert not times(read(batches, caught_up(time.time())))
        send(server, topic, *sent)
        found = read(batches, lambda b: len(times(b)) >= len(sent))
    assert times(found) == sent and not gaps(found)
    send(server, topic, 26, 27)
    with following(server, topic, found[-1].position) as batches:
        more = read(batches, lambda b: len(times(b)) >= 2)
        since = time.time()
        more += read(batches, caught_up(since))
    assert times(more) == [26, 27] and not gaps(more), "the entry recorded last came again, and was passed over"
    with following(server, topic, found[-1].position) as batches:  # the state is from a backup: 26 was acknowledged since
        again = read(batches, lambda b: bool(times(b)))
    assert times(again) == [27] and gaps(again) == [f"{topic}: what the topic held behind the message recorded last is gone"]


def test_a_key_without_its_clustering_and_one_that_is_none(server: Pulsar) -> None:
    topic = server.topic("data-ks1.static")
    with sending(server, topic) as to:
        to(key("x", None))
        to(b"\x02")
    with following(server, topic) as batches:
        found = read(batches, lambda b: bool(times(b) and gaps(b)))
    ((change,),) = [b.changes for b in found if b.changes]
    assert (change.partition, change.clustering, change.timestamp) == ((b"x",), None, None)
    assert gaps(found) == [
        f"{topic}: songs: a key is not an Avro record of the primary key; the topic's format must be key-value-avro"
    ]


def test_what_is_dropped_while_nobody_follows_is_a_gap(server: Pulsar) -> None:
    """Would break: a TTL of the topic drops messages, and the proof holds nevertheless."""
    topic = server.topic("data-ks1.dropped")
    send(server, topic, 1, 2, 3)
    with following(server, topic) as batches:
        found = read(batches, caught_up(time.time()))
        next(batches)  # what was recorded is acknowledged
    server.skip_all(topic)
    with following(server, topic, found[-1].position) as batches:
        quiet = read(batches, caught_up(time.time()))
    assert not gaps(quiet), "what was recorded last was dropped, and nothing was behind it"
    send(server, topic, 4, 5)
    server.skip_all(topic)
    before = time.time()
    with following(server, topic, quiet[-1].position) as batches:
        lost = read(batches, lambda b: bool(gaps(b)))
        assert all(batch.told_until == 0 for batch in lost), "nothing counts as told before it is known what is lost"
        ((gap,),) = [batch.gaps for batch in lost if batch.gaps]
        assert gap.table == "songs" and gap.until >= before
        read(batches, caught_up(time.time()))
        send(server, topic, 6)
        assert times(read(batches, lambda b: bool(times(b)))) == [6]


def test_partitions_and_a_server_that_restarts(server: Pulsar) -> None:
    """Would break: one partition is followed only, or a restart of the server loses or doubles what it holds."""
    topic = server.topic("data-ks1.parts", partitions=3)
    send(server, topic, *range(1, 10))
    with following(server, topic) as batches:
        found = read(batches, caught_up(time.time()))
        server.stop()
        assert not any(b.changes for b in read(batches, lambda b: len(b) > 3))
        server.start()
        send(server, topic, *range(10, 19))
        found += read(batches, lambda b: len(times(b)) >= 9, 120)
        since = time.time()
        found += read(batches, caught_up(since))
    assert sorted(t for t in times(found) if t) == list(range(1, 19)) and not gaps(found)
    assert len(found[-1].position.split("partition-")) == 4


def test_errors_are_one_line(server: Pulsar) -> None:
    topic = server.topic("data-ks1.taken")
    with following(server, topic) as batches:
        next(batches)
        in_use = "the subscription 'sync' is in use: another follower runs"
        with pytest.raises(PreflightError, match=in_use), following(server, topic) as second:
            next(second)
    with (
        pytest.raises(
            PreflightError, match=r"there is no topic persistent://public/default/nothing: is change data capture on"
        ),
        following(server, "persistent://public/default/nothing") as nothing,
    ):
        next(nothing)
    nowhere = Pulsar(Path(), 1, 1)
    answer = r"Pulsar at 127.0.0.1:1: data-ks1.songs: no answer: see SYNC_PULSAR_URL"
    with pytest.raises(UnreachableNow, match=answer), following(nowhere, "data-ks1.songs") as never:
        next(never)


def test_the_command_announces_what_another_wrote(server: Pulsar, new_place: NewPlace) -> None:
    """Would break: `sync follow pulsar` records other keys than those that another service has written."""
    with plays(new_place) as (place, table):
        wanted = table.key(room="x", day=1, song="s")
        topic = server.topic(f"data-{place.keyspace}.plays")
        with follows(place, server, topic) as process, sending(server, topic) as to:
            columns = table.mapped.source.primary_key
            kinds = {"text": "string", "int": "int"}
            fields = [
                {"name": c.name, "type": kinds[c.type.name] if c.kind == "partition_key" else ["null", kinds[c.type.name]]}
                for c in columns
            ]
            out = BytesIO()
            schemaless_writer(out, {"type": "record", "name": "k", "fields": fields}, {"room": "x", "day": 1, "song": "s"})
            table.cassandra.session.execute(
                f"INSERT INTO \"{place.keyspace}\".plays (room, day, song, a) VALUES ('x', 1, 's', 'theirs')"
            )
            to(out.getvalue())
            until(lambda: table.intents(wanted) == [("recheck", "finished")] or process.poll() is not None, 120, "announced")
        table.sql("UPDATE sync.intent SET not_before = NULL")
        table.drained()
        assert place.sql("SELECT a FROM plays WHERE room = 'x'") == [("theirs",)]


@contextmanager
def follows(place: Place, server: Pulsar, topic: str) -> Iterator[Any]:
    """The command, ended by Ctrl-C."""
    commands = place.commands.but(SYNC_PULSAR_URL=f"pulsar://127.0.0.1:{server.port}")
    process = commands.start("follow", "pulsar", "--topic", topic, "--json")
    try:
        yield process
    finally:
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, (out, err)
