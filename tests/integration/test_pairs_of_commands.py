"""Any two commands at once, from two terminals, in both orders: each does its work, or says in one line that it cannot.

One is held at a failpoint or behind a lock, so that they certainly meet. Nothing is half done afterwards.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import pytest
from support.backfills import Site, open_site
from support.dual import Table
from support.reverse import be_primary
from support.running_commands import Result, Running, until
from support.servers import servers_folder
from support.sources import song

from sync import local
from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.connection.epoch_lock import ALONE
from sync.arguments import build_parser
from sync.cli import GONE
from sync.settings import Settings

pytestmark = pytest.mark.slow

SLOW = "backfill.read=sleep:0.2,drift.read=sleep:0.2"
SWITCH = {"cutover": ("cutover", "--no-writers", "--yes"), "rollback": ("rollback", "--fast", "--no-writers", "--yes")}
AFTER = {"cutover": "postgres", "rollback": "astra"}
COPYING = "SELECT 1 FROM sync.run WHERE kind = 'backfill' AND state = 'open'"
LOADING = b"LOCK TABLE songs IN SHARE MODE"
"""Rows can be read, and none can be loaded."""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
TOML = """
[drift]
grace_seconds = 0.05
[dual_write]
heartbeat_seconds = 0.3
[cutover]
max_pause_seconds = 60
"""


@pytest.fixture(scope="module")
def site(base_settings: Settings, cassandra: Cassandra, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One table in the source; the target has nothing yet."""
    with open_site(base_settings, cassandra, tmp_path_factory.mktemp("pairs")) as opened:
        opened.configure("lease_seconds = 5\nmin_ranges = 8\nstreams = 1", TOML)
        opened.cql(
            "CREATE TABLE {ks}.songs (id uuid PRIMARY KEY, title text, year int, made timestamp, tags map<text, text>)"
        )
        opened.fill("INSERT INTO {ks}.songs (id, title, year, made, tags) VALUES (?, ?, ?, ?, ?)", map(song, range(100)))
        yield opened


def held(site: Site, place: str, *command: str) -> Running:
    """A command that sleeps at a failpoint until it is woken."""
    running = site.start(*command, failpoints=f"{place}=stop:1")
    until(lambda: psutil.Process(running.pid).status() == psutil.STATUS_STOPPED or running.ended, 60, f"it is at {place}")
    assert not running.ended, running.err
    return running


def woken(running: Running) -> Result:
    os.kill(running.pid, signal.SIGCONT)
    return running.wait(100)


@contextmanager
def behind(site: Site, *statements: bytes) -> Iterator[None]:
    """Hold these locks until the block ends: whoever needs them waits."""
    with closing(site.connect()) as holder:
        holder.execute("BEGIN")
        for statement in statements:
            holder.execute(statement)
        yield
        holder.execute("COMMIT")


def check(result: Result, code: int, words: str = "") -> None:
    """Check the exit code, and that an error was reported in one line."""
    assert (result.code, "Traceback" in result.err, "SYNC_DEBUG" in result.err) == (code, False, False), result
    assert words in (result.err.splitlines() or [""])[-1], result


def prove(site: Site) -> None:
    """Record two clean passes of this epoch, copied from the first migration's."""
    for _ in range(2):
        site.sql(
            "INSERT INTO sync.drift_pass (runs, clean, repaired, started_at, report, proof, epoch, data_center) "
            "SELECT runs, true, 0, clock_timestamp(), report, proof, (SELECT max(epoch) FROM sync.epoch), data_center "
            "FROM sync.drift_pass WHERE id = (SELECT min(id) FROM sync.drift_pass)"
        )


@pytest.fixture
def ready(site: Site) -> Site:
    """Astra is primary, both sides are equal and proved so, and nothing is under way, whatever the test before has left."""
    if site.sql("SELECT to_regclass('sync.drift_pass')") == [(None,)]:
        check(site.run("migrate", "--json", "--workers", "1", "--sample", "5"), 0)
    if site.sql("SELECT count(*) FROM sync.drift_pass") == [(0,)]:
        check(site.run("drift-report", "--json", "--workers", "1"), 0)
    with closing(Table(site.cassandra, site.settings, site.config, "songs")) as table:
        be_primary(table, "astra")
    prove(site)
    check_state(site, "astra")
    return site


def check_state(site: Site, primary: str) -> None:
    """This store is primary, nothing is under way, and both sides are equal."""
    assert site.sql('SELECT "primary", state FROM sync.epoch ORDER BY epoch DESC LIMIT 1') == [(primary, "open")]
    assert site.sql("SELECT count(*) FROM sync.switch WHERE finished_at IS NULL") == [(0,)]
    assert site.sql("SELECT count(*) FROM sync.run WHERE state = 'open'") == [(0,)]
    assert site.sql("SELECT count(*) FROM pg_index WHERE indrelid = 'songs'::regclass AND NOT indisvalid") == [(0,)]
    site.check_equal("songs")


