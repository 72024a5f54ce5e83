"""What people see: results to stdout, progress and logs to stderr; no animation off a terminal; NO_COLOR is respected."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from sync.core.visible import visible, visible_json, visible_lines
from sync.core.words import duration as duration
from sync.errors import SettingsError
from sync.json_log import JsonLines

_WIDE = 100_000  # off a terminal nothing is folded for a width that nobody has
_GAP = 2
_PRINT_SECONDS = 5.0


class _Shown(Console):
    """A console that shows a text, whatever is in it: an escape sequence in a key or an error is no order to the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(visible_lines(o) if isinstance(o, str) else o for o in objects), **options)


log = logging.getLogger(__name__)
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


def is_json_log() -> bool:
    """Whether everything on stderr is to be JSON lines."""
    return os.environ.get("SYNC_LOG") == "json"


def set_up_logging() -> None:
    """Warnings of this project and its libraries, a line each, to stderr; as JSON also what this project does meanwhile.

    Raises SettingsError where SYNC_LOG names no form.
    """
    if os.environ.get("SYNC_LOG", "") not in ("", "text", "json"):
        raise SettingsError("SYNC_LOG: it may be text or json")
    if is_json_log():
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        logging.basicConfig(level=logging.WARNING, handlers=[handler])
        logging.getLogger("sync").setLevel(logging.INFO)
        logging.getLogger("cassandra").setLevel(logging.ERROR)
        return
    shown: logging.Handler = logging.StreamHandler()
    shown.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))
    if err.is_terminal:
        shown = RichHandler(console=err, show_path=False)
        shown.setFormatter(_Lines("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[shown])
    # The driver reports what it cures itself (a closed connection, a schema that is being agreed upon).
    logging.getLogger("cassandra").setLevel(logging.ERROR)


def say(text: str, level: int = logging.INFO) -> None:
    """A line on what is being done, to stderr; the level is for JSON lines."""
    if is_json_log():
        log.log(level, "%s", text)
    else:
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
    """A result for people: numbers to the right, everything else to the left; of no rows only the title.

    No word is cut: a terminal that is too narrow for the table even with cells of several lines gets each row as a list.
    """
    shown = [[_cell(v) for v in row] for row in rows]
    if title:
        out.file.write(f"{visible_lines(title)}\n")
    if not shown:
        return
    widths = _widths([list(column) for column in zip(header, *shown, strict=True)], out.width if out.is_terminal else None)
    with out.capture() as captured:
        if widths is None:
            _print_lists(header, shown)
        else:
            table = _table(header, shown, widths)
            out.print(table, width=sum(widths) + _GAP * (len(widths) - 1), crop=False)
    out.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    out.file.flush()  # what is said of it on stderr comes after it


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for i, (name, width) in enumerate(zip(header, widths, strict=True)):
        numeric = all(row[i][:1].isdigit() or row[i] in ("-", "") for row in rows)
        table.add_column(name, justify="right" if numeric else "left", width=width)
    for row in rows:
        table.add_row(*map(Text, row))  # not as markup: a key may hold [brackets]
    return table


def _widths(columns: Sequence[Sequence[str]], room: int | None) -> list[int] | None:
    """How wide each column is, no word of it being cut; None where there is no room for that. `room` None: any width."""
    widths = [max(map(cell_len, column)) for column in columns]
    least = [max(cell_len(word) for text in column for word in (text.split() or [""])) for column in columns]
    if room is None:
        return widths
    room -= _GAP * (len(columns) - 1)
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=lambda i: widths[i])
        widths[widest] -= 1
    return widths


def _print_lists(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Each row as `name value` lines; what is empty has none."""
    names = [name or "-" for name in header]
    label = max(map(cell_len, names))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=False)
    table.add_column(width=label)
    table.add_column(overflow="fold")
    for i, row in enumerate(rows):
        if i:
            table.add_row()
        for name, text in zip(names, row, strict=True):
            if text:
                table.add_row(Text(name), Text(text))
    out.print(table)


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


@dataclass(frozen=True, slots=True)
class Line:
    """A line of progress; `state` is what of it counts as a change, if that is not all: not its rate, nor the time left."""

    text: str
    state: str = ""


class Status:
    """A block of lines that is drawn again on a terminal; elsewhere those that have changed are printed, with the time."""

    def __init__(self, live: Live | None = None, quiet: bool = False) -> None:
        self._live, self._quiet = live, quiet
        self._last, self._printed = -_PRINT_SECONDS, set[str]()

    def update(self, lines: Sequence[Line], final: bool = False) -> None:
        """Show these lines; off a terminal at most every few seconds, but for the final ones."""
        if self._live:
            self._live.update(Text("\n".join(visible(line.text) for line in lines)))
        elif not self._quiet and (final or time.monotonic() - self._last >= _PRINT_SECONDS):
            self._last = time.monotonic()
            for line in lines:
                if (line.state or line.text) not in self._printed:
                    say(line.text if is_json_log() else f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line.text}")
            self._printed = {line.state or line.text for line in lines}


@contextmanager
def status(quiet: bool = False) -> Iterator[Status]:
    """A status block for the time of a long work; a quiet one shows nothing."""
    if quiet or not err.is_terminal or is_json_log():
        yield Status(quiet=quiet)
        return
    with Live(console=err, refresh_per_second=4, transient=True) as live:
        yield Status(live)


def steps(quiet: bool) -> Callable[[str], None]:
    """What says a step of a long work: nothing, if it is to be quiet."""
    return (lambda _: None) if quiet else say
