"""`sync status`, its next step and the gates agree."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from uuid import uuid4

import pytest
from support.places import NewPlace, Place
from support.running_commands import until

from sync.settings import load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
BASE = "schema_files = []\n[dual_write]\nheartbeat_seconds = 0.2\n"


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    """Two tables, copied and proved, which every test leaves as they were."""
    with new_place() as place:
        place.cql(
            "CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)",
            "CREATE TABLE KS.genres (id uuid PRIMARY KEY, name text)",
            f"INSERT INTO KS.songs (id, title) VALUES ({uuid4()}, 'old')",
        )
        place.configure(BASE)
        for command in (["schema", "apply"], ["backfill", "--workers", "1"]):
            assert place.commands.run(*command).code == 0
        for _ in range(2):
            assert place.commands.run("drift-report", "--workers", "1").code == 0
        yield place


def agree(home: Place) -> tuple[str, str, list[str]]:
    """Phase and next step of `sync status`, and the red gates, which the cut-over shows as well."""
    status = home.commands.run("status", "--json").json
    gates = home.commands.run("cutover", "--dry-run", "--json").json["gates"]
    red = [gate["name"] for gate in gates if not gate["green"]]
    assert [g["name"] for g in status["gates"] if not g["green"]] == red
    assert (status["phase"] == "proved") is (red == []), status
    return status["phase"], status["next_step"], red


def test_proved_is_what_the_gates_call_proved(home: Place) -> None:
    """Would break: status says "proved" by last week's pass while the cut-over refuses, or the other way round."""
    assert agree(home) == ("backfilled", "verify with `sync migrate`, or begin to write to both sides", ["writers"])
    with DualWriteStore(home.settings, load_config(home.commands.folder / "sync.toml")):
        assert agree(home) == ("proved", "sync cutover --dry-run shows the gates; sync cutover makes Postgres primary", [])
        home.sql("INSERT INTO sync.disturbance (table_name, why) VALUES ('songs', 'an intent was resolved by hand')")
        assert agree(home) == ("backfilled", "compare both sides: sync drift-report, twice; --table for one table", ["proof"])
        home.sql("DELETE FROM sync.disturbance")
        home.sql("ALTER TABLE songs ADD COLUMN extra text")
        assert agree(home)[2] == ["proof"], "the passes saw another schema"
        home.sql("ALTER TABLE songs DROP COLUMN extra")
        assert agree(home)[0] == "proved"


def test_passes_are_shown_and_tables_that_are_left_out_are_not(home: Place) -> None:
    """Would break: a table that is left out stays unfinished forever, or nothing says how often a table was proved."""
    tables = {t["table"]: t["clean_passes"] for t in home.commands.run("status", "--json").json["tables"]}
    assert tables == {"songs": 2, "genres": 2}
    home.configure('exclude = ["genres"]\n' + BASE)
    try:
        done = home.commands.run("status")
        listed, _, rest = done.out.partition("intents:")
        assert "genres" not in listed and "2 of 2" in listed and "last drift pass: 2, clean" in rest
        assert "public.genres has triggers, and is not a table of the migration" in rest, "what SQL does there would be sent"
    finally:
        home.configure(BASE)


def test_nothing_is_shown_of_what_there_is_none(fresh: Place) -> None:
    """Would break: empty tables are shown with headers, which look like an error."""
    fresh.cql("CREATE TABLE IF NOT EXISTS KS.alone (id uuid PRIMARY KEY)")
    fresh.configure('schema_files = []\nonly = ["alone"]\n')
    assert fresh.commands.run("schema", "apply").code == 0
    done = fresh.commands.run("status")
    assert done.code == 0 and "ranges done" not in done.out and "heartbeat" not in done.out
    assert done.out.rstrip().endswith("next: sync backfill")
    for command in ("writers", "intents", "rejects"):
        shown = fresh.commands.run(command).out
        assert "heartbeat" not in shown and "last error" not in shown and "reason" not in shown, shown


