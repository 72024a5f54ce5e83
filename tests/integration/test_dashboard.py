"""`sync dashboard` on a migration: what it shows is what `sync status` says; samples; Postgres gone and back; read-only."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import pytest
from support.counting import counted
from support.places import NewPlace, Place
from support.proxies import Proxy
from support.running_commands import until
from support.web import serving

from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.history.samples import read_samples, take_sample, thin_samples
from sync.core.dashboard.history import WINDOWS
from sync.settings import load_config
from sync.wiring.dashboard import watcher as watching
from sync.wiring.dashboard.watcher import Watcher
from sync.wiring.status import judge_gates

pytest_plugins = ("support.fixtures",)
TOML = "schema_files = []\n[dual_write]\nheartbeat_seconds = 0.2\n"
HOUR = WINDOWS["hour"]
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    """A table that is copied, and compared once; a row that differs was found."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id text PRIMARY KEY, title text)")
        place.cql(*(f"INSERT INTO KS.songs (id, title) VALUES ('key-{n}', 'old')" for n in range(40)))
        place.configure(TOML)
        for command in (["schema", "apply"], ["backfill", "--workers", "1"]):
            assert place.commands.run(*command).code == 0
        place.sql("UPDATE songs SET title = 'another' WHERE id = 'key-7'")
        assert place.commands.run("drift-report", "--workers", "1").code == 2
        yield place


@contextmanager
def dashboard(place: Place, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command on a free port, and the page's address."""
    process = place.commands.start("dashboard", "--port", "0", *options)
    try:
        assert process.stderr
        said = process.stderr.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+)/ shows the migration(; it asks for the token)?; Ctrl-C ends it\n$", said)
        assert found, said
        yield process, found[1]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def get(address: str, **headers: str) -> tuple[int, str]:
    """What is answered there."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def open_watcher(place: Place, **more: Any) -> Watcher:
    return Watcher(place.settings, load_config(place.commands.folder / "sync.toml"), **more)


@contextmanager
def running(watcher: Watcher) -> Iterator[Watcher]:
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()


def test_it_shows_what_status_says(home: Place) -> None:
    """Would break: the page and the command disagree on where the migration stands, or on what is wrong."""
    status = home.commands.run("status", "--json").json
    with dashboard(home) as (process, address):
        text = until(lambda: (t := get(address)[1]) and "gates green, judged at" in t and t, what="the gates are judged")
        plain = re.sub(r"<[^>]+>", "", text)
        assert f"{len(status['attention'])} thing" in plain and "Copied, not yet proved" in plain
        for gate in status["gates"]:
            assert gate["name"] in plain
        red = [gate["name"] for gate in status["gates"] if not gate["green"]]
        shown = re.findall(r"<b>([^<]+)</b><span class=\"hidden\"> is red:", text)
        assert shown == red and "writers" in red and "proof" in red
        assert 'href="/passes/1"' in text and "key-7" not in text
        with urllib.request.urlopen(f"{address}/events", timeout=60) as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            line = next(line for line in events if line.startswith(b"data: "))
        told = json.loads(line.removeprefix(b"data: "))
        assert told["title"] == "Copied, not yet proved · sync" and "songs" in told["parts"]["tables"]
        figures = get(f"{address}/metrics")[1]
        assert 'sync_up{server="postgres"} 1.0' in figures and 'sync_gate_green{gate="proof"} 0.0' in figures
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")


def test_ctrl_c_ends_it_while_somebody_looks(home: Place) -> None:
    """Would break: a browser that is left open keeps the command from ending, or the end is a traceback."""
    with dashboard(home) as (process, address), urllib.request.urlopen(f"{address}/events", timeout=60) as events:
        assert events.readline()
        for _ in range(2):  # impatiently
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, "stopped; nothing is lost. Resume with: sync dashboard --port 0\n")


def test_the_token_is_in_no_output(home: Place) -> None:
    """Would break: the token stands in a log, or its setting opens nothing."""
    with_token = Place(home.cassandra, home.settings, home.commands.but(SYNC_DASHBOARD_TOKEN=TOKEN))
    with dashboard(with_token) as (process, address):
        assert get(address)[0] == 401
        assert get(f"{address}/?token=wrong-wrong-wrong")[0] == 401
        assert get(address, authorization=f"Bearer {TOKEN}")[0] == 200
        assert get(f"{address}/?token={TOKEN}")[0] in (200, 401)  # this client keeps no cookie
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
    assert home.commands.line("dashboard", "--host", "0.0.0.0").startswith("--host 0.0.0.0: others can reach it there")
    with closing(__import__("socket").create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        assert home.commands.line("dashboard", "--port", port) == f"--host 127.0.0.1 --port {port}: Address already in use"


def test_keys_are_shown_only_if_asked_for(home: Place) -> None:
    """Would break: the report behind a link names the rows of an application's users."""
    for show_keys, count in ((False, 0), (True, 1)):
        with serving(open_watcher(home, show_keys=show_keys)) as address:
            code, text = get(f"{address}/passes/1")
            assert code == 200 and "1 difference" in text
            assert ("key-7" in text) is bool(count)
            code, text = get(f"{address}/passes/99")
            assert code == 404 and "There is no recorded drift pass 99." in text


