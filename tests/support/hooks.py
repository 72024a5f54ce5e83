"""A real HTTP server that keeps what it is sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/hooks/hunter2-token"


@dataclass
class Hook:
    """Where it listens, and the bodies that came; `answer` is a status, or `silent` or `drips`."""

    url: str = ""
    answer: int | str = 200
    told: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def hook() -> Iterator[Hook]:
    """A server for the time of the context."""
    made, ended = Hook(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(f"GET {self.path}")
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            made.asked.append(f"POST {self.path}")
            made.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if made.answer == "silent":
                ended.wait(60)
                return
            if made.answer == "drips":
                self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
                while not ended.is_set():
                    try:
                        self.wfile.write(b"x")
                    except OSError:
                        return
                    time.sleep(0.05)
                return
            self.send_response(int(made.answer))
            if made.answer == 302:
                self.send_header("Location", f"{made.url}/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}{PATH}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
