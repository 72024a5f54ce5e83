"""Commands under way: what they print, their processes, their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Result:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The figures of `sync backfill --json` by table."""
        return {t["table"]: t for t in json.loads(self.out)["tables"]}


class Running:
    """A command under way, in a process group of its own, as a terminal makes one."""

    def __init__(self, arguments: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self._files = [folder / f"out-{time.monotonic_ns()}", folder / f"err-{time.monotonic_ns()}"]
        with self._files[0].open("wb") as out, self._files[1].open("wb") as err:
            self.process = subprocess.Popen(
                arguments, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        self.pid = self.process.pid

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def err(self) -> str:
        """What it has printed to stderr so far."""
        return self._files[1].read_text()

    def children(self) -> list[psutil.Process]:
        """Its processes: workers, and the processes that these forked for jobs."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def memory(self) -> float:
        """MiB of the largest of its processes, now."""
        sizes = [0.0]
        for process in (psutil.Process(self.pid), *self.children()):
            try:
                sizes.append(process.memory_info().rss / 2**20)
            except psutil.NoSuchProcess:
                continue
        return max(sizes)

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the whole group."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self, seconds: float = 300) -> Result:
        """Its end; a command that hangs is killed with all its processes and fails the test."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"hangs after {seconds} s; it said: {self.err[-2000:]}") from None
        return Result(code, self._files[0].read_text(), self._files[1].read_text())

    def kill_all(self) -> None:
        """SIGKILL to it and to everything that it started."""
        for process in [*self.children(), *([psutil.Process(self.pid)] if psutil.pid_exists(self.pid) else [])]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(10)


def until(true: Callable[[], Any], seconds: float = 60, what: str = "") -> Any:
    """Wait until this is true; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what or true}")