def test_over_its_connection_nothing_can_be_written(home: Place) -> None:
    """Would break: a mistake in what reads the state changes it."""
    watcher = open_watcher(home)
    watcher._read()
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        watcher._connection.execute("DELETE FROM sync.sample")
    watcher._close()


MANY = """
INSERT INTO sync.run (kind, table_name, floor) SELECT 'backfill', 'made_up_' || n, 0 FROM generate_series(1, 199) AS n;
INSERT INTO sync.range (run_id, table_name, range_start, range_end, state)
SELECT id, table_name, (s - 32) * 288230376151711744, (s - 32) * 288230376151711744 + (288230376151711744 - (s = 63)::int),
       CASE WHEN s < 30 THEN 'done' WHEN s = 30 THEN 'running' ELSE 'pending' END
FROM sync.run, generate_series(0, 63) AS s WHERE table_name LIKE 'made_up_%'
"""


def test_two_hundred_tables_are_as_many_queries_as_one(home: Place) -> None:
    """Would break: a page costs a query a table; or one for each who looks."""
    asked = []
    watcher = open_watcher(home)
    try:
        for statements in ((), MANY.split(";")):
            home.sql(*statements)
            watcher._read()
            watcher._looked_at[HOUR.name], watcher._read_at[HOUR.name] = 1e9, -1e9
            with counted() as count:
                snapshot = watcher._read()
                watcher._samples()
            asked.append((len(snapshot.status["tables"]), count.postgres, count.cassandra))
        (one, first, _), (many, second, no) = asked
        assert (one, many, no) == (1, 200, 0) and first == second <= 25
        assert len(snapshot.rings) == 199
        ring = snapshot.rings["backfill", "made_up_7"]
        assert 55 <= len(ring) <= 60 and ring[0].start == 0 and ring[-1].end == pytest.approx(1)
        assert [arc.done for arc in ring[:25]] == [1.0] * 25 and any(arc.running for arc in ring)
        shared = open_watcher(home)
        with serving(shared) as address:
            until(lambda: "made_up_199" in get(address)[1], what="it has read everything")
            shared.stop()
            until(lambda: not any(thread.is_alive() for thread in shared._threads), what="it reads no more")
            with counted() as count:
                assert all(get(address)[0] == 200 for _ in range(5))
            assert count.postgres == 0
    finally:
        home.sql("DELETE FROM sync.run WHERE table_name LIKE 'made_up_%'")
        watcher._close()


def test_postgres_gone_and_back(home: Place) -> None:
    """Would break: the page is empty or an error while Postgres is away, looks as if it were of now, or never recovers."""
    with closing(Proxy("127.0.0.1", home.settings.postgres_port)) as proxy:
        settings = home.settings.model_copy(update={"postgres_port": proxy.port})
        with serving(Watcher(settings, load_config(home.commands.folder / "sync.toml"))) as address:
            until(lambda: "Copied, not yet proved" in get(address)[1], what="the first state")
            proxy.cut()
            text = until(lambda: (t := get(address)[1]) and "These figures are not of now." in t and t, what="it is away")
            assert re.search(r"since \d\d:\d\d:\d\d UTC", text) and "Copied, not yet proved" in text and "songs" in text
            assert get(f"{address}/passes/1")[0] == 503
            proxy.heal()
            until(lambda: "These figures are not of now." not in get(address)[1], what="it is back")


