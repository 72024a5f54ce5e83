"""The HTTP side of the double: addresses, token, faults on demand; commands go to tables and collections."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cassandra import InvalidRequest
from cassandra.cluster import Session

from support.dataapi import jackson
from support.dataapi.collections import Collections
from support.dataapi.errors import ApiError, unauthenticated, unknown_table
from support.dataapi.forwarding import forwarded
from support.dataapi.tables import Tables
from sync.settings import Settings

_REAL = os.environ.get("SYNC_TEST_DATA_API")


class Cut(Exception):
    """The connection is cut without an answer."""


_SIMPLE = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
Fault = Callable[[str], None]
"""Called with a command's name before it runs; raises ApiError or Cut, or waits. `later` faults come after it ran."""


@dataclass
class DataApi:
    """A running double: what was asked of it, and what is to fail."""

    endpoint: str
    token: str
    asked: list[str] = field(default_factory=list)
    before: Fault = lambda command: None
    after: Fault = lambda command: None


def settings_of(settings: Settings, double: DataApi) -> Settings:
    """These settings with the double as the Data API."""
    return settings.model_copy(update={"astra_db_api_endpoint": double.endpoint})


def token_of(session: Session) -> str:
    """What a self-hosted Data API takes: the user and the password of the Cassandra below it."""
    known = session.cluster.auth_provider
    return ":".join(["Cassandra", *(base64.b64encode(part.encode()).decode() for part in (known.username, known.password))])


@contextmanager
def data_api(session: Session) -> Iterator[DataApi]:
    """The double over this Cassandra, at an address of its own."""
    found = DataApi("", token_of(session))

    class Handler(BaseHTTPRequestHandler):
        protocol_version, wbufsize, disable_nagle_algorithm = "HTTP/1.1", 1 << 16, True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers = 200, {}
            try:
                text = _answer(found, session, self.path, self.headers.get("Token"), body)
            except ApiError as error:
                status, headers = error.status, getattr(error, "headers", {})
                text = jackson.dumps(error.answer()).encode()
            except Cut:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(double: DataApi, session: Session, path: str, token: str | None, body: bytes) -> bytes:
    if token != double.token:
        raise unauthenticated()
    parts = path.strip("/").split("/")
    keyspace, target = [*parts[1:], None, None][:2]
    ((name, command),) = jackson.loads(body).items()
    double.asked.append(name)
    double.before(name)
    try:
        if _REAL:
            answer = forwarded(_REAL, session, path, body, double.token)
        else:
            answer = jackson.dumps(_run(session, str(keyspace), target, name, command)).encode()
    except InvalidRequest as error:
        raise ApiError("INVALID_DATABASE_QUERY", " ".join(str(error).split()), "DATABASE", "SERVER") from None
    double.after(name)
    return answer


def _run(session: Session, keyspace: str, target: str | None, name: str, command: Any) -> dict[str, Any]:
    tables, collections = Tables(session, keyspace), Collections(session, keyspace)
    if target is None:
        explained = bool((command.get("options") or {}).get("explain"))
        commands: dict[str, Callable[[], dict[str, Any]]] = {
            "listTables": lambda: _listed("tables", tables.listed(), explained),
            "findCollections": lambda: _listed("collections", collections.listed(), explained),
            "createKeyspace": lambda: _ddl(session, f'CREATE KEYSPACE "{command["name"]}" WITH replication = {_SIMPLE}'),
            "dropKeyspace": lambda: _ddl(session, f'DROP KEYSPACE "{command["name"]}"'),
            "findKeyspaces": lambda: {"status": {"keyspaces": sorted(session.cluster.metadata.keyspaces)}},
            "createTable": lambda: tables.create(command),
            "dropTable": lambda: tables.drop(command),
            "createCollection": lambda: collections.create(command),
            "deleteCollection": lambda: collections.drop(command),
        }
        if name not in commands:
            raise ApiError("COMMAND_UNKNOWN", f"The command {name} is not known.")
        return commands[name]()
    if target in (found := tables.all()):
        return tables.run(found[target], name, command)
    if target in collections.all():
        return collections.run(target, name, command)
    raise unknown_table(target)


def _ddl(session: Session, text: str) -> dict[str, Any]:
    session.execute(text)
    return {"status": {"ok": 1}}


def _listed(what: str, found: list[dict[str, Any]], explained: bool) -> dict[str, Any]:
    return {"status": {what: found if explained else [f["name"] for f in found]}}


# faults


def status(code: int, times: int = 10**9, headers: dict[str, str] | None = None) -> Fault:
    """Answers with this HTTP status, this many times."""

    def make() -> ApiError:
        error = ApiError("GATEWAY", f"status {code}", family="SERVER", status=code)
        error.headers = headers or {}  # type: ignore[attr-defined]
        return error

    return _times(times, make)


def answers(make: Callable[[], BaseException], times: int = 10**9) -> Fault:
    """Fails with this exception, this many times."""
    return _times(times, make)


def cut(times: int = 10**9) -> Fault:
    """Cuts the connection, this many times."""
    return _times(times, Cut)


def slow(seconds: float, times: int = 10**9) -> Fault:
    """Waits before going on, this many times."""
    left = [times]

    def fault(_: str) -> None:
        left[0] -= 1
        if left[0] >= 0:
            time.sleep(seconds)

    return fault


def of(commands: set[str], fault: Fault) -> Fault:
    """The fault, for these commands only."""
    return lambda command: fault(command) if command in commands else None


def _times(times: int, make: Callable[[], BaseException]) -> Fault:
    left = [times]

    def fault(_: str) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise make()

    return fault