def test_two_migrations(site: Site) -> None:
    """Would break: both make the schema, copy, or build the same index, and one of them ends with a duplicate or a deadlock."""
    running = [site.start("migrate", "--json", "--workers", "1", "--sample", "5", failpoints=SLOW) for _ in range(2)]
    for each in running:
        result = each.wait(100)
        check(result, 0)
        assert json.loads(result.out)["ok"]
    check_state(site, "astra")
    assert site.totals()["songs"][0] == 100, "each row was read once"


@pytest.mark.parametrize(("first", "second"), [("begun", "before_begin"), ("before_begin", "begun")])
def test_two_switches_of_one_kind(ready: Site, first: str, second: str) -> None:
    """Would break: the second one switches what the first has just switched, by gates judged before that."""
    site = ready
    for kind, place in (("cutover", first), ("rollback", second)):
        command = SWITCH[kind]
        one = held(site, f"switch.{place}", *command)
        if place == "begun":
            check(site.run(*command), 2, f"a {kind} by ")
        else:
            check(site.run(*command), 0)
        check(woken(one), *((0,) if place == "begun" else (2, "has changed in the meantime: see `sync status`")))
        check_state(site, AFTER[kind])
        again = site.run(*command)
        check(again, 0)
        assert "is primary already" in again.out


def test_a_cutover_and_a_rollback(ready: Site) -> None:
    """Would break: one reports the other's epoch as its own, or undoes a switch that is not done yet."""
    site = ready
    one = held(site, "switch.begun", *SWITCH["cutover"], "--json")
    early = site.run(*SWITCH["rollback"])
    check(early, 0)
    assert "Astra is primary already" in early.out
    check(woken(one), 0)
    check_state(site, "postgres")
    other = held(site, "switch.committed", *SWITCH["rollback"], "--json")
    check_state(site, "astra")
    prove(site)
    late = site.run(*SWITCH["cutover"], "--json")
    check(late, 0)
    mine = woken(other)
    check(mine, 0)
    (before, after) = (json.loads(result.out) for result in (mine, late))
    assert (before["primary"], after["primary"], after["epoch"] - before["epoch"]) == ("astra", "postgres", 1)
    check(site.run(*SWITCH["rollback"]), 0)
    check_state(site, "astra")


def test_a_backfill_and_a_cutover(ready: Site) -> None:
    """Would break: it switches while rows older than the new primary's are copied, or makes writers wait for nothing."""
    site = ready
    with behind(site, LOADING):
        copying = site.start("backfill", "--json", "--workers", "1")
        until(lambda: site.sql(COPYING), what="it copies")
        red = site.run(*SWITCH["cutover"])
        check(red, 2, "refused by ")
        assert "backfill" in red.err.splitlines()[-1]
    check(copying.wait(60), 0)
    one = held(site, "switch.before_begin", *SWITCH["cutover"])
    with behind(site, LOADING):
        copying = site.start("backfill", "--json", "--workers", "1")
        until(lambda: site.sql(COPYING), what="it copies")
        check(woken(one), 2, "1 backfill under way")
        assert site.sql("SELECT state FROM sync.epoch ORDER BY epoch DESC LIMIT 1") == [("open",)]
    check(copying.wait(60), 0)
    check_state(site, "astra")
    one = held(site, "switch.closed", *SWITCH["cutover"])
    read_only = [("status",), ("rejects",), ("intents",), ("writers",), ("preflight",), ("drift-report", "--history")]
    for looking in [site.start(*command) for command in read_only]:
        check(looking.wait(60), 0)
    check(woken(one), 0)
    check(site.run("backfill", "--workers", "1"), 1, "Postgres is primary: a backfill would overwrite the primary")
    check(site.run(*SWITCH["rollback"]), 0)
    check_state(site, "astra")


def test_a_drift_report_and_a_cutover(ready: Site) -> None:
    """Would break: a comparison made while the other store was primary counts as proof under the new one."""
    site = ready
    looking = site.start("drift-report", "--json", "--workers", "1", failpoints=SLOW)
    until(
        lambda: site.sql(
            "SELECT 1 FROM sync.range JOIN sync.run ON run.id = run_id WHERE range.state = 'done' AND kind = 'drift'"
        )
    )
    check(site.run(*SWITCH["cutover"]), 0)
    check(looking.wait(60), 0)
    red = site.run("rollback", "--no-writers", "--dry-run", "--json")
    check(red, 2)
    (proof,) = (gate for gate in json.loads(red.out)["gates"] if gate["name"] == "proof")
    assert not proof["green"] and "0 clean" in proof["figure"], proof
    check(site.run(*SWITCH["rollback"]), 0)
    check_state(site, "astra")


def test_two_repairs(ready: Site) -> None:
    """Would break: one of two reports of a pass loses what was repaired, or both repair against each other."""
    site = ready
    site.sql("UPDATE songs SET title = 'wrong' WHERE year < 20")
    running = [site.start("drift-report", "--repair", "--json", "--workers", "1", failpoints=SLOW) for _ in range(2)]
    for each in running:
        result = each.wait(100)
        check(result, 2)
        assert json.loads(result.out)["tables"][0]["repaired"] == 20
    check_state(site, "astra")