def test_a_server_that_says_nothing_is_away(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a connection that hangs leaves old figures on the page as if they were of now."""
    monkeypatch.setattr(watching, "SILENT_SECONDS", 1.0)
    with closing(Proxy("127.0.0.1", home.settings.postgres_port)) as proxy:
        settings = home.settings.model_copy(update={"postgres_port": proxy.port})
        with running(Watcher(settings, load_config(home.commands.folder / "sync.toml"))) as watcher:
            until(lambda: watcher.look(HOUR).snapshot, what="the first state")
            proxy.stall()
            seen = until(lambda: (s := watcher.look(HOUR)).why and s, what="it is away")
            assert seen.why.endswith("does not answer") and seen.snapshot is not None
            proxy.heal()
            until(lambda: not watcher.look(HOUR).why, what="it is back")


def test_before_and_after_the_migration_it_says_so(fresh: Place) -> None:
    """Would break: without a state schema the page is a server error."""
    fresh.sql("DROP SCHEMA IF EXISTS sync CASCADE")
    fresh.configure("schema_files = []\n")
    with serving(open_watcher(fresh)) as address:
        code, text = get(address)
        assert (
            code == 200
            and 'no migration has begun, or it is finished; run <code class="short">sync schema apply</code> first' in text
        )


# Samples


@pytest.mark.slow
def test_who_copies_and_compares_takes_samples(home: Place) -> None:
    """Would break: a copy that nobody looked at leaves no history; or a sample holds a key."""
    for command, kind in (("drift-report", "drift"), ("backfill", "backfill")):
        home.sql("DELETE FROM sync.sample")
        assert home.commands.run(command, "--workers", "1").code in (0, 2)
        taken = home.sql("SELECT figures FROM sync.sample ORDER BY at")
        assert {kind for (figures,) in taken for kind in figures["runs"]["rows"]} == {kind} and "key-" not in str(taken)
    worker = home.commands.start("worker", "--quiet")
    try:
        home.sql("DELETE FROM sync.sample")
        until(
            lambda: home.sql("SELECT count(*) FROM sync.sample")[0][0] >= 2, what="a worker that does nothing takes them, too"
        )
    finally:
        worker.terminate()
        home.commands.ended(worker)


def test_of_all_that_would_take_a_sample_one_does(home: Place) -> None:
    """Would break: with ten workers the history grows ten times as fast."""
    with closing(connect(home.settings, autocommit=True)) as one, closing(connect(home.settings, autocommit=True)) as other:
        one.execute("DELETE FROM sync.sample")
        assert sum(take_sample(connection) for connection in (one, other) * 20) <= 3  # slots end meanwhile
        assert home.sql("SELECT count(*) = count(DISTINCT date_bin('5 s', at, 'epoch')) FROM sync.sample") == [(True,)]


def test_history_is_thinned_after_a_day_and_forgotten_after_thirty(home: Place) -> None:
    """Would break: the table grows for as long as somebody's worker runs, or yesterday is gone."""
    home.sql(
        "DELETE FROM sync.sample",
        'INSERT INTO sync.sample SELECT at, \'{"intents": 0, "age": null, "writers": 0, "runs": {"rows": {}, "tables": {}}}\' '
        "FROM generate_series(date_bin('10 min', now(), 'epoch') - interval '40 d', now(), '60 s') AS at",
    )
    with closing(connect(home.settings, autocommit=True)) as connection:
        assert thin_samples(connection) > 0
        assert thin_samples(connection) <= 1, "what is thinned stays; a minute may have passed"
        left = home.sql(
            "SELECT count(*) FILTER (WHERE at > now() - interval '1 d'), count(*) FILTER (WHERE at <= now() - interval '1 d'), "
            "min(at) > now() - interval '30 d 1 min' FROM sync.sample"
        )
        recent, older, bounded = left[0]
        assert 1438 <= recent <= 1441 and 29 * 144 - 2 <= older <= 29 * 144 + 2 and bounded
        for window in WINDOWS.values():
            found = read_samples(connection, window)
            assert 0 < len(found) <= window.seconds / window.step_seconds + 2
            assert [sample.at for sample in found] == sorted(sample.at for sample in found)
    home.sql("DELETE FROM sync.sample")


def test_a_state_that_takes_no_samples_fails_no_command(home: Place) -> None:
    """Would break: a role that may not write the history cannot compare."""
    home.sql("DELETE FROM sync.sample", "ALTER TABLE sync.sample ADD CONSTRAINT none CHECK (false)")
    try:
        done = home.commands.run("drift-report", "--workers", "1")
        assert done.code in (0, 2) and done.err.count("history for the dashboard: ") == 1, done
    finally:
        home.sql("ALTER TABLE sync.sample DROP CONSTRAINT none")


def test_write_times_name_no_keys(home: Place) -> None:
    """Would break: a gate's figure quotes keys of rows on a page that hides them."""
    home.sql(
        "INSERT INTO sync.ahead (table_name, key, token, version, shown) VALUES ('songs', '', 1, 4e15, '{\"id\": \""
        + str(uuid4())
        + "\"}')"
    )
    try:
        judged = judge_gates(home.settings, load_config(home.commands.folder / "sync.toml"))
        (figure,) = (gate.figure for gate in judged.gates if gate.name == "write times")
        (hidden,) = (gate.figure for gate in judged.without_keys().gates if gate.name == "write times")
        assert "(id=" in figure and "id=" not in hidden and hidden.startswith("songs: 1 row written ahead of the clock")
    finally:
        home.sql("DELETE FROM sync.ahead")


# Continuous proof


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_passes_are_made_until_somebody_ends_it(home: Place, sign: signal.Signals, code: int) -> None:
    """Would break: passes that are not recorded, or a pass that is still running after its command has ended."""
    count = "SELECT count(*) FROM sync.drift_pass"
    before = home.sql(count)[0][0]
    process = home.commands.start("drift-report", "--continuous", "--rest", "0", "--workers", "1", "--format", "json")
    try:
        until(lambda: home.sql(count)[0][0] >= before + 2, what="two passes")
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(sign)
        done = home.commands.ended(process)
    finally:
        process.kill()
    assert done.code == code, done
    printed = [json.loads(line)["pass"] for line in done.out.splitlines()]  # the last may have been recorded alone
    assert printed and printed == list(range(before + 1, before + 1 + len(printed)))
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
