"""`sync follow keys`, `announce()`, and what a drift report makes of announcements, against real servers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.capture import (
    FEED,
    UPDATE,
    announce,
    by_another,
    changed,
    changed_partition,
    free_ledger,
    read_feeds_of,
)
from support.commands import ROOT
from support.dual import Table
from support.partitions import CONFIG, plays
from support.places import NewPlace, Place
from support.reverse import be_primary

from sync.adapters.capture.key_lines import KeyLines
from sync.adapters.postgres.drift.pass_ledger import lock_runs
from sync.core.keys.json_form import key_json
from sync.core.mutations import Key, pack_key
from sync.errors import FeedUnreadable, WriteRefused
from sync.flows.follow import follow
from sync.stores import DualWriteStore
from sync.wiring.drift.values import shown_finding

pytest_plugins = ("support.fixtures",)
AB = {"a": "1", "b": "1"}
SECOND = 1_000_000


@pytest.fixture(scope="module")
def opened(new_place: NewPlace) -> Iterator[tuple[Place, Table]]:
    with plays(new_place) as made:
        yield made


@pytest.fixture(scope="module")
def table(opened: tuple[Place, Table]) -> Table:
    return opened[1]


@pytest.fixture
def key(table: Table) -> Iterator[Key]:
    """A key of the test's own, while Astra is primary."""
    be_primary(table, "astra")
    yield table.key(room=str(uuid4()), day=1, song="x")
    table.sql("UPDATE sync.intent SET not_before = NULL")
    table.drained()
    table.sql("DELETE FROM sync.feed")


# sync follow keys


def line(table: Table, key: Key, **more: object) -> bytes:
    return json.dumps({"table": table.name, "key": key_json(table.mapped.source.primary_key, key.cells), **more}).encode()


def followed(table: Table, path: Path) -> None:
    with closing(free_ledger(table, "keys")) as made:
        follow(KeyLines(FEED, path, {table.name: table.mapped.source}), made, 0, print, lambda _: None)


def test_lines_of_a_file(table: Table, key: Key, tmp_path: Path) -> None:
    """Would break: the next run announces everything again, or passes over what was added."""
    other = table.key(room=str(uuid4()), day=2, song="y")
    path = tmp_path / "keys"
    path.write_bytes(line(table, key) + b"\n\n")
    followed(table, path)
    assert table.intents(key) == [("recheck", "finished")]
    path.write_bytes(path.read_bytes() + line(table, other, timestamp=5))  # no end of the line
    followed(table, path)
    followed(table, path)
    assert (read_feeds_of(table).keys, read_feeds_of(table).position) == (2, f"{path.stat().st_size} 3")
    assert read_feeds_of(table).ended


def test_a_bad_line_is_named_and_nothing_of_it_is_recorded(table: Table, key: Key, tmp_path: Path) -> None:
    """Would break: what stands before it is lost or doubled, or nobody knows where to look."""
    path = tmp_path / "keys"
    path.write_bytes(line(table, key) + b'\n{"table": "plays", "key": {"room": "secret"}}\n')
    for _ in range(2):
        with pytest.raises(FeedUnreadable, match=r'line 2: "key" must be an object with room, day and song') as error:
            followed(table, path)
        assert "secret" not in str(error.value)
    assert read_feeds_of(table).keys == 1
    assert "line 2" in read_feeds_of(table).error
    path.write_bytes(line(table, key) + b"\n" + line(table, key) + b"\n")
    followed(table, path)
    assert (read_feeds_of(table).keys, read_feeds_of(table).error) == (2, "")


def piped(place: Place, text: bytes, *words: str) -> dict[str, Any]:
    """What `sync follow keys -` prints when this is piped into it."""
    environment = {**place.commands.env, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sync", "follow", "keys", "-", *words]
    done = subprocess.run(command, input=text, env=environment, cwd=place.commands.folder, capture_output=True, timeout=120)
    assert done.returncode == 0, done
    return dict(json.loads(done.stdout))


def test_the_command_records_what_is_piped_in_and_is_told_to_forget(opened: tuple[Place, Table], key: Key) -> None:
    """Would break: `sync follow keys -` records nothing, or blocks every later cut-over for ever."""
    place, table = opened
    printed = piped(place, line(table, key) + b"\n", "--name", "pipe", "--json")
    assert printed == {"feed": "pipe", "keys": 1, "partitions": 0, "gaps": 0}
    assert table.intents(key) == [("recheck", "finished")]
    assert not read_feeds_of(table).ended, "what is piped in may go on: a cut-over waits until somebody says that it does not"
    assert place.commands.run("follow", "forget", "pipe").code == 0
    assert place.commands.run("follow", "forget", "pipe").code == 1


# announce()


def test_an_application_announces_a_key_itself(table: Table, key: Key) -> None:
    """Would break: the application's own row is announced, and nothing follows."""
    by_another(table, UPDATE, key)
    with DualWriteStore(table.settings, CONFIG) as store:
        store.announce("plays", {"room": key.cells[0].decode(), "day": 1, "song": "x"})
        with pytest.raises(WriteRefused):
            store.announce("plays", {"room": "r"})
    table.sql("UPDATE sync.intent SET not_before = NULL")
    assert table.settled(key) == {"a": "theirs", "b": None}


# drift reports


def test_a_finding_that_is_announced_is_told_from_one_that_is_not(table: Table, key: Key) -> None:
    """Would break: an operator looks for the cause of a difference that a follower has told of a moment later."""
    day, room = table.key(room=str(uuid4()), day=1, song="y"), table.key(room=str(uuid4()), day=1, song="z")
    ((run,),) = table.sql("INSERT INTO sync.run (kind, table_name, floor) VALUES ('drift', 'plays', 1) RETURNING id")
    for each in (key, day, room):
        values = (run, each.canonical, pack_key(each.cells), each.token)
        table.sql(
            "INSERT INTO sync.drift_finding (run_id, table_name, key, source_key, token, kind, shown, columns, source_version, "
            "repaired, error) VALUES (%s, 'plays', %s, %s, %s, 'missing', '{}', '{}', 1, false, '')",
            values,
        )
    partition = changed_partition(table, room=room.cells[0].decode())
    announce(table, changed(table, key), partition)
    with table.pool.connection() as connection, connection.transaction():
        (closed,) = lock_runs(connection, [run])
    assert {bytes(found["key"]): shown_finding(found)["announced"] for found in closed.findings} == {
        key.canonical: True,
        day.canonical: False,
        room.canonical: True,
    }
    table.sql("DELETE FROM sync.run")


def test_a_pause_that_is_too_short_for_followers_is_refused(opened: tuple[Place, Table]) -> None:
    """Would break: each cut-over holds writes up for its whole pause, and gives up before the last write may be read."""
    place = opened[0]
    place.configure("schema_files = []\n[capture]\nwrite_timeout_seconds = 4.5\n")
    try:
        said = place.commands.line("follow", "keys", "-")
    finally:
        place.configure("schema_files = []\n")
    assert said.startswith("[cutover] max_pause_seconds is 5: with followers a switch needs 5.5 at least")
