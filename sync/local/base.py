"""What the embedded servers have in common: ports and a pid that are remembered, start, stop, kill, wait until it answers."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil

from sync.errors import LocalServerError
from sync.local import ports, processes
from sync.local.processes import Mark

Report = Callable[[str], None]
_NEEDED_BYTES = 512 * 1024 * 1024


def quiet(line: str) -> None:
    """A report that nobody reads."""


@dataclass(frozen=True)
class ServerStatus:
    """What is known about one server; `detail` says in words what the other fields do not."""

    name: str
    running: bool
    answering: bool
    pid: int | None
    host: str
    port: int | None
    version: str | None
    detail: str


class Server(ABC):
    """One embedded server whose data, log and state live in `folder`."""

    name: ClassVar[str]
    program: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]] = ("client",)
    ready_seconds: ClassVar[float] = 60.0
    gentle_signal: ClassVar[int] = signal.SIGTERM

    def __init__(self, folder: Path, *, port: int | None = None, report: Report = quiet) -> None:
        self.folder = Path(folder).absolute().resolve()
        self.log = self.folder / "log" / "server.log"
        self.cancelled = threading.Event()
        self._wanted_port = port
        self._report = report
        self._started: psutil.Process | None = None

    # What each server says about itself

    @abstractmethod
    def ask(self) -> str:
        """Ask the server a real question; returns its version. Raises OSError or LocalServerError while it cannot answer."""

    @abstractmethod
    def mark(self) -> Mark:
        """How its process is recognised."""

    @abstractmethod
    def _launch(self, port: Mapping[str, int]) -> psutil.Process:
        """Write the configuration and start the process."""

    def _prepare(self) -> None:  # noqa: B027 (most servers need nothing)
        """Get everything that does not depend on ports: packages, an initialised data directory."""

    def _clear_leftovers(self) -> None:  # noqa: B027
        """Remove what an earlier crash left and what would stop a start."""

    # What every server can do

    @property
    def port(self) -> int:
        """The port clients connect to, chosen at the first start and kept while it is free."""
        return self._ports()["client"]

    @property
    def pid(self) -> int | None:
        """The pid of the running server, or None."""
        process = self._process()
        return None if process is None else process.pid

    def start(self, wait: bool = True, on_launch: Callable[[Server], None] = lambda server: None) -> bool:
        """Start the server unless it runs; returns whether it was started now. The data of an earlier run are kept."""
        if self._process() is not None:
            if wait:
                self.wait_ready()
            return False
        with _as_local_error(self.name, self.folder):
            self._make_folder()
            self._prepare()
            self._clear_leftovers()
            if self.cancelled.is_set():
                raise LocalServerError(f"{self.name}: the start was interrupted")
            self._started = self._launch(self._choose_ports())
            on_launch(self)
            self._remember(pid=self._started.pid)
        if wait:
            self.wait_ready()
        return True

    def wait_ready(self, seconds: float | None = None) -> None:
        """Wait until the server answers a query; raises with its last log line if it dies or takes too long."""
        limit = seconds or self.ready_seconds
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self.cancelled.is_set():
                raise LocalServerError(f"{self.name}: the start was interrupted")
            if self.answers():
                return
            if self._process() is None:
                raise LocalServerError(f"{self.name} died at its start: {self.last_words()} (log: {self.log})")
            self.cancelled.wait(0.1)
        raise LocalServerError(f"{self.name} did not answer within {limit:.0f} s: {self.last_words()} (log: {self.log})")

    def answers(self) -> bool:
        """Whether the server answers a query now."""
        try:
            self.ask()
        except (OSError, LocalServerError):
            return False
        return True

    def stop(self) -> None:
        """End the server gracefully; one that does not end is killed. Its data stay."""
        process = self._process()
        if process is not None:
            processes.end(process, self.mark(), self.gentle_signal)
        self._clear_leftovers()

    def kill(self) -> None:
        """SIGKILL the server and its children, as a crash would. Its data stay."""
        process = self._process()
        if process is not None:
            processes.kill(process, self.mark())

    def status(self) -> ServerStatus:
        """What is known about this server now."""
        pid, port = self.pid, self._state().get("client")
        version, detail = None, "not running"
        if pid is not None:
            try:
                version, detail = self.ask(), "ok"
            except (OSError, LocalServerError) as error:
                detail = f"runs, but does not answer: {error}"
        elif not self.folder.exists():
            detail = "never started"
        return ServerStatus(self.name, pid is not None, version is not None, pid, ports.LOOPBACK, port, version, detail)

    def last_words(self) -> str:
        """The last line of the log that says something: an error if there is one."""
        try:
            lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines()[-400:] if line.strip()]
        except OSError:
            return "it left no log"
        errors = [line for line in lines if any(word in line for word in ("ERROR", "FATAL", "PANIC", "Exception", "rror:"))]
        return (errors or lines or ["its log is empty"])[-1][:300]

    # State

    def _process(self) -> psutil.Process | None:
        mark = self.mark()
        if self._started is not None and mark.fits(self._started):
            return self._started
        self._started = processes.find(mark, self._state().get("pid"))
        return self._started

    def _make_folder(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < _NEEDED_BYTES:
            raise LocalServerError(
                f"{self.name} needs {_NEEDED_BYTES >> 20} MB of free disk, {self.folder} has {free >> 20} MB; make room"
            )

    def _choose_ports(self) -> dict[str, int]:
        """The remembered ports where they are still free, new ones where not; an explicit port must be free."""
        chosen: dict[str, int] = {}
        if self._wanted_port is not None and not ports.is_free(self._wanted_port):
            raise LocalServerError(
                f"{self.name}: port {self._wanted_port} is taken by {ports.holder(self._wanted_port)}; end it or choose another port"
            )
        known = self._state()
        for name in self.port_names:
            port = self._wanted_port if name == "client" and self._wanted_port is not None else known.get(name)
            if port is None or port in chosen.values() or not ports.is_free(port):
                port = ports.choose(set(chosen.values()))
            chosen[name] = port
        self._remember(**chosen)
        return chosen

    def _ports(self) -> dict[str, int]:
        state = self._state()
        if any(name not in state for name in self.port_names):
            raise LocalServerError(f"{self.name} has no port yet in {self.folder}; start it first")
        return {name: state[name] for name in self.port_names}

    def _state(self) -> dict[str, int]:
        """Ports and pid as remembered; a file that a crash damaged counts as none: everything in it can be found again."""
        try:
            content = json.loads((self.folder / "state.json").read_text())
        except (OSError, ValueError):
            return {}
        return {name: value for name, value in content.items() if isinstance(value, int)} if isinstance(content, dict) else {}

    def _remember(self, **values: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / "state.json.new"
        new.write_text(json.dumps({**self._state(), **values}))
        new.replace(self.folder / "state.json")


@contextmanager
def _as_local_error(name: str, folder: Path) -> Iterator[None]:
    """File-system trouble in one line with what to do about it."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        advice = {
            errno.ENOSPC: "the disk is full: make room",
            errno.EACCES: "no permission: choose another folder or fix its owner",
            errno.ENOTDIR: "a file is in the way: remove it",
            errno.EEXIST: "a file is in the way: remove it",
        }.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
        raise LocalServerError(f"{name} could not be started in {where}: {advice}") from error
