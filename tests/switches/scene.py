"""A migration that is ready for its cut-over, with an application of several processes that writes all the while."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from support.commands import ROOT, Commands, Done, Zygote
from support.dual import Table
from support.places import Place
from support.running_commands import until

from switches.judge import Told, Verdict, judge, read
from switches.writer import TABLE
from sync.settings import Config, load_config

TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.3
writer_lease_seconds = 2.0
primary_timeout_seconds = 1.0
secondary_timeout_seconds = 3.0
max_wait_seconds = 10
connections = 8
[drift]
grace_seconds = 0.1
tries = 8
[cutover]
max_pause_seconds = 2.0
"""
AFTER = {"cutover": "postgres", "rollback": "astra"}
OTHER = {"cutover": "rollback", "rollback": "cutover"}


@dataclass
class Process:
    """One process of the application."""

    popen: subprocess.Popen[bytes]
    log: Path
    err: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def told(self) -> Told:
        return read(self.log)

    @property
    def stopped(self) -> bool:
        return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def await_stop(self) -> None:
        """Wait until its failpoint has stopped it."""
        until(lambda: self.stopped, 60, f"the writer sleeps; {self.err.read_text()[-500:]}")

    def await_writes(self, more: int = 5, seconds: float = 60) -> None:
        """Wait until it has done more writes."""
        before = self.told.answered
        until(lambda: self.told.answered >= before + more, seconds, f"it writes; {self.err.read_text()[-500:]}")

    def end(self) -> int:
        """Ask it to end; its exit code."""
        if self.popen.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(30)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise AssertionError(f"a writer hangs: {self.err.read_text()[-1000:]}") from None


