"""Tables that fit, and progress that is printed when it changes."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from unittest.mock import patch

import pytest

from sync import console
from sync.commands.backfill import Progressing
from sync.console import Line, Status, print_table
from sync.core.throttle import Throttled
from sync.ports import Progress

HEADER = ("table", "ranges done", "of", "rows written", "already there", "clean passes", "last error")
ROWS = [
    ("embeddings", 64, 64, 3_000, 0, "0 of 2", ""),
    ("genres", 1, 1, 5, 0, "0 of 2", "its worker died three times without getting on"),
]
KEY = "id=3c6ef372-fe94-482b-a739-80c0b9db906a"


def on_a_terminal(width: int) -> console._Shown:
    """A terminal's stdout of this width, without its colours."""
    return console._Shown(force_terminal=True, width=width, highlight=False, no_color=True, file=io.StringIO())


def shown(width: int, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> list[str]:
    out = on_a_terminal(width)
    with patch.object(console, "out", out):
        print_table("Title", header, rows)
    assert isinstance(out.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.file.getvalue()).splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_a_table_fits_a_terminal_and_no_word_is_cut(width: int) -> None:
    """Would break: `embed` on one line and `dings` on the next, and columns that cannot be read."""
    lines = shown(width, HEADER, ROWS)
    assert max(map(len, lines)) <= width
    words = {word for text in [*HEADER, *(str(cell) for row in ROWS for cell in row)] for word in text.split()}
    assert words <= {word.replace(",", "") for line in lines for word in line.split()}


def test_where_there_is_room_a_row_is_a_line() -> None:
    """Would break: a list where a table fits."""
    lines = shown(140, HEADER, ROWS)
    assert [line.split()[0] for line in lines] == ["Title", "table", "embeddings", "genres"]


def test_a_row_that_does_not_fit_is_a_list() -> None:
    """Would break: a key that nobody can copy in full."""
    lines = shown(60, ("id", "table", "key", "state", ""), [(1, "songs", KEY, "finished", "")])
    assert lines == ["Title", "id     1", "table  songs", f"key    {KEY}", "state  finished"]


def test_off_a_terminal_a_row_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Would break: `sync rejects | grep` finds half a reason."""
    print_table("", ("key", "reason"), [("k", "long " * 100 + "end")])
    header, row = capsys.readouterr().out.splitlines()
    assert header.startswith("key  reason")
    assert row.endswith("end")


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is printed to stderr, while the clock advances by six seconds at each reading."""
    lines: list[str] = []
    times = iter(range(6, 10_000, 6))
    with patch.object(console, "say", lines.append), patch.object(console.time, "monotonic", lambda: float(next(times))):
        yield lines


def test_off_a_terminal_only_what_has_changed_is_printed_with_the_time(said: list[str]) -> None:
    """Would break: a log gets 200 lines every five seconds, none with the time."""
    status = Status()
    status.update([Line("a: 1 of 9, 5 rows/s", "a: 1 of 9"), Line("b: waits")])
    status.update([Line("a: 1 of 9, 2 rows/s", "a: 1 of 9"), Line("b: waits")])
    status.update([Line("a: 2 of 9, 7 rows/s", "a: 2 of 9"), Line("b: waits")])
    assert [line[20:] for line in said] == ["a: 1 of 9, 5 rows/s", "b: waits", "a: 2 of 9, 7 rows/s"]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in said)


def test_quiet_prints_no_progress(said: list[str]) -> None:
    """Would break: a cron job mails its progress."""
    with console.status(quiet=True) as status:
        status.update([Line("a: 1 of 9")], final=True)
    console.steps(True)("a step")
    assert said == []
    console.steps(False)("a step")
    assert said == ["a step"]


def test_a_copy_that_stands_still_says_nothing_new(said: list[str]) -> None:
    """Would break: the rate and the time left count as changes, and every line is printed again."""
    progressing = Progressing(Status())
    for rows in (10, 10, 20):
        progressing.show([Progress("songs", 4, 1, 1, 0, rows, rows, 0, 0, 0, 0, None, 1.0)])
    assert len(said) == 2
    assert "songs: 1/4 ranges, 20 rows, " in said[1]


def test_a_throttle_is_shown_and_is_said_once(said: list[str]) -> None:
    """Would break: a copy that rests looks as if it hung; or each figure of the latency is a line of the log."""
    progressing = Progressing(Status())
    found = Progress("songs", 4, 1, 1, 0, 10, 10, 0, 0, 0, 0, None, 1.0)
    for state in (None, Throttled("target", time.time() - 123, 48, 20, 0.25), Throttled("target", 9.0, 51, 20, 0.125), None):
        progressing.show([replace(found, throttled=state)])
    assert len(said) == 3
    assert ", throttled to 25 % for 2m03s: Postgres takes 48 ms (limit 20)" in said[1]
    assert "throttled" not in said[2]