def test_two_that_give_up_one_intent(ready: Site) -> None:
    """Would break: both write the key, or one ends with a traceback because the intent is gone."""
    site = ready
    key = UUID(int=7)
    with closing(Table(site.cassandra, site.settings, site.config, "songs")) as table:
        found = table.key(id=key)
        ((number,),) = table.sql(
            "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) VALUES "
            "('songs', %s, %s, 'recheck', 'finished', 1, (SELECT max(epoch) FROM sync.epoch), 'me') RETURNING id",
            (found.canonical, found.token),
        )
    with behind(site, b"LOCK TABLE sync.intent IN SHARE MODE"):  # so that both have seen it
        running = [site.start("intents", "--resolve", str(number), "--yes") for _ in range(2)]
        until(lambda: site.sql(WAITING) == [(2,)], 60, "both are about to take it")
    for each in running:
        result = each.wait(60)  # both look at the key, or one is too late for it
        check(result, result.code, f"intent {number}: it " if result.code else "this invalidates the proof")
        assert result.code or f"intent {number} of songs: settled" in result.err
    assert site.sql("SELECT count(*) FROM sync.intent") == [(0,)]
    check(site.run("intents", "--resolve", str(number), "--yes"), 1, f"there is no intent {number}: it has settled")
    check_state(site, "astra")


def test_two_that_fence_one_writer(ready: Site) -> None:
    """Would break: the writer is fenced twice, or the second command fails with Postgres's own error."""
    site = ready
    site.sql(
        "INSERT INTO sync.writer (id, slot, host, pid, epoch, state, accepts, lease_seconds) "
        "VALUES ('w', 9, 'h', 1, 1, 'active', true, 30)"
    )
    with behind(site, ALONE):
        running = [site.start("writers", "--fence", "w") for _ in range(2)]
        until(lambda: site.sql(WAITING) == [(2,)], 60, "both are about to fence it")
    results = sorted((each.wait(60) for each in running), key=lambda result: result.code)
    check(results[0], 0)
    check(results[1], 1, "no active writer 'w'; `sync writers` lists them")
    assert site.sql("SELECT count(*) FROM sync.audit WHERE what = 'writer fenced'") == [(1,)]
    site.sql("DELETE FROM sync.writer")


def test_two_workers(ready: Site) -> None:
    """Would break: each sweeps, notifies and reconciles what the other one has."""
    site = ready
    with closing(Table(site.cassandra, site.settings, site.config, "songs")) as table:
        for _ in range(150):
            found = table.key(id=uuid4())
            table.sql(
                "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner) VALUES "
                "('songs', %s, %s, 'recheck', 'finished', 1, (SELECT max(epoch) FROM sync.epoch), 'me')",
                (found.canonical, found.token),
            )
    running = [site.start("worker", "-n", "1") for _ in range(2)]
    until(lambda: site.sql("SELECT count(*) FROM sync.intent") == [(0,)], 60, "they settle")
    for each in running:
        each.interrupt()
    for each in running:
        check(each.wait(100), 130)
    check_state(site, "astra")


def test_the_end_and_whatever_else(ready: Site) -> None:
    """Would break: a command a moment later fails with Postgres's own error about a missing schema."""
    site = ready
    check(site.run(*SWITCH["cutover"]), 0)
    back = held(site, "switch.before_begin", *SWITCH["rollback"])
    ending = held(site, "finish.columns_dropped", "finish")
    others = [site.start("finish"), site.start(*SWITCH["rollback"]), site.start("writers")]
    until(lambda: site.sql(WAITING) >= [(1,)], what="somebody waits for it")
    check(woken(ending), 0)
    check(woken(back), 1, GONE)
    for each in others:
        result = each.wait(60)
        assert result.code in (0, 1), result
        assert result.code == 0 or GONE in result.err or "it is finished" in result.err, result
        check(result, result.code)
    assert site.sql("SELECT to_regclass('sync.epoch')") == [(None,)]
    assert site.sql("SELECT count(*) FROM songs") == [(100,)]


def test_two_that_start_the_same_servers(endpoints: local.Endpoints, tmp_path: Path) -> None:
    """Would break: both start Cassandra in one folder, and one of them fails at its lock file."""
    command = [sys.executable, "-m", "sync", "local", "up", "--folder", str(servers_folder())]
    with (servers_folder() / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = [Running(command, tmp_path, os.environ) for _ in range(2)]
        for each in running:
            until(lambda: "another `sync local` is at work" in each.err, what="it waits, and says so")  # noqa: B023
    for each in running:
        result = each.wait(60)
        check(result, 0)
        assert "already running" in result.err


def test_every_command_is_among_them() -> None:
    """Would break: a new command is added, and nobody tests two of it at once."""
    commands = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    looking = {"preflight", "status", "rejects"}
    working = {
        "schema",
        "backfill",
        "migrate",
        "drift-report",
        "cutover",
        "rollback",
        "finish",
        "intents",
        "writers",
        "worker",
    }
    alone = {"local", "demo"}  # of embedded servers: one `up` at a time, which a demo begins with
    alone |= {"follow"}  # one process follows a feed at a time: test_follow_keys
    alone |= {"dashboard"}  # looks until it is ended: test_dashboard
    assert set(commands or {}) == looking | working | alone
