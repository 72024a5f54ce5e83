"""Whole migrations from Cassandra 4; every kind of table and guardrail, also on 5: carried, or named before any write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from pydantic import SecretStr
from support import old_cassandra
from support.applications import running
from support.commands import Zygote
from support.dual import Table
from support.places import NewPlace, Place
from support.running_commands import until
from support.table_kinds import KEPT, KINDS, NEAR, OF_FIVE, ONCE, PUTS

from sync import local
from sync.adapters.cassandra.rows.cell_times import columns_without_write_time, times_of
from sync.core.versions import STEP, UNREPEATABLE_WINDOW_SECONDS
from sync.errors import PreflightError, WriteRefused
from sync.settings import Settings, load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
SONGS = "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text, plays int, tags map<text, text>)"
MANY = (
    "CREATE TYPE KS.place (street text, number int)",
    "CREATE TABLE KS.many (id uuid PRIMARY KEY, m map<text, int>, l list<int>, s set<int>, u place, f frozen<list<int>>)",
)
TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.3
[drift]
grace_seconds = 0.05
"""


OLD = pytest.mark.parametrize("node", old_cassandra.VERSIONS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.CassandraServer]:
    """A node of the version, with passwords and guardrails."""
    server = old_cassandra.start(tmp_path_factory.mktemp("old"), request.param)
    yield server
    server.remove()


@pytest.fixture(scope="module")
def old(
    node: local.CassandraServer,
    base_settings: Settings,
    zygote: Zygote,
    valkey: local.ValkeyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> NewPlace:
    """Make places on that node, as the superuser."""
    from support.fixtures import places_at  # only after pytest has loaded it as a plugin

    there = {"cassandra_port": node.port, "cassandra_username": node.user, "cassandra_password": SecretStr(node.password)}
    return places_at(base_settings.model_copy(update=there), zygote, valkey, tmp_path_factory)


def made_ready(place: Place) -> None:
    for command in (("schema", "apply"), ("preflight",), ("backfill", "--workers", "1")):
        done = place.commands.run(*command)
        assert done.code == 0, done


def proved(place: Place) -> None:
    for _ in range(2):
        done = place.commands.run("drift-report", "--workers", "1")
        assert done.code == 0, done


@OLD
def test_there_and_back(old: NewPlace) -> None:
    """Would break: after a green preflight and a whole copy, every dual write is refused, and drift names no column."""
    with old() as place:
        place.cql(SONGS)
        place.configure(TOML)
        rows = [uuid4() for _ in range(50)]
        for row in rows:
            place.cql(f"INSERT INTO KS.songs (id, title, plays, tags) VALUES ({row}, 'before', 1, {{'a': 'b'}})")
        made_ready(place)
        warned = place.commands.run("preflight")
        assert (warned.code, "does not report when tags was written" in warned.out) == (0, True), warned
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "songs")) as table:
            with running(place.settings, config, 2) as applications:
                until(lambda: sum(a.writes for a in applications) > 100, what="a hundred writes were made")
            place.cql(f"UPDATE KS.songs SET tags['c'] = 'd', plays = 2 WHERE id = {rows[0]}")
            found = place.commands.run("drift-report", "--workers", "1", "--json")
            assert found.code == 2, found
            ((finding),) = found.json["tables"][0]["findings"]
            assert (finding["kind"], sorted(finding["columns"])) == ("different", ["plays", "tags"])
            place.commands.run("drift-report", "--workers", "1", "--repair")
            with running(place.settings, config, 1) as more:
                for command in ("cutover", "rollback"):
                    proved(place)
                    before = sum(a.writes for a in more)
                    done = place.commands.run(command, "--yes")
                    assert done.code == 0, done
                    until(lambda before=before: sum(a.writes for a in more) > before + 30, what="writes went on")
            table.epoch = 3
            for application in [*applications, *more]:
                application.check(table)
            assert table.check_equal() >= 50


@OLD
@pytest.mark.parametrize("arrives", ["at once", "never", "after the reconcile"])
def test_what_a_writer_left_is_made_equal(old: NewPlace, arrives: str) -> None:
    """Would break: a reconcile cannot read a row, a list's elements are doubled, or an old collection comes back."""
    with old() as place:
        place.cql(*MANY)
        place.configure(TOML)
        made_ready(place)
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "many")) as table:
            key, was = table.key(id=uuid4()), {"m": {"a": 1, "b": 2}, "l": [9], "s": {5}, "u": ("x", 1), "f": [1]}
            table.writer().put(key, **was).primary()
            row = {"m": {"b": 3}, "l": [1, 2], "s": {7}, "u": ("y", None), "f": None}
            write = table.writer(alive=False).put(key, **row)
            if arrives == "at once":
                write.primary()
            table.drained()
            first = table.version(key)
            if arrives == "after the reconcile":
                write.primary()
            settled = table.settled(key)
            assert settled is not None
            assert (settled["l"], dict(settled["m"]), settled["f"]) == ([1, 2], {"b": 3}, None)
            table.writer(alive=False).delete(key)
            assert table.settled(key) is None
            assert (table.tombstone(key) or 0) > (first or 0)