def test_a_source_that_is_away_is_said(home: Place) -> None:
    """Would break: status, of all commands, does not answer when something is down; or says proved without having looked."""
    commands = home.commands.but(CASSANDRA_CONTACT_POINTS="127.0.0.1", CASSANDRA_PORT="1")
    done = commands.run("status", "--json")
    assert done.code == 0 and done.json["phase"] == "backfilled" and done.json["gates"] == []
    assert done.json["next_step"].startswith("the gates could not be evaluated: Cassandra at 127.0.0.1:1")


@pytest.mark.parametrize(
    ("sign", "code", "said"),
    [
        (signal.SIGINT, 130, "stopped; what the workers held is free for others. Resume with: sync worker -n 1\n"),
        (signal.SIGTERM, 0, ""),
    ],
)
def test_how_a_worker_ends(home: Place, sign: signal.Signals, code: int, said: str) -> None:
    """Would break: a script cannot tell Ctrl-C from a requested end, or a service manager sees a failure."""
    worker = home.commands.start("worker", "-n", "1")
    try:
        assert worker.stderr
        assert worker.stderr.readline() == "1 worker on the queue `sync`; Ctrl-C ends it after the present job\n"
        until(lambda: home.commands.run("status", "--json").json["workers"] == 1, 20, "the worker is there")
        worker.send_signal(sign)
        out, err = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert (worker.returncode, out, err) == (code, "", said)


def test_nobody_is_told_to_run_a_worker_that_runs(home: Place) -> None:
    """Would break: status says "run `sync worker`" while one runs, and does not name what it cannot settle."""
    home.sql(
        "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner, attempts, error, lease_until) "
        "VALUES ('songs', '', 0, 'put', 'finished', 1, 1, 'w', 3, 'refused', 'infinity')"
    )
    assert agree(home)[1] == "1 key to be reconciled: run `sync worker`"
    worker = home.commands.start("worker")
    try:
        until(lambda: home.commands.run("status", "--json").json["workers"] == 1, what="the worker is there")
        assert agree(home)[1].startswith("1 key being reconciled by 1 worker; `sync intents` shows")
    finally:
        worker.terminate()
        worker.wait(20)
        home.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")


def test_a_scheduler_learns_whether_somebody_should_look(home: Place) -> None:
    """Would break: the check says nothing of a key that cannot be reconciled, or is loud while all is well."""
    with DualWriteStore(home.settings, load_config(home.commands.folder / "sync.toml")):
        done = home.commands.run("status", "--check")
        assert (done.code, done.out) == (0, "")
        home.sql("INSERT INTO sync.writer (id, slot, host, pid, epoch, state) VALUES ('gone:1', 900, 'h', 1, 1, 'unclean')")
        try:
            done = home.commands.run("status", "--check")
            assert (done.code, done.out.splitlines()) == (
                2, ["writer gone:1 ended without signing off, or was fenced: sync drift-report --repair clears it"]
            )  # fmt: skip
            assert home.commands.run("status", "--json").json["attention"] == done.out.splitlines()
        finally:
            home.sql("DELETE FROM sync.writer WHERE id = 'gone:1'")


def test_it_watches_until_ctrl_c(home: Place) -> None:
    """Would break: off a terminal the same lines come every second, a change does not come, or Ctrl-C is an error."""
    watch = home.commands.start("status", "--watch", "1")
    try:
        assert watch.stdout
        first = [watch.stdout.readline() for _ in range(2)]
        assert first[1].startswith("epoch 1, primary astra")
        home.sql("INSERT INTO sync.disturbance (table_name, why) VALUES ('songs', 'an intent was resolved by hand')")
        until(lambda: "resolved by hand" in watch.stdout.readline(), what="the change is shown")  # type: ignore[union-attr]
        watch.send_signal(signal.SIGINT)
        _, said = watch.communicate(timeout=60)
    finally:
        watch.kill()
        home.sql("DELETE FROM sync.disturbance")
    assert (watch.returncode, said) == (130, "stopped; nothing is lost. Resume with: sync status --watch 1\n")
