"""A Postgres with a tablespace on a small filesystem of its own, which a test fills to the last byte and empties again.

The filesystem is mounted in the server's own namespaces (user and mount), which needs no root, and ends with the server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from psycopg import sql

from support.places import admin
from support.running_commands import until
from sync import local
from sync.local import postgres_user

_OWN_SPACE = ("unshare", "--user", "--map-current-user", "--mount", "--keep-caps")
_SCRIPT = """#!/bin/sh
sleep 0.5; exec {space} sh -c 'mount -t tmpfs -o size={size},mode=0700 small "$1" && shift && exec "$@"' sh "{small}" "{postgres}" "$@"
"""


class SmallDisk(local.PostgresServer):
    """A server with a tablespace `small` of limited size."""

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(folder)
        self._size = size

    def _launch(self, port: Mapping[str, int]) -> psutil.Process:
        user = postgres_user.other_user()
        self._small, wrapped = self._home / "small", self._home / "wrapped"
        for folder in (self._small, wrapped):
            folder.mkdir(exist_ok=True)
        if user is not None:
            user.own(self._small)
        script = wrapped / "postgres"
        space = " ".join(_OWN_SPACE)
        script.write_text(_SCRIPT.format(space=space, size=self._size, small=self._small, postgres=self._bin / "postgres"))
        script.chmod(0o755)
        self._bin = wrapped
        process = super()._launch(port)
        # Until the script has become Postgres, nobody would recognise the process as the server.
        until(lambda: self.mark().fits(process) or _ended(process))
        return process

    def create_small(self, database: str) -> None:
        """A database all of whose tables and indexes are on the small disk."""
        with admin(self) as connection:
            if not connection.execute("SELECT 1 FROM pg_tablespace WHERE spcname = 'small'").fetchone():
                place = sql.Literal(str(self._small))
                connection.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(place))
            connection.execute(sql.SQL("CREATE DATABASE {} TABLESPACE small").format(sql.Identifier(database)))

    @property
    def _ballast(self) -> Path:
        """Its path as the server's processes see it: the mount exists in their namespace only."""
        return Path(f"/proc/{self.pid}/root{self._small}") / "ballast"

    def fill(self) -> None:
        """Leave no room at all on the small disk."""
        # As the server's user: no other user exists in that namespace.
        done = _as_server(["dd", "if=/dev/zero", f"of={self._ballast}", "bs=4096"])
        assert "No space left on device" in done.stderr, done

    def make_room(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink()

    @contextmanager
    def full(self) -> Iterator[None]:
        """No room within this block."""
        self.fill()
        try:
            yield
        finally:
            self.make_room()


def need_small_disk() -> None:
    """Skip, with the reason, if this machine does not allow mounting a filesystem in a private namespace."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no `unshare` (util-linux) to mount a small filesystem with")
    done = _as_server([*_OWN_SPACE, "sh", "-c", "mount -t tmpfs -o size=1m small /mnt"])
    if done.returncode:
        pytest.skip(f"no filesystem can be mounted in a namespace of one's own: {' '.join(done.stderr.split())}")


def _ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _as_server(command: list[str]) -> subprocess.CompletedProcess[str]:
    user = postgres_user.other_user()
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"},
        user=None if user is None else user.uid, group=None if user is None else user.gid,
        extra_groups=None if user is None else [],
    )  # fmt: skip