@OLD
def test_a_list_that_is_sent_again_behind_its_last_timestamp_is_not_doubled(old: NewPlace) -> None:
    """Would break: after its last own timestamp, a list is sent with one that may have arrived already, and is doubled."""
    with old() as place:
        place.cql("CREATE TABLE KS.lists (id uuid PRIMARY KEY, l list<int>)")
        place.configure(TOML)
        made_ready(place)
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "lists")) as table:
            key = table.key(id=uuid4())
            table.writer(alive=False).put(key, l=[1, 2])
            really = table.rows.write
            with pytest.MonkeyPatch.context() as patch:  # what arrives, and whose answer is lost
                patch.setattr(table.rows, "write", lambda m, v: (really(m, v), ("unsure", "timed out"))[1])
                for _ in range(STEP):
                    window = f"interval '{UNREPEATABLE_WINDOW_SECONDS} s'"
                    table.sql(f"UPDATE sync.intent SET lease_until = NULL, replayed_at = replayed_at - {window}")
                    assert table.drain() == 0
            assert table.settled(key) == {"l": [1, 2]}


@OLD
def test_what_is_asked_for_is_what_the_server_tells(old: NewPlace) -> None:
    """Would break: a version is taken from write times of collections, which such a server does not report."""
    with old() as place:
        place.cql(*MANY)
        place.configure(TOML)
        made_ready(place)
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "many")) as table:
            assert times_of(place.cassandra.raw, table.mapped.source) == ['WRITETIME("f")']
            assert columns_without_write_time(place.cassandra.raw, table.mapped.source) == ["l", "m", "s", "u"]
        assert "does not know vectors, which came with Cassandra 5.0" in place.commands.line("schema", "apply", "--source")


# Every kind of table, and guardrails

EVERY = pytest.mark.parametrize("node", old_cassandra.EVERY, indirect=True, scope="module")


def as_ordinary(place: Place) -> Place:
    """The same place, as a role to which guardrails apply."""
    role = {"cassandra_username": old_cassandra.ROLE, "cassandra_password": SecretStr(old_cassandra.PASSWORD)}
    env = {name.upper(): old_cassandra.ROLE if name.endswith("name") else old_cassandra.PASSWORD for name in role}
    return Place(place.cassandra, place.settings.model_copy(update=role), place.commands.but(**env))


def said(place: Place) -> dict[tuple[str, str], list[str]]:
    """What preflight says, by level and table."""
    found: dict[tuple[str, str], list[str]] = {}
    for problem in place.commands.run("preflight", "--json").json["problems"]:
        found.setdefault((problem["level"], problem["where"]), []).append(problem["text"])
    return found


@EVERY
def test_every_kind_of_table_is_carried_or_named(old: NewPlace, node: local.CassandraServer) -> None:
    """Would break: what cannot be carried, or not written on both sides, is noticed at the first write or by the proof."""
    new, guarded = node.options.version == old_cassandra.EVERY[-1], node.options.version in old_cassandra.GUARDED
    with old() as place:
        place.cql(*KINDS, *(OF_FIVE if new else ()))
        place.configure(TOML)
        place = as_ordinary(place)
        assert place.commands.run("schema", "apply").code == 0
        found = said(place)
        check_named(found, new)
        with DualWriteStore(place.settings, load_config(place.commands.folder / "sync.toml")) as store:
            with pytest.raises(PreflightError, match="dense: COMPACT STORAGE cannot be written on both sides"):
                store.put("dense", {"id": 1, "n": 1, "v": None})
            assert store.increment("counts", {"id": 1}, {"c": -1})
            assert store.get("counts", {"id": 1}) == {"id": 1, "c": 2}
        place.configure('exclude = ["dense"]\n' + TOML + '[tables.statics]\nignore = ["s"]\n' + ONCE + KEPT)
        assert [key for key in said(place) if key[0] == "error"] == []
        done = place.commands.run("backfill", "--workers", "1")
        assert done.code == 0, done
        with DualWriteStore(place.settings, load_config(place.commands.folder / "sync.toml")) as store:
            for name, (key, values) in (PUTS | NEAR if new else PUTS).items():
                check_written(store, name, key, values)
            with pytest.raises(WriteRefused, match="exclude"):
                store.put("dense", {"id": 1, "n": 1})
            assert store.increment("counts", {"id": 1}, {"c": 5})
        # More keys than one SELECT may name.
        place.cql(*(f"INSERT INTO KS.seen (id, v, s) VALUES ({n}, 'later', {{'a', 'b'}})" for n in range(100, 140)))
        assert place.commands.run("drift-report", "--workers", "1", "--repair").code == 2
        done = place.commands.run("drift-report", "--workers", "1")
        assert done.code == 0, done
        assert guarded or not any("Guardrail" in text for texts in found.values() for text in texts)


