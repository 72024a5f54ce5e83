"""Hooks: sent once, to a real HTTP server; whatever becomes of it, nothing fails and no secret is told."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.hooks import PATH, Hook, hook
from support.running_commands import until

from sync.errors import SettingsError, Unreachable
from sync.notify_settings import NotifyTuning
from sync.settings import Config, Settings, load_config
from sync.wiring.notify import SilentWriters, notify, notify_backfill

SETTINGS = Settings(_env_file=None, astra_db_keyspace="music", postgres_password="hunter2-password")  # type: ignore[call-arg, arg-type]


@pytest.fixture
def listener() -> Iterator[Hook]:
    with hook() as made:
        yield made


def config(url: str, seconds: float = 30) -> Config:
    return Config(notify=NotifyTuning(url=url, timeout_seconds=seconds))  # type: ignore[arg-type]


def test_an_event_is_an_object(listener: Hook) -> None:
    """Would break: a receiver that reads `event` and `text` finds neither."""
    notify(SETTINGS, config(listener.url), "cutover", "Postgres is primary (epoch 2)", epoch=2, primary="postgres")
    (told,) = listener.told
    assert told.pop("at").endswith("+00:00")
    assert told == {
        "event": "cutover", "keyspace": "music", "text": "sync: Postgres is primary (epoch 2)", "epoch": 2, "primary": "postgres"
    }  # fmt: skip
    notify(SETTINGS, Config(), "cutover", "nobody is told")
    notify_backfill(SETTINGS, config(listener.url), [])
    assert listener.told[1]["event"] == "backfill done" and listener.told[1]["ok"] is True


@pytest.mark.parametrize(
    ("answer", "seconds", "why"),
    [
        (500, 30, "it answered 500"),
        (302, 30, "it answered 302"),
        ("silent", 0.3, "no answer in time"),
        ("drips", 0.3, "no answer in time"),
    ],
)
def test_a_failure_is_one_line(
    listener: Hook, caplog: pytest.LogCaptureFixture, answer: int | str, seconds: float, why: str
) -> None:
    """Would break: a sick receiver holds a command up, is asked again and again, or the log tells its secret address."""
    listener.answer = answer
    threads = set(threading.enumerate())
    with caplog.at_level(logging.WARNING, "sync"):
        notify(SETTINGS, config(listener.url, seconds), "pass clean", "drift pass 1: clean")
    assert caplog.messages == [f"notify: “pass clean” was not told: webhook at 127.0.0.1: {why}"]
    assert listener.asked == [f"POST {PATH}"]
    left = {t for t in set(threading.enumerate()) - threads if "process_request_thread" not in t.name}  # the receiver's
    assert not left and not psutil.Process().children(), "a thread that is left may hold a lock when a worker is forked"


def test_nobody_listens(caplog: pytest.LogCaptureFixture, listener: Hook) -> None:
    """Would break: a receiver that is down ends the command."""
    with hook() as gone:
        url = gone.url
    notify(SETTINGS, config(url), "rollback", "Astra is primary")
    notify(SETTINGS, config(f"https{listener.url[4:]}"), "rollback", "Astra is primary")  # it speaks no TLS
    assert len(caplog.messages) == 2 and caplog.messages[0].endswith("webhook at 127.0.0.1: Connection refused")
    assert PATH not in caplog.text


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "hunter2", "http://", "https://user:hunter2@host/", "http://[hunter2", "http://a:hunter2/"]
)
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    """Would break: a mistake is found when the first event is lost, or its message prints the secret in it."""
    (tmp_path / "sync.toml").write_text(f'[notify]\nurl = "{url}"\n')
    with pytest.raises(SettingsError, match=r"notify\.url: .*it must be http:// or https:// with a host") as told:
        load_config(tmp_path / "sync.toml")
    assert "hunter2" not in str(told.value)


def test_the_address_is_not_printed() -> None:
    """Would break: a traceback or a repr of the configuration tells it."""
    assert "hunter2" not in repr(config("https://host/hunter2"))


class Registry:
    """Writers whose heartbeats have these ages; None: Postgres is away. The clock goes on by a lease with each look."""

    def __init__(self, listener: Hook, seconds: float = 30) -> None:
        made = config(listener.url, seconds)
        self.ages: dict[str, float] | None = {}
        self.now = 0.0
        self.lease = made.dual_write.writer_lease_seconds
        self.silent = SilentWriters(SETTINGS, made, self._read, lambda: self.now)

    def _read(self, _: Settings) -> list[dict[str, Any]]:
        if self.ages is None:
            raise Unreachable("Postgres is away")
        return [{"id": name, "state": "active", "heartbeat_age_seconds": age} for name, age in self.ages.items()]

    def look(self, ages: dict[str, float] | None) -> None:
        self.ages = ages
        self.now += self.lease
        self.silent.look()


def test_after_an_outage_of_postgres_nobody_is_silent(listener: Hook) -> None:
    """Would break: Postgres is back, every heartbeat is as old as the outage, and people are told to fence all writers."""
    registry = Registry(listener)
    old = {"a": 300.0, "b": 300.0}
    for ages in ({"a": 1.0, "b": 1.0}, None, None, old, {"a": 1.0, "b": 2.0}, old, None, old, {"a": 3.0, "b": 3.0}):
        registry.look(ages)
    registry.look({"a": 1.0, "b": 99.0})
    registry.look({"a": 1.0, "b": 129.0})
    until(lambda: bool(listener.told), what="who is silent is told")
    until(lambda: registry.look({}) or registry.silent._sending is None, what="it is sent")
    (told,) = listener.told
    assert told["writers"] == [{"writer": "b", "heartbeat_age_seconds": 129.0}]
    assert told["text"] == "sync: 1 writer without a heartbeat: b (129 s); of those that have ended: sync writers --fence"


def test_many_silent_writers_are_one_message_that_nobody_waits_for(listener: Hook, caplog: pytest.LogCaptureFixture) -> None:
    """Would break: thirty messages, one after the other, to a receiver that hangs: the command goes round no more."""
    listener.answer = "silent"
    registry = Registry(listener, 0.3)
    ages = {f"w{n}": 99.0 for n in range(30)}
    registry.look(ages)
    registry.look(ages)
    assert registry.silent._sending and not registry.silent._sending.ended, "look() has returned before the answer"
    until(lambda: bool(listener.told), what="they are told")
    registry.look(ages | {"late": 99.0})
    registry.look(ages | {"late": 99.0})
    until(lambda: registry.look(ages | {"late": 99.0}) or len(listener.told) == 2, what="so is one that comes later")
    assert [len(told["writers"]) for told in listener.told] == [30, 1]
    assert caplog.messages[0] == "notify: “writer silent” was not told: webhook at 127.0.0.1: no answer in time"
    until(lambda: registry.look({}) or registry.silent._sending is None, what="the second is given up, too")


def test_ctrl_c_while_it_is_told(listener: Hook, caplog: pytest.LogCaptureFixture) -> None:
    """Would break: a switch that has happened ends with 130 and "Resume with: sync cutover"."""
    listener.answer = "silent"

    def interrupt() -> None:
        until(lambda: bool(listener.told), what="it is being told")
        os.kill(os.getpid(), signal.SIGINT)

    interrupted = threading.Thread(target=interrupt)
    interrupted.start()
    notify(SETTINGS, config(listener.url), "cutover", "Postgres is primary (epoch 2)")
    interrupted.join()
    assert caplog.messages == ["notify: “cutover” was not told: it was interrupted"]
    assert not psutil.Process().children(), "what sends it is gone"
