"""Keys that Cassandra accepts and a B-tree does not: each becomes a reject, by name, and nothing else waits for it."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from support.dual import Table, prepare
from support.places import NewPlace, Place
from support.reverse import be_primary

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.schema.migrations import STATE, texts
from sync.core.mutations import Mutation
from sync.errors import WriteRefused
from sync.ports import Written
from sync.settings import load_config
from sync.stores import DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
TOML = "schema_files = []\n[dual_write]\nheartbeat_seconds = 0.2\nconnections = 4\n[drift]\ngrace_seconds = 0.05\n"
LENGTHS = (3_000, 60_000)
"""Longer than an entry of a B-tree (2,704 bytes), and longer than a page of it."""


def made(length: int) -> str:
    """A key that does not compress."""
    return "".join(random.choices(string.ascii_letters + string.digits, k=length))


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql("CREATE TABLE KS.pages (url text PRIMARY KEY, body text)")
        place.configure(TOML)
        prepare(place.settings, load_config(place.commands.folder / "sync.toml"), "pages")
        yield place


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    config = load_config(home.commands.folder / "sync.toml")
    with closing(Table(home.cassandra, home.settings, config, "pages")) as opened:
        yield opened
        be_primary(opened, "astra")
        opened.sql(
            "DELETE FROM sync.intent; DELETE FROM sync.sql_change; DELETE FROM sync.reject; DELETE FROM sync.run; DELETE FROM pages"
        )
        home.cql("TRUNCATE KS.pages")


def rejected(table: Table) -> list[tuple[str, str, str]]:
    """Key, action and reason of what is on record."""
    return table.sql("SELECT key ->> 'url', action, reason FROM sync.reject WHERE table_name = 'pages'")


def check_rejected(table: Table, *urls: str) -> None:
    """These keys, and no others, are rejects, each with Postgres's reason."""
    found = rejected(table)
    assert sorted(url for url, _, _ in found) == sorted(urls)
    assert all((action == "reject" and "exceeds" in reason) or "requires" in reason for _, action, reason in found), found


@pytest.mark.parametrize("length", LENGTHS)
def test_a_write_of_a_long_key_is_the_primarys_and_a_reject(home: Place, table: Table, length: int) -> None:
    """Would break: `put` raises psycopg's own error, and the application cannot write that key any more."""
    url, short = made(length), made(40)
    with DualWriteStore(home.settings, table_config(home)) as store:
        assert store.put("pages", {"url": url, "body": "a"}) is True
        assert store.update("pages", {"url": url}, {"body": "b"}) is True
        assert store.put("pages", {"url": short, "body": "c"}) is True
        assert store.get("pages", {"url": url}) == {"url": url, "body": "b"}
    table.drained()
    assert table.target(table.key(url=short)) == {"body": "c"}
    check_rejected(table, url)
    with DualWriteStore(home.settings, table_config(home)) as store:
        assert store.delete("pages", {"url": url}) is True
        assert table.tombstone(table.key(url=url))
    table.drained()
    assert rejected(table) == []
    assert table.check_equal() == 1


@pytest.mark.parametrize("length", LENGTHS)
def test_a_long_key_that_was_written_while_postgres_was_away_holds_up_no_other(table: Table, length: int) -> None:
    """Would break: the error ends every heartbeat at the head of the queue: nothing behind it is ever recorded."""
    writer, long, short = table.writer(), table.key(url=made(length)), table.key(url=made(40))
    for at, key in enumerate((long, short)):
        mutation = Mutation("put", key, table.cells.row({"body": "x"}))
        version = writer.put(table.key(url=made(10 + at)), body="").version
        assert table.rows.write(mutation, version)[0] == "written"
        writer.journal.record([Written(mutation, version, "finished")])
    table.drained()
    assert table.target(short) == {"body": "x"} and table.target(long) is None
    assert len(rejected(table)) == 1


@pytest.mark.parametrize("length", LENGTHS)
def test_the_target_as_primary_refuses_a_long_key(home: Place, table: Table, length: int) -> None:
    """Would break: an error of psycopg, or a write whose outcome is unknown."""
    be_primary(table, "postgres")
    url, short = made(length), made(40)
    settings = home.settings.model_copy(update={"storage_backend": "postgres"})
    with DualWriteStore(settings, table_config(home)) as store:
        with pytest.raises(WriteRefused, match="Postgres refuses it: index row"):
            store.put("pages", {"url": url, "body": "a"})
        assert store.update("pages", {"url": url}, {"body": "a"}) is False
        assert store.delete("pages", {"url": url}) is True
        assert store.put("pages", {"url": short, "body": "b"}) is True
    with PostgresStore(home.settings) as plain, pytest.raises(WriteRefused, match="index row"):
        plain.put("pages", {"url": url, "body": "a"})
    table.drained()
    assert table.source(table.key(url=short)) == {"body": "b"}
    assert table.tombstone(table.key(url=url))