@dataclass
class Scene:
    """What a test works with."""

    place: Place
    config: Config
    shared: list[str] = field(default_factory=lambda: [str(uuid4()) for _ in range(6)])
    processes: list[Process] = field(default_factory=list)

    @property
    def commands(self) -> Commands:
        return self.place.commands

    # the application

    def start(
        self, threads: int = 1, pause: float = 0.01, failpoints: str = "", own: int = 6, sql: bool = False, **env: str
    ) -> Process:
        """One more process, which writes through a store, or by SQL."""
        name, folder = f"w{len(self.processes)}t", self.commands.folder
        keys = [[str(uuid4()) for _ in range(own)] for _ in range(threads)]
        log, err = folder / f"log-{name}-{uuid4().hex[:6]}", folder / f"err-{name}"
        order = {"name": name, "log": str(log), "own": keys, "shared": self.shared, "pause": pause, "sql": sql}
        env = {"SYNC_DUAL_WRITE": "true", "STORAGE_BACKEND": self.epoch[1], "SYNC_FAILPOINTS": failpoints, **env}
        given = self.commands.but(PYTHONPATH=str(ROOT / "tests"), **env)
        with err.open("wb") as said:
            popen = subprocess.Popen(
                [sys.executable, "-m", "switches.writer", json.dumps(order)], cwd=folder, env=given._whole(), stderr=said
            )
        made = Process(popen, log, err)
        self.processes.append(made)
        return made

    def begun(self) -> None:
        """Wait until every process writes."""
        for process in self.processes:
            until(lambda p=process: p.told.answered > 3 or p.stopped, 60, f"it writes; {process.err.read_text()[-2000:]}")

    def told(self) -> list[Told]:
        return [process.told for process in self.processes]

    # the operator

    def run(self, *argv: str, **env: str) -> Done:
        return self.commands.but(**env).run(*argv)

    def prove(self) -> None:
        self.place.prove()

    def as_if_proved(self) -> None:
        """Record two clean passes for this epoch, copied from an earlier one: for tests that are not about the proof."""
        self.place.sql(
            "INSERT INTO sync.drift_pass (runs, clean, repaired, started_at, finished_at, report, epoch, proof) "
            "SELECT runs, clean, repaired, clock_timestamp(), clock_timestamp(), report, (SELECT max(epoch) FROM sync.epoch), "
            "proof FROM (SELECT * FROM sync.drift_pass WHERE clean AND repaired = 0 ORDER BY id DESC LIMIT 1) AS p, "
            "generate_series(1, 2)"
        )

    def switch(self, kind: str, **env: str) -> dict[str, Any]:
        """Run the command, which must succeed."""
        nobody = () if self.processes else ("--no-writers",)
        done = self.run(kind, "--yes", "--json", *nobody, **env)
        assert done.code == 0, done
        assert done.json["primary"] == AFTER[kind], done
        return done.json

    def expire(self) -> None:
        """Expire the lease of a command that died, so that it counts as dead."""
        self.place.sql("UPDATE sync.switch SET lease_until = clock_timestamp() WHERE finished_at IS NULL")

    @property
    def epoch(self) -> tuple[int, str, str]:
        """Number, primary and state."""
        return self.place.sql('SELECT epoch, "primary", state FROM sync.epoch ORDER BY epoch DESC LIMIT 1')[0]

    def writers(self) -> list[dict[str, Any]]:
        return list(self.run("writers", "--json").json["writers"])

    def await_heartbeats(self) -> None:
        """Wait until every writer is heard again, after an outage of Postgres; its next try may be seconds away."""
        silent = (
            "SELECT count(*) FROM sync.writer WHERE state = 'active' AND heartbeat_at < clock_timestamp() - interval '1 s'"
        )
        until(lambda: self.place.sql(silent) == [(0,)], 60, "every writer is heard")

    # the end

    def finish(self) -> Verdict:
        """End the application, let a worker settle what is left, and judge everything; a last pass must be clean."""
        for process in self.processes:
            process.end()
        with closing(Table(self.place.cassandra, self.place.settings, self.config, TABLE)) as table:
            table.epoch = self.epoch[0]
            table.sql("UPDATE sync.writer SET state = 'unclean' WHERE state = 'active'")
            until(lambda: self._settled(table), what="all is settled")
            verdict = judge(table, self.told())
        done = self.run("drift-report", "--workers", "1", "--format", "json")
        if done.code:
            verdict.faults.append(f"the last pass is not clean: {done.out[:2000]} {done.err[-500:]}")
        return verdict

    @staticmethod
    def _settled(table: Table) -> bool:
        table.sql("UPDATE sync.intent SET lease_until = NULL")
        table.drain(lease=2.0)
        return not table.intents()


@contextmanager
def scene(place: Place, rows: int = 100, toml: str = TOML) -> Iterator[Scene]:
    """A migration that is backfilled and has no writer yet."""
    place.cql(f"CREATE TABLE KS.{TABLE} (id uuid PRIMARY KEY, a text, b text)")
    place.configure(toml)
    insert = place.cassandra.session.prepare(f'INSERT INTO "{place.keyspace}".{TABLE} (id, a, b) VALUES (?, ?, ?)')
    for _ in range(rows):
        place.cassandra.session.execute(insert, (uuid4(), "before", "before"))
    for command in (["schema", "apply"], ["backfill", "--workers", "1"]):
        done = place.commands.run(*command)
        assert done.code == 0, done
    made = Scene(place, load_config(place.commands.folder / "sync.toml"))
    try:
        yield made
    except BaseException:
        for process in made.processes:
            sys.stderr.write(f"{process.told.writer}: {process.err.read_text()[-3000:]}\n")
        raise
    finally:
        for process in made.processes:
            if process.popen.poll() is None:
                process.popen.kill()
                process.popen.wait()


@contextmanager
def operator(made: Scene, folder: Path) -> Iterator[Commands]:
    """Another operator, at another terminal."""
    (folder / "sync.toml").write_text((made.commands.folder / "sync.toml").read_text())
    zygote = Zygote()
    try:
        yield Commands(folder, dict(made.commands.env), zygote)
    finally:
        zygote.end()


__all__: Sequence[str] = ("AFTER", "OTHER", "TOML", "Process", "Scene", "operator", "scene")
