"""Hooks: sent once, to a real HTTP server; whatever becomes of it, nothing fails and no secret is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hooks import PATH, Hook, hook

from sync.errors import SettingsError
from sync.notify_settings import NotifyTuning
from sync.settings import Config, Settings, load_config
from sync.wiring.notify import notify, notify_backfill

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
    with caplog.at_level(logging.WARNING, "sync"):
        notify(SETTINGS, config(listener.url, seconds), "pass clean", "drift pass 1: clean")
    assert caplog.messages == [f"notify: “pass clean” was not told: webhook at 127.0.0.1: {why}"]
    assert listener.asked == [f"POST {PATH}"]


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
