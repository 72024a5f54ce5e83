"""`sync worker --metrics-port`: `/metrics`, `/healthz` and `/readyz`, from a process of its own.

Not from a thread of the command: that forks a worker whenever one has died, and a fork copies a thread's locks as they are at
that moment, and the port. Nothing is counted in the workers, or in the processes that RQ forks for each job: what they have
done is in Postgres, where every process counts together.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.process import BaseProcess

from sync.core.metrics import Metric, Sample
from sync.errors import SettingsError, SyncError
from sync.settings import Config, Settings
from sync.wiring.kept import Answer, Kept
from sync.wiring.metrics import CONTENT_TYPE, as_text, metrics_text, require_client
from sync.wiring.readings import Readings
from sync.wiring.servers import servers_away, state_missing
from sync.workers.pool import FORK, end_process

log = logging.getLogger(__name__)
_GRACE_SECONDS = 10.0
_SILENT_SECONDS = 120.0
_REQUEST_SECONDS = 30
_NAMES = {"postgres": "Postgres", "cassandra": "Cassandra", "redis": "Redis"}


_METRICS = (
    Metric("sync_worker_processes", "Worker processes of this command"),
    Metric("sync_worker_replaced", "Workers that had died and were replaced", kind="counter"),
    Metric("sync_worker_sweep_age_seconds", "Seconds since this command last looked for work"),
)


class Shared:
    """What the command knows of its workers, in memory that the health process reads; made before it is forked.

    Without a lock: only the command writes, and a reader that is killed while it holds one would stop the command for good.
    """

    def __init__(self) -> None:
        self._values = FORK.RawArray("d", [0.0, 0.0, time.monotonic()])

    def note(self, alive: int, replaced: int) -> None:
        """The command goes round: so many workers live, and so many have been replaced since the last time."""
        self._values[0] = alive
        self._values[1] += replaced
        self._values[2] = time.monotonic()

    def read(self) -> tuple[int, int, float]:
        """Workers alive and ever replaced, and how many seconds ago the command went round."""
        alive, replaced, at = self._values[:]
        return int(alive), int(replaced), time.monotonic() - at


def worker_lines(shared: Shared) -> bytes:
    """The metrics of this `sync worker`, in Prometheus's text format."""
    return as_text([Sample(metric, value) for metric, value in zip(_METRICS, shared.read(), strict=True)], _METRICS)


class Pages:
    """What the three addresses answer: a status, a content type and a text."""

    def __init__(self, settings: Settings, config: Config, shared: Shared) -> None:
        self._settings, self._config, self._shared = settings, config, shared
        self._readings = Readings()
        metrics, ready = Kept(self._metrics), Kept(self._ready)
        self.by_path = {"/metrics": metrics.get, "/healthz": self._health, "/readyz": ready.get}

    def _metrics(self) -> Answer:
        try:
            return 200, CONTENT_TYPE, metrics_text(self._settings, self._config, self._readings) + worker_lines(self._shared)
        except SyncError as error:
            return 500, "text/plain; charset=utf-8", f"{error}\n".encode()

    def _health(self) -> Answer:
        """Whether a restart of the command would help: not while a server is away."""
        *_, age = self._shared.read()
        is_well = age < _SILENT_SECONDS
        reasons = [] if is_well else [f"the command has not looked for work for {age:.0f} s"]
        return _answer(reasons)

    def _ready(self) -> Answer:
        """Whether jobs are done now: the queue, both sides and the state are there, and so is a worker process."""
        away = servers_away(self._settings, self._readings)
        reasons = [why if _NAMES[name] in why else f"{_NAMES[name]}: {why}" for name, why in away.items() if why]
        if not away["postgres"]:
            reasons += [why] if (why := state_missing(self._settings, self._readings)) else []
        alive, _, _ = self._shared.read()
        return _answer(reasons if alive else [*reasons, "the workers have not started"])


def _answer(reasons: list[str]) -> Answer:
    return 503 if reasons else 200, "application/json", json.dumps({"ok": not reasons, "reasons": reasons}).encode() + b"\n"


class HealthProcess:
    """Serves the three addresses until it is ended, or the command that started it is gone."""

    def __init__(self, settings: Settings, config: Config, address: tuple[str, int], shared: Shared) -> None:
        """Raises SettingsError where the address cannot be had, or prometheus-client is not installed."""
        require_client()
        self._settings, self._config, self._address, self._shared = settings, config, address, shared
        self._said = ""
        self._process = self._start()

    def _start(self) -> BaseProcess:
        with _listening(self._address) as listener:  # the command keeps no copy of it, nor do its workers
            process = FORK.Process(target=_serve, args=(listener, Pages(self._settings, self._config, self._shared)))
            process.start()
        return process

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    def heal(self) -> None:
        """Start it again if it has died; if another program has taken the port meanwhile, say so and try again later."""
        if self._process.is_alive():
            return
        try:
            self._process = self._start()
        except SettingsError as error:
            if self._said != (text := str(error)):
                log.warning("%s", text)
            self._said = text

    def stop(self) -> None:
        """End it; one that is suspended is killed after a while."""
        end_process(self._process, _GRACE_SECONDS)


def _listening(address: tuple[str, int]) -> socket.socket:
    try:
        return socket.create_server(address, family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    except (OSError, OverflowError) as error:
        text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno and error.errno > 0 else str(error)
        raise SettingsError(
            f"--metrics-port {address[1]}: cannot listen on {address[0]}: {text.lower()}; choose another port or "
            "--metrics-host"
        ) from None


def _serve(listener: socket.socket, pages: Pages) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command answers Ctrl-C, and ends this
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    server = ThreadingHTTPServer(listener.getsockname()[:2], _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket, server.daemon_threads = listener, True
    server.pages = pages  # type: ignore[attr-defined]
    server.serve_forever()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_SECONDS
    server_version = "sync"
    sys_version = ""

    def do_GET(self) -> None:
        page = self.server.pages.by_path.get(self.path.partition("?")[0])  # type: ignore[attr-defined]
        status, kind, body = page() if page else (404, "text/plain", b"/metrics, /healthz, /readyz\n")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""
