"""What people see: results to stdout, progress and logs to stderr; no animation off a terminal; NO_COLOR is respected."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from sync.core.visible import visible, visible_json, visible_lines
from sync.errors import SettingsError

_WIDE = 200  # off a terminal nothing is folded for a width that nobody has


class _Shown(Console):
    """A console that shows a text, whatever is in it: an escape sequence in a key or an error is no order to the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(visible_lines(o) if isinstance(o, str) else o for o in objects), **options)


out = _Shown(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
err = _Shown(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


class _Lines(logging.Formatter):
    """A record in such lines."""

    def format(self, record: logging.LogRecord) -> str:
        return visible_lines(super().format(record))


def set_up_output() -> None:
    """Let stdout take any text: a locale whose characters are few must not end a report that took an hour."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def set_up_logging() -> None:
    """Warnings of this project and its libraries, a line each, to stderr."""
    shown: logging.Handler = logging.StreamHandler()
    shown.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))
    if err.is_terminal:
        shown = RichHandler(console=err, show_path=False)
        shown.setFormatter(_Lines("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[shown])
    # The driver reports what it cures itself (a closed connection, a schema that is being agreed upon).
    logging.getLogger("cassandra").setLevel(logging.ERROR)


def say(text: str) -> None:
    """A line on what is being done, to stderr."""
    err.print(text, markup=False)


def json_text(value: Any) -> str:
    """A result for programs, one line; in escapes where stdout does not take every character as it is."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    return visible_json(value, ascii_only=not unicode) + "\n"


def print_json(value: Any) -> None:
    """Write a result for programs."""
    out.file.write(json_text(value))
    out.file.flush()


def write_report(path: Path, text: str) -> None:
    """Write a result into a file that only its owner reads: it holds keys, and may hold values.

    A file that is there is replaced as a whole; a link is replaced, not followed. What is no file (a pipe, a terminal) is
    written into. Raises SettingsError, naming it.
    """
    with _file_errors(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_text(text, encoding="utf-8")
            return
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.unlink(missing_ok=True)
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
        new.replace(path)


def check_report(path: Path) -> None:
    """That a report can be written there, before an hour of work. Raises SettingsError."""
    with _file_errors(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():
            return
        probe = path.with_name(f".{path.name}.{os.getpid()}")
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        probe.unlink()


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(f"--output {path}: {error.strerror}") from None


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A result for people: numbers to the right, everything else to the left; of no rows only the title."""
    rows = list(rows)
    if not rows:
        out.file.write(f"{title}\n" if title else "")
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    shown = [[_cell(v) for v in row] for row in rows]
    for i, name in enumerate(header):
        numeric = all(row[i][:1].isdigit() or row[i] in ("-", "") for row in shown)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in shown:
        table.add_row(*map(Text, row))  # not as markup: a key may hold [brackets]
    with out.capture() as captured:
        out.print(table)
    out.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else visible(str(value))


@dataclass(slots=True)
class Rate:
    """Rows per second over the last seconds, and the time left at that rate."""

    window: float = 10.0
    points: list[tuple[float, int]] = field(default_factory=list)

    def add(self, rows: int) -> float:
        """Note a count; the present rate."""
        now = time.monotonic()
        self.points = [p for p in self.points if now - p[0] <= self.window] + [(now, rows)]
        (since, before), elapsed = self.points[0], now - self.points[0][0]
        return (rows - before) / elapsed if elapsed > 0 and since < now else 0.0


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


class Status:
    """A block of lines that is drawn again on a terminal, and printed every few seconds elsewhere."""

    def __init__(self, live: Live | None) -> None:
        self._live, self._last = live, 0.0

    def update(self, lines: list[str], final: bool = False) -> None:
        """Show these lines."""
        if self._live:
            self._live.update(Text("\n".join(map(visible, lines))))
        elif final or time.monotonic() - self._last >= 5:
            self._last = time.monotonic()
            for line in lines:
                say(line)


@contextmanager
def status() -> Iterator[Status]:
    """A status block for the time of a long work."""
    if not err.is_terminal:
        yield Status(None)
        return
    with Live(console=err, refresh_per_second=4, transient=True) as live:
        yield Status(live)
