"""A class that is wrapped without its successor (`new=None`): no cut-over passes it, however the two meet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from support.backfills import until
from support.commands import environment
from support.dual import Table
from support.places import Place
from support.prepared_places import home_of
from support.reverse import authority, be_primary

from sync.errors import SettingsError, StillOpen
from sync.settings import Config, DualWriteTuning
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.2, max_wait_seconds=5))
PAUSE = 20.0
WRITES: Any = {"save": lambda song: ("songs", {"id": song})}
home = home_of(CONFIG, songs="id uuid PRIMARY KEY, title text")


class Songs:
    def save(self, song: Any) -> str:
        return "saved"


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """The source is primary, no switch is under way, no writer is registered."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        opened.sql("UPDATE sync.switch SET finished_at = clock_timestamp(), state = 'abandoned' WHERE finished_at IS NULL")
        opened.sql("UPDATE sync.epoch SET state = 'open' WHERE epoch = (SELECT max(epoch) FROM sync.epoch)")
        opened.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        opened.sql("UPDATE sync.writer SET state = 'signed_off'")
        be_primary(opened, "astra")
        yield opened


@pytest.fixture(autouse=True)
def application(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment and sync.toml of an application."""
    home.configure("schema_files = []\n[dual_write]\nheartbeat_seconds = 0.2\nmax_wait_seconds = 5\n")
    for name, value in environment(home.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SYNC_CONFIG", str(home.commands.folder / "sync.toml"))


def writers(table: Table) -> list[tuple[Any, ...]]:
    return table.sql("SELECT settings ->> 'wraps' FROM sync.writer WHERE state = 'active'")


@pytest.mark.parametrize("closing_too", [False, True])
def test_one_that_starts_during_a_switch_stops_it(table: Table, closing_too: bool) -> None:
    """Would break: the gates were judged before it came, and after the cut-over every call of it fails."""
    with authority(table) as epochs:
        switch = epochs.begin("cutover")
        if closing_too:
            epochs.close(switch, PAUSE)
        with DualWriteStore.wrap(Songs(), None, WRITES):
            (stands_in_the_way,) = epochs.not_ready(switch)
            assert "`new` is None" in stands_in_the_way.why
            if closing_too:
                with pytest.raises(StillOpen, match="`new` is None"):
                    epochs.switch_primary(switch, {})
        assert epochs.not_ready(switch) == []
        epochs.abandon(switch, "test")


def test_it_does_not_stop_a_rollback(table: Table) -> None:
    """Would break: a process that lacks `new` makes the way back impossible, which would help it."""
    be_primary(table, "postgres")
    name = table.writer().name
    with authority(table) as epochs:
        switch = epochs.begin("rollback")
        table.sql('UPDATE sync.writer SET settings = \'{"wraps": "astra"}\', acknowledged = %s WHERE id = %s', (switch, name))
        assert epochs.not_ready(switch) == []
        epochs.abandon(switch, "test")


def test_its_registration_says_so_from_the_first_moment(table: Table) -> None:
    """Would break: the gates are judged between its registration and the moment when it says that `new` is None."""
    seen: list[Any] = []

    def watch(frame: Any, event: str, _: object) -> None:
        if event == "return" and frame.f_code.co_name == "register_with_slot":
            seen.append(writers(table))

    sys.setprofile(watch)
    try:
        wrapped = DualWriteStore.wrap(Songs(), None, WRITES)
    finally:
        sys.setprofile(None)
    with wrapped:
        assert seen == [[("astra",)]]


def test_one_that_registers_while_the_primary_changes_does_not_start(table: Table) -> None:
    """Would break: it registers after the switch has looked at the writers, and believes in the epoch from before."""
    with authority(table) as epochs, ThreadPoolExecutor(1) as threads:
        switch = epochs.begin("cutover")
        epochs.close(switch, PAUSE)
        started: list[Future[Any]] = []

        def start_one() -> str:
            started.append(threads.submit(DualWriteStore.wrap, Songs(), None, WRITES))
            until(lambda: writers(table))
            return ""

        epoch, _ = epochs.switch_primary(switch, {}, start_one)
        assert epoch.primary == "postgres"
        with pytest.raises(SettingsError, match="new") as refused:
            started[0].result(30)
        assert "\n" not in str(refused.value)
    until(lambda: not writers(table))


@pytest.mark.parametrize("backend", ["", "postgres"])
def test_it_does_not_start_where_postgres_is_primary(table: Table, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Would break: an application starts, and every request of it fails."""
    be_primary(table, "postgres")
    monkeypatch.setenv("STORAGE_BACKEND", backend)
    with pytest.raises(SettingsError, match="no class for it"):
        DualWriteStore.wrap(Songs(), None, WRITES)
    assert writers(table) == []


def test_one_that_was_fenced_and_slept_through_the_cut_over_says_why(table: Table) -> None:
    """Would break: 'NoneType' object has no attribute 'save'."""
    with DualWriteStore.wrap(Songs(), None, WRITES) as wrapped:
        table.sql("UPDATE sync.writer SET state = 'signed_off'")
        be_primary(table, "postgres")
        until(lambda: wrapped._calls.primary == "postgres")
        for call in (lambda: wrapped.save(uuid4()), lambda: wrapped.title):
            with pytest.raises(SettingsError, match="no class for it"):
                call()
