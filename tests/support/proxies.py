"""A proxy between a client and a server that forwards, at once or slowly, withholds everything, or cuts the connections."""

from __future__ import annotations

import contextlib
import socket
import time
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event, Lock, Thread

_CHUNK = 1 << 16


class Proxy:
    """A TCP proxy on its own port. `stall` makes the server silent, `cut` makes it unreachable; `heal` undoes both.

    `delay` is how many seconds each piece takes, there and back.
    """

    delay = 0.0

    def __init__(self, host: str, port: int) -> None:
        self._well, self._away, self._lock = Event(), False, Lock()
        self._stranded: list[Event] = []
        self._well.set()
        self._open: set[socket.socket] = set()
        outer = self

        class Line(BaseRequestHandler):
            def handle(self) -> None:
                if outer._away:
                    return
                well = outer._well
                with contextlib.suppress(OSError), socket.create_connection((host, port)) as server:
                    with outer._lock:
                        outer._open |= {self.request, server}
                    back = Thread(target=outer._pump, args=(server, self.request, well), daemon=True)
                    back.start()
                    outer._pump(self.request, server, well)
                    back.join(1)

        class Server(ThreadingTCPServer):
            daemon_threads, allow_reuse_address = True, True

        self._server = Server(("127.0.0.1", 0), Line)
        self.port: int = self._server.server_address[1]
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, well: Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                well.wait()
                time.sleep(self.delay)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """Nothing gets through any more, but connections stay open."""
        self._well.clear()

    def strand(self) -> None:
        """Nothing gets through present connections ever again, though they stay open; new ones work."""
        self._well.clear()
        self._stranded.append(self._well)
        self._well = Event()
        self._well.set()

    def cut(self) -> None:
        """Every connection ends, and new ones end at once."""
        self._away = True
        with self._lock:
            lines, self._open = self._open, set()
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        """Forward again; what was withheld arrives late."""
        self._away, self.delay = False, 0.0
        self._well.set()

    def close(self) -> None:
        """Close the proxy."""
        self.heal()
        for well in self._stranded:
            well.set()
        self.cut()
        self._server.shutdown()
        self._server.server_close()