@pytest.mark.slow
def test_copy_proof_and_gates_say_each_of_them(home: Place, table: Table) -> None:
    """Would break: their ranges and tables are never done; neither the reject nor the finding can be recorded."""
    long = [made(length) for length in LENGTHS]
    short = [made(40) for _ in range(20)]
    for url in long + short:
        home.cassandra.session.execute(f'INSERT INTO "{home.keyspace}".pages (url, body) VALUES (%s, %s)', (url, "x"))
    done = home.commands.run("backfill", "--workers", "1", "--json")
    assert done.code == 0, done
    (figures,) = done.json["tables"]
    assert (figures["rows_written"], figures["rows_rejected"], figures["ranges_failed"]) == (20, 2, 0)
    check_rejected(table, *long)
    assert home.commands.run("rejects", "--json").code == 0
    done = home.commands.run("drift-report", "--workers", "1", "--json", "--repair")
    assert done.code == 0, done
    (proved,) = done.json["tables"]
    assert (proved["rows"]["same"], proved["rows"]["rejected"], proved["findings"]) == (20, 2, [])
    table.sql("DELETE FROM sync.reject")  # nobody knows of them any more: they are missing, and `--repair` finds out why
    done = home.commands.run("drift-report", "--workers", "1", "--json", "--repair")
    assert done.code == 2, done
    assert sorted(finding["key"]["url"] for finding in done.json["tables"][0]["findings"]) == sorted(long)
    check_rejected(table, *long)
    done = home.commands.run("cutover", "--dry-run", "--json")
    assert done.code == 2
    assert {gate["name"]: gate["green"] for gate in done.json["gates"]}["rejects"] is False, done
    assert home.commands.run("migrate", "--workers", "1", "--json").code in (0, 2)


def test_a_state_of_before_takes_them_after_an_upgrade(home: Place, table: Table, new_place: NewPlace) -> None:
    """Would break: a migration begun with an older version keeps indexes over the keys themselves."""
    with new_place() as other, closing(connect(other.settings, autocommit=True)) as connection:
        connection.execute(texts()[STATE].encode())
        connection.execute(OLDER)
        connection.execute(
            "INSERT INTO sync.tombstone VALUES ('pages', 'a', 1, 5), ('pages', 'b', 2, 6);"
            "INSERT INTO sync.reject VALUES ('pages', 'a', '', 1, 1, '{}', 'r', 'reject')"
        )
        connection.execute(texts()[STATE].encode())
        key = made(60_000).encode()
        for _ in range(2):  # still one of each
            connection.execute(
                "INSERT INTO sync.tombstone VALUES ('pages', %s, 1, 5) ON CONFLICT (table_name, sha256(key)) DO NOTHING",
                (key,),
            )
        assert connection.execute("SELECT count(*) FROM sync.tombstone").fetchone() == (3,)
        assert connection.execute(OVER_KEYS).fetchall() == [], "an entry of these holds the key itself"


OLDER = """
DROP INDEX sync.tombstone_key, sync.ahead_key, sync.intent_of_key, sync.intent_recheck_once, sync.reject_key, sync.drift_finding_key;
ALTER TABLE sync.tombstone ADD PRIMARY KEY (table_name, key);
ALTER TABLE sync.ahead ADD PRIMARY KEY (table_name, key);
CREATE INDEX intent_key ON sync.intent (table_name, key);
CREATE UNIQUE INDEX intent_recheck_version ON sync.intent (table_name, key, version) WHERE kind = 'recheck' AND state = 'finished';
ALTER TABLE sync.reject ADD PRIMARY KEY (table_name, source_key, column_name);
ALTER TABLE sync.drift_finding ADD PRIMARY KEY (run_id, key, source_key);
"""
"""The indexes as they were."""
OVER_KEYS = """
SELECT i.indexrelid::regclass::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
WHERE c.relnamespace = 'sync'::regnamespace AND a.attname IN ('key', 'source_key')
"""


def table_config(home: Place) -> Any:
    return load_config(home.commands.folder / "sync.toml")
