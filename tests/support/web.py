"""The dashboard served within a test's own process, on a port of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from sync.core.dashboard.history import Window
from sync.dashboard.app import make_app
from sync.settings import Settings
from sync.wiring.dashboard.watcher import Seen


class Shown:
    """A watcher that has seen what the test says, and reads nothing."""

    def __init__(self, seen: Seen, show_keys: bool = False) -> None:
        self.settings, self.seen, self.show_keys = Settings(_env_file=None), seen, show_keys

    def look(self, window: Window) -> Seen:
        return self.seen

    def start(self) -> None:
        """It has seen everything."""

    def stop(self) -> None:
        """It reads nothing."""


@contextmanager
def serving(watcher: Any, token: str | None = None) -> Iterator[str]:
    """The page's address while it is served."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = uvicorn.Config(make_app(watcher, token), log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(made)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
