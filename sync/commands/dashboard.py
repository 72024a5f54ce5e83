"""`sync dashboard`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from types import ModuleType

from sync.commands.context import load
from sync.console import say
from sync.errors import SettingsError
from sync.wiring.dashboard.watcher import Watcher

_END_SECONDS = 2


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C or SIGTERM."""
    uvicorn, access, app = _web()
    settings, config = load("target")
    secret = settings.sync_dashboard_token
    token: str | None = args.token or (secret.get_secret_value() if secret else None)
    access.check_token(args.host, token)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # a service manager's way to end it is no error
    with _listen(args.host, args.port) as listening:
        served = app.make_app(Watcher(settings, config, args.show_keys), token, args.host)
        made = uvicorn.Config(
            served, log_level="warning", access_log=False, server_header=False, log_config=None,
            timeout_graceful_shutdown=_END_SECONDS,
        )  # fmt: skip
        host = f"[{args.host}]" if ":" in args.host else args.host
        asked = "; it asks for the token" if token else ""
        say(f"http://{host}:{listening.getsockname()[1]}/ shows the migration{asked}; Ctrl-C ends it")
        server = uvicorn.Server(made)
        first = server.handle_exit
        # A second Ctrl-C would break off the end that is under way, with a traceback; it takes a second or two.
        server.handle_exit = lambda *signal: None if server.should_exit else first(*signal)
        server.run(sockets=[listening])
    return 0


def _web() -> tuple[ModuleType, ModuleType, ModuleType]:
    """What serves. Raises SettingsError where the extra is not installed."""
    try:
        import uvicorn

        from sync.dashboard import access, app
    except ModuleNotFoundError as error:
        name = str(error.name).partition(".")[0]
        raise SettingsError(f"{name} is not installed: pip install 'dual-write-sync[dashboard]'") from None
    return uvicorn, access, app


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(found[4][:2], family=found[0])
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise SettingsError(f"--host {host} --port {port}: {why}") from None
