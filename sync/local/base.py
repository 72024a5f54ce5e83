"""What the embedded servers have in common: start, stop, kill, wait for an answer, status."""

from __future__ import annotations

import errno
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
from sync.local.memory import Memory
from sync.local.processes import Mark

Report = Callable[[str], None]

_NEEDED_BYTES = 512 * 1024 * 1024
_PORT_RACES = 3
_TROUBLE = (
    "ERROR",
    "FATAL",
    "PANIC",
    "Exception",
    "rror:",
    "rror occurred",
    "nrecognized",
    "LOG:  invalid",
    "LOG:  parameter",
)
# True, but they only repeat that there was an error before.
_HOLLOW = (
    "contains errors",
    "A fatal exception has occurred",
    "Could not create the Java Virtual Machine",
    "database system is shut down",
)


def quiet(line: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class ServerStatus:
    """What is known about one server; `detail` puts into words what the other fields do not say."""

    name: str
    running: bool
    answering: bool
    pid: int | None
    host: str
    port: int | None
    version: str | None
    detail: str


class Server(ABC):
    """One embedded server whose data, logs and state live in `folder`."""

    name: str
    program: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]] = ("client",)
    ready_seconds: ClassVar[float] = 60.0
    private: ClassVar[bool] = True  # nobody else may read the folder: it holds the data
    gentle_signal: ClassVar[int] = signal.SIGTERM

    def __init__(self, folder: Path, *, port: int | None = None, report: Report = quiet, host: str = ports.LOOPBACK) -> None:
        self.folder = Path(folder).absolute().resolve()
        self.log = self.folder / "log" / "server.log"
        self.launched = False  # by this object
        self.cancelled = threading.Event()
        self._wanted_port = port
        self._report = report
        self.host = host
        self._memory = Memory(self.folder, self.name, host)
        self._known: psutil.Process | None = None

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
        """Prepare everything that does not depend on ports: packages, an initialised data directory."""

    def _clear_leftovers(self) -> None:  # noqa: B027
        """End and remove what an earlier crash left behind and what would prevent a start."""

    def _is_ready(self) -> bool:
        """Whether it answers a query now, after whatever has to be done first."""
        return self.answers()

    @property
    def logs(self) -> tuple[Path, ...]:
        """Its log files, the most informative one last."""
        return (self.log,)

    @property
    @abstractmethod
    def password(self) -> str:
        """Its generated password; "" while it asks for none."""

    # What every server can do

    @property
    def port(self) -> int:
        """The port clients connect to, chosen at the first start and kept while it is free."""
        return self._memory.ports(self.port_names)["client"]

    @property
    def pid(self) -> int | None:
        """The pid of the running server, or None."""
        process = self._process()
        return None if process is None else process.pid

    def start(self, wait: bool = True) -> bool:
        """Start the server unless it is running; returns whether it was started now. Data of an earlier run are kept."""
        if self._process() is not None:
            if wait:
                self.wait_ready()
            return False
        for races_left in reversed(range(_PORT_RACES)):
            self._start_once()
            if not wait:
                break
            try:
                self.wait_ready()
                break
            except LocalServerError:
                if not races_left or not self._lost_its_port():
                    raise
        return True

    def wait_ready(self, seconds: float | None = None) -> None:
        """Wait until the server answers a query; raises with its last log line if it dies or takes too long."""
        limit = seconds or self.ready_seconds
        deadline = time.monotonic() + limit
        while True:
            if self._is_ready():
                return
            self.check_cancelled()
            if self._process() is None:
                raise LocalServerError(
                    f"{self.name} died during startup: {self.last_words()} (log: {self.logs[-1]}); "
                    f"if its data are damaged, remove {self.folder} and start again"
                )
            if time.monotonic() > deadline:
                raise LocalServerError(
                    f"{self.name} did not answer within {limit:.0f} s: {self.last_words()} (log: {self.logs[-1]})"
                )
            self.cancelled.wait(0.1)

    def answers(self) -> bool:
        """Whether the server answers a query now."""
        try:
            self.ask()
        except (OSError, LocalServerError):
            return False
        return True

    def check_cancelled(self) -> None:
        """Raise if this start was cancelled."""
        if self.cancelled.is_set():
            raise LocalServerError(f"{self.name}: the start was interrupted")

    def stop(self, grace: float = processes.GRACE_SECONDS) -> None:
        """End the server gracefully; one that does not end is killed. Its data stay."""
        process = self._process()
        if process is not None:
            processes.end(process, self.mark(), self.gentle_signal, grace)
        self._clear_leftovers()

    def kill(self) -> None:
        """SIGKILL the server and its children, as a crash would. Its data stay."""
        process = self._process()
        if process is not None:
            processes.kill(process, self.mark())

    def remove(self) -> None:
        """End the server and remove its folder."""
        self.stop(grace=10.0)
        with plain_errors(self.name, self.folder):
            if self.folder.is_dir():
                shutil.rmtree(self.folder)

    def status(self) -> ServerStatus:
        """What is known about this server now."""
        pid, port = self.pid, self._memory.read().get("client")
        version, detail = None, "not running"
        if pid is not None:
            try:
                version, detail = self.ask(), "ok"
            except (OSError, LocalServerError) as error:
                detail = f"runs, but does not answer: {error}"
        elif port is None:
            detail = "never started"
        return ServerStatus(self.name, pid is not None, version is not None, pid, self.host, port, version, detail)

    def last_words(self) -> str:
        """The last line of its logs that says something: an error if there is one."""
        lines: list[str] = []
        for log in self.logs:
            try:
                found = log.read_text(errors="replace").splitlines()[-400:]
            except FileNotFoundError:
                continue
            lines += [line.strip() for line in found if line.strip() and not any(words in line for words in _HOLLOW)]
        errors = [line for line in lines if any(word in line for word in _TROUBLE) and not line.startswith("at ")]
        return (errors or lines or ["it said nothing"])[-1][:300]

    # Details

    def _start_once(self) -> None:
        with plain_errors(self.name, self.folder):
            self._make_folder()
            self._prepare()
            self._clear_leftovers()
            before = self._memory.read().get("client")
            chosen = self._memory.choose_ports(self.port_names, self._wanted_port)
            if before not in (None, chosen["client"]):
                self._report(f"{self.name}: port {before} is taken by {ports.holder(before or 0)}; using {chosen['client']}")
            for log in self.logs:
                if log.exists():
                    log.replace(log.with_name(f"{log.name}.before"))
            self.check_cancelled()
            self._known = self._launch(chosen)
            self.launched = True
            self._memory.write(pid=self._known.pid)

    def _lost_its_port(self) -> bool:
        """Whether it died because somebody took a port between our choice and its use."""
        if self._process() is not None:
            return False
        return not all(ports.is_free(port, self.host) for port in self._memory.ports(self.port_names).values())

    def _process(self) -> psutil.Process | None:
        mark = self.mark()
        if self._known is None or not mark.fits(self._known):
            self._known = processes.find(mark, self._memory.read().get("pid"))
        return self._known

    def _make_folder(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.private:
            self.folder.chmod(0o700)
        free = shutil.disk_usage(self.folder).free
        if free < _NEEDED_BYTES:
            raise LocalServerError(
                f"{self.name} needs {_NEEDED_BYTES >> 20} MB of free disk, {self.folder} has {free >> 20} MB; make room"
            )


@contextmanager
def plain_errors(name: str, folder: Path) -> Iterator[None]:
    """Report a file error in one line, with what to do about it."""
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full; make room",
            errno.EDQUOT: "the disk quota is used up; make room",
            errno.EACCES: "no permission; choose another folder or fix its owner",
            errno.EROFS: "it is read-only; choose another folder",
            errno.ENOTDIR: "a file is in the way; remove it",
            errno.EEXIST: "a file is in the way; remove it",
            errno.EISDIR: "a folder is in the way; remove it",
        }.get(error.errno or 0) or (os.strerror(error.errno) if error.errno else str(error))
        raise LocalServerError(f"{name}: {error.filename or folder}: {advice}") from error
