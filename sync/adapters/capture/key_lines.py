"""The feed of `sync follow keys`: JSON lines of a file, or of what is piped in; its position is a byte and a line."""

from __future__ import annotations

import io
import math
import os
import select
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from sync.core.capture.changes import ChangeBatch, ChangedKey
from sync.core.capture.json_lines import changed_key
from sync.core.rows import SourceTable
from sync.errors import FeedUnreadable

_AT_ONCE = 1 << 19  # bytes: some thousands of lines
_POLL_SECONDS = 0.5


class KeyLines:
    """The lines of a file, or of the standard input (`path` None).

    A file ends with its last line, unless one waits for more; what is piped in ends when the other end closes it.
    """

    def __init__(self, name: str, path: Path | None, tables: Mapping[str, SourceTable], waits: bool = False) -> None:
        self.name, self._path, self._tables, self._waits = name, path, tables, waits

    def batches(self, position: str | None) -> Iterator[ChangeBatch]:
        """Batches of lines behind `position`. Raises FeedUnreadable, with the line's number, for what is no changed key."""
        if self._path is None:
            yield from self._read(sys.stdin.buffer.fileno(), 0, 0)
            return
        at, line = (int(part) for part in (position or "0 0").split())
        try:
            with self._path.open("rb", buffering=0) as file:
                if file.seek(0, io.SEEK_END) < at:
                    raise FeedUnreadable(
                        f"{self._path} is shorter than what was read of it: for another file choose another --name"
                    )
                file.seek(at)
                yield from self._read(file.fileno(), at, line)
        except OSError as error:
            raise FeedUnreadable(f"{self._path}: {error.strerror}") from None

    def _read(self, file: int, at: int, line: int) -> Iterator[ChangeBatch]:
        """Batches of whole lines; a last one without its end counts when there is nothing behind it."""
        rest, is_over = b"", False
        while not is_over:
            now = time.time()
            data = self._some(file)
            is_over = data == b""
            lines = (rest + (data or b"")).split(b"\n")
            rest = lines.pop()
            is_cut = is_over and rest != b""  # a last line without its end
            if is_cut:
                lines, rest = [*lines, rest], b""
            found, error = self._changes(lines, now)
            at += sum(len(each) + 1 for each in lines[: len(found)]) - (is_cut and not error)
            line += len(found)
            ends = is_over and self._path is not None and not error
            changes = tuple(change for change in found if change is not None)
            yield ChangeBatch(changes, (), f"{at} {line}", math.inf if ends else now)
            if error:
                raise FeedUnreadable(f"{self._path or 'standard input'}: line {line + 1}: {error}")

    def _some(self, file: int) -> bytes | None:
        """What can be read now; None: nothing, for the moment; empty: there is no more."""
        if self._path is None and not select.select([file], [], [], _POLL_SECONDS)[0]:
            return None
        data = os.read(file, _AT_ONCE)
        if not data and self._path is not None and self._waits:
            time.sleep(_POLL_SECONDS)
            return None
        return data

    def _changes(self, lines: list[bytes], now: float) -> tuple[list[ChangedKey | None], str]:
        """What these lines tell, None for an empty one, up to the first bad one; and what is wrong with that."""
        found: list[ChangedKey | None] = []
        for text in lines:
            try:
                found.append(changed_key(text, self._tables, now) if text.strip() else None)
            except ValueError as error:
                return found, str(error)
        return found, ""
