"""`sync dashboard`, samples and passes for weeks when something hangs or is killed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest
from support.places import NewPlace, Place
from support.proxies import Proxy
from support.running_commands import until

from sync.adapters.postgres.connection.connect import connect
from sync.core.dashboard.history import WINDOWS
from sync.settings import load_config
from sync.wiring.dashboard import sampler as sampling
from sync.wiring.dashboard import watcher as watching
from sync.wiring.dashboard.sampler import Sampler
from sync.wiring.dashboard.watcher import Watcher

pytest_plugins = ("support.fixtures",)


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    """A table that is copied."""
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id text PRIMARY KEY, title text)")
        place.cql(*(f"INSERT INTO KS.songs (id, title) VALUES ('key-{n}', 'old')" for n in range(40)))
        place.configure("schema_files = []\n")
        for command in (["schema", "apply"], ["backfill", "--workers", "1"]):
            assert place.commands.run(*command).code == 0
        yield place


def test_a_sample_that_gets_no_answer_is_given_up(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: whoever takes samples stands still for as long as Postgres, or somebody's lock, lets it wait."""
    monkeypatch.setattr(sampling, "ANSWER_SECONDS", 0.5)
    with closing(connect(home.settings)) as other:
        other.execute("LOCK TABLE sync.sample")
        sampler = Sampler(home.settings)
        thread = threading.Thread(target=sampler.tick, daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        assert sampler._next > time.monotonic() + 2, "the next attempt waits a multiple of that"
    home.sql("DELETE FROM sync.sample")
    Sampler(home.settings).tick()
    assert home.sql("SELECT count(*) FROM sync.sample") == [(1,)]


@pytest.mark.slow
def test_a_connection_that_leads_nowhere_is_given_up(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a host is lost without a word, another one takes over, and the page waits at the first one's connection."""
    monkeypatch.setattr(watching, "READ_SECONDS", 6.0)  # a read takes a second where the machine is slow
    with closing(Proxy("127.0.0.1", home.settings.postgres_port)) as proxy:
        settings = home.settings.model_copy(update={"postgres_port": proxy.port})
        watcher = Watcher(settings, load_config(home.commands.folder / "sync.toml"))
        watcher.start()
        try:
            hour = WINDOWS["hour"]
            until(lambda: watcher.look(hour).snapshot, what="the first state")
            proxy.strand()
            number = watcher.look(hour).number
            until(
                lambda: (s := watcher.look(hour)).number > number + 2 and not s.why,
                180,
                what="it reads over a new connection",
            )
        finally:
            watcher.stop()


@pytest.mark.slow
def test_an_error_that_nobody_expected_is_shown(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a thread ends without a word, and old figures or gates stay on the page as if they were of now."""

    def fails(*_: object) -> None:
        raise ValueError("planted private value")

    watcher = Watcher(home.settings, load_config(home.commands.folder / "sync.toml"))
    with monkeypatch.context() as patch:
        patch.setattr(watching, "gather", fails)
        patch.setattr(watching, "judge_gates", fails)
        watcher.start()
        seen = until(lambda: (s := watcher.look(WINDOWS["hour"])).why and s, what="it says so")
        until(lambda: watcher._judged_at, what="the gates have been tried")
    try:
        for why in (seen.why, watcher._judged.why):
            assert why.startswith("unexpected ValueError (test_dashboard_faults.py, line ") and "private" not in why
        until(lambda: not watcher.look(WINDOWS["hour"]).why, what="it reads again")
        until(lambda: not watcher._judged.why, what="it judges again")
    finally:
        watcher.stop()


def test_it_answers_to_the_address_that_it_was_given(home: Place) -> None:
    """Would break: `--host 127.0.0.2` asks for no token, and then answers nobody."""
    process = home.commands.start("dashboard", "--host", "127.0.0.2", "--port", "0")
    try:
        assert process.stderr
        found = re.match(r"(http://127\.0\.0\.2:\d+/) shows the migration", process.stderr.readline())
        assert found
        with urllib.request.urlopen(found[1], timeout=60) as answer:
            assert answer.status == 200
        strange = urllib.request.Request(found[1], headers={"host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(strange, timeout=60)
    finally:
        process.kill()
        process.communicate()


# Passes for weeks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signs", "code"),
    [([signal.SIGHUP], 0), ([signal.SIGTERM, signal.SIGTERM], 0), ([signal.SIGKILL], -signal.SIGKILL)],
    ids=["terminal closed", "told twice", "killed"],
)
def test_no_pass_outlives_the_command_that_started_it(home: Place, signs: list[signal.Signals], code: int) -> None:
    """Would break: a terminal that is closed, a kill, or impatience leaves a pass with its workers running on all cores."""
    with closing(connect(home.settings)) as other:
        other.execute("LOCK TABLE sync.range")  # until its worker is suspended: then the pass does not end by itself
        hangup = signal.signal(
            signal.SIGHUP, signal.SIG_DFL
        )  # where the tests run under nohup it is ignored, by children, too
        try:
            process = home.commands.start("drift-report", "--continuous", "--rest", "0", "--workers", "1", "--quiet")
        finally:
            signal.signal(signal.SIGHUP, hangup)
        command = psutil.Process(process.pid)
        children = until(lambda: len(c := _pass_of(command)) > 1 and c, what="a pass with a worker")
        for child in children:
            if child.ppid() != process.pid:
                child.suspend()
    try:
        for sign in signs:
            process.send_signal(sign)
            time.sleep(0.5)
        process.wait(240)
        left = [child for child in children if _runs(child)]
        assert process.returncode == code and (code or not left)
        until(lambda: not any(_runs(child) for child in children), what="the pass has ended, too")
    finally:
        for child in children:
            if _runs(child):
                child.kill()
        process.kill()
        process.communicate()


def _pass_of(command: psutil.Process) -> list[psutil.Process]:
    """The pass and its workers. Not their jobs' processes: one that is suspended keeps its rows, and nobody else has it end."""
    passes = command.children()
    return [*passes, *(worker for each in passes for worker in each.children())]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_pass_is_a_pass_of_this_program(home: Place) -> None:
    """Would break: a file sync.py in the folder where it is started is run in its place."""
    (home.commands.folder / "sync.py").write_text("raise SystemExit(0)\n")
    code = "import sys; from sync.commands.continuous import _one_pass; sys.exit(_one_pass(['--no-such-option']))"
    try:
        done = subprocess.run([sys.executable, "-P", "-c", code], cwd=home.commands.folder, capture_output=True, timeout=240)
    finally:
        (home.commands.folder / "sync.py").unlink()
    assert done.returncode == 1 and b"--no-such-option" in done.stderr
