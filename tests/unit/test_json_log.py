"""Logs as JSON lines: what is in one, and what never is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from sync import console
from sync.errors import SettingsError
from sync.json_log import JsonLines


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What a logger of this test writes."""
    found: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = self.format(record)
            assert "\n" not in text and text.isascii()
            found.append(json.loads(text))

    handler, logger = Kept(), logging.getLogger("sync.test_json_log")
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)


def test_a_record_is_one_object(lines: list[dict[str, Any]]) -> None:
    """Would break: a text of two lines is two records, or an escape sequence in a key reaches the terminal."""
    logging.getLogger("sync.test_json_log").warning(
        "%s: a\nb\x1b[2J", "songs", extra={"table": "songs", "keys": 0, "range": None}
    )
    (line,) = lines
    assert line.pop("time").endswith("+00:00") and line.pop("process") > 0
    assert line == {
        "level": "warning", "logger": "sync.test_json_log", "message": "songs: a\nb\x1b[2J", "table": "songs", "keys": 0
    }  # fmt: skip


@pytest.mark.leaks
def test_an_exception_is_told_without_its_text(lines: list[dict[str, Any]]) -> None:
    """Would break: an error of a library quotes a row's values into the log."""
    try:
        raise ValueError("hunter2")
    except ValueError:
        logging.getLogger("sync.test_json_log").exception("no heartbeat")
    (line,) = lines
    assert line["exception"] == "ValueError" and "test_json_log.py:" in line["at"][0]
    assert "hunter2" not in json.dumps(line)


def test_the_variable_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: SYNC_LOG=JSON is passed over, and a collector gets text."""
    for value, is_json in (("json", True), ("text", False), ("", False)):
        monkeypatch.setenv("SYNC_LOG", value)
        assert console.is_json_log() is is_json
    monkeypatch.setenv("SYNC_LOG", "JSON")
    with pytest.raises(SettingsError, match="SYNC_LOG: it may be text or json"):
        console.set_up_logging()