def check_written(store: DualWriteStore, name: str, key: dict[str, object], values: dict[str, object]) -> None:
    """Put, read, update and delete a row, and put it again."""
    assert store.put(name, {**key, **values})
    found = store.get(name, key) or {}
    assert found.keys() >= key.keys() | values.keys()
    for column in values:
        assert store.update(name, key, {column: None})
        assert (store.get(name, key) or {})[column] is None
    assert store.delete(name, key) and store.get(name, key) is None
    assert store.put(name, {**key, **values})


def check_named(found: dict[tuple[str, str], list[str]], new: bool) -> None:
    """Check what preflight says of each table while sync.toml says nothing of it."""
    errors = {name: texts for (level, name), texts in found.items() if level == "error"}
    assert sorted(errors) == (["expire", "expires", "parts"] if new else ["expire", "expires"])
    assert "values of v were written with a TTL" in errors["expire"][0] and "default_time_to_live" in errors["expires"][0]
    warned = {name: "\n".join(texts) for (level, name), texts in found.items() if level == "warning"}
    if new:
        assert "values of m were written with a TTL" in errors["parts"][0]
    else:
        assert "whether m was written with a TTL" in warned["parts"]
    assert "whether a row of nothing but a key was written with a TTL" in warned["keys"]
    assert "materialized views based_by_n are not migrated" in warned["based"]
    assert "indexes seen_by_v are not migrated" in warned["seen"] and "near" not in warned
    blocks = {name: "\n".join(texts) for (level, name), texts in found.items() if level == "blocks"}
    assert "counts" not in blocks and "are written by `increment` alone" in warned["counts"]
    assert "DROP COMPACT STORAGE" in blocks["dense"]
    assert "(not possible: dual writes, reconcile, cut-over and rollback)" in blocks["dense"]
    if new:  # whose node has a minimum timestamp
        assert (
            "Guardrail minimum_timestamp violated" in blocks["based"]
            and "minimum_timestamp_fail_threshold" in blocks["based"]
        )
        assert blocks["based"].endswith("(not possible: cut-over and rollback)")
    else:
        assert sorted(blocks) == ["dense"]


@pytest.mark.parametrize("node", old_cassandra.GUARDED, indirect=True, scope="module")
def test_guardrails_are_named_with_their_setting(old: NewPlace, node: local.CassandraServer) -> None:
    """Would break: preflight ends with the server's words alone, or is green and the first write is refused."""
    with old() as place:
        place.cql(SONGS)
        place.configure(TOML)
        assert place.commands.run("schema", "apply").code == 0
        place = as_ordinary(place)
        for name, value, off, expected in (
            ("UserTimestampsEnabled", "false", "true", "user_timestamps violated: User provided timestamps"),
            ("WriteConsistencyLevelsDisallowedCSV", "LOCAL_QUORUM", "", "write_consistency_levels violated"),
        ):
            old_cassandra.guard(node, name, value)
            (text,) = said(place)["blocks", "songs"]
            assert text.startswith(f"this will block the cut-over: Guardrail {expected}"), text
            assert "(not possible: dual writes, reconcile, cut-over and rollback)" in text and "on its nodes" in text
            old_cassandra.guard(node, name, off)
        old_cassandra.guard(node, "ReadConsistencyLevelsDisallowedCSV", "LOCAL_QUORUM")
        (row,) = place.commands.rows()
        assert row.startswith("source: Guardrail read_consistency_levels violated: Provided values [LOCAL_QUORUM]"), row
        assert "change read_consistency_levels_disallowed on its nodes" in row
        old_cassandra.guard(node, "ReadConsistencyLevelsDisallowedCSV", "")
        old_cassandra.guard(node, "PageSize", "999", "1000")
        (row,) = place.commands.rows()
        assert "change page_size_fail_threshold (to 10000 or more) on its nodes" in row
        old_cassandra.guard(node, "PageSize", "2147483646", "2147483647")
