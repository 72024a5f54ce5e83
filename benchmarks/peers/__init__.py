"""What a backfill is compared with: each peer is a command that copies one table from the servers in its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import redis

from benchmarks.dataset import TABLES, Table, fresh_target
from benchmarks.meter import CommandFailed, wait_until_calm
from benchmarks.peers import packages
from benchmarks.servers import Servers, make_folder
from sync.local.cassandra.java import java_program

_HERE = Path(__file__).parent
Command = Callable[[Table], list[str]]


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to copy a table. `own_clock`: its command tells seconds and CPU itself, in a last line of JSON."""

    name: str
    title: str
    command: Command
    kind: str = "peer"  # ours, peer, tuned: a peer made better than its guide has it, limit
    tables: tuple[str, ...] = ("songs", "embeddings")
    own_clock: bool = False
    slow_start: bool = False
    before: Callable[[Servers, Table], None] | None = None
    loads: bool = True  # whether the target is full afterwards
    env: Callable[[], dict[str, str]] = field(default=dict)

    def clear(self, servers: Servers, table: Table) -> None:
        """A new target, nothing left of the copy before, nothing going on."""
        with servers.postgres() as connection:
            fresh_target(connection, table)
            if self.before:
                self.before(servers, table)
            connection.execute("CHECKPOINT")
        wait_until_calm(servers, limit=20)


def _guide2(table: Table) -> list[str]:
    return [str(packages.python()), str(_HERE / "guide_psycopg2.py"), table.name]


def _guide3(way: str) -> Command:
    return lambda table: [str(packages.python()), str(_HERE / "guide_psycopg3.py"), table.name, way]


def _dsbulk(table: Table) -> list[str]:
    jars = ":".join(map(str, packages.jars(packages.DSBULK)))
    program = [str(packages.python()), str(_HERE / "dsbulk.py")]
    return [*program, table.name, str(java_program()), jars]


def _spark(table: Table) -> list[str]:
    jars = ",".join(str(jar) for jar in packages.jars(packages.SPARK_JARS) if "scala-library" not in jar.name)
    return [str(packages.python("pyspark>=3.5,<3.6")), str(_HERE / "spark_job.py"), table.name, jars]


def _java_home() -> dict[str, str]:
    return {"JAVA_HOME": str(java_program().parent.parent)}


def _fresh_state(servers: Servers, _table: Table) -> None:
    """Nothing of an earlier backfill is left; the state's schema is there."""
    with servers.postgres() as connection:
        connection.execute("DROP SCHEMA IF EXISTS sync CASCADE")
    redis.Redis.from_url(servers.env["REDIS_URL"]).flushdb()
    apply = [sys.executable, "-m", "sync", "schema", "apply"]
    done = subprocess.run(apply, env={**os.environ, **servers.env, **_config()}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"sync schema apply: {done.stderr.strip().splitlines()[-1]}")


def _config() -> dict[str, str]:
    """A sync.toml that knows the benchmark's tables."""
    ddl, config = make_folder() / "bench.sql", make_folder() / "bench.toml"
    ddl.write_text("".join(f"CREATE TABLE IF NOT EXISTS {t.name} ({t.ddl});\n" for t in TABLES.values()))
    config.write_text(f'schema_files = ["{ddl}"]\n')
    return {"SYNC_CONFIG": str(config)}


def _sync(table: Table) -> list[str]:
    return [sys.executable, "-m", "sync", "backfill", "--table", table.name, "--json"]


PEERS = (
    Peer("sync", "`sync backfill` as shipped", _sync, kind="ours", before=_fresh_state, env=_config),
    Peer("dsbulk", "DSBulk 1.10 unload to files + COPY", _dsbulk, tables=("songs",), slow_start=True),
    Peer("spark", "Spark 3.5 local[2] (job alone)", _spark, own_clock=True, slow_start=True, env=_java_home),
    Peer("psycopg3", "guide's script, psycopg 3 + pgvector", _guide3("executemany")),
    Peer("psycopg3-copy", "the same, tuned: binary COPY", _guide3("copy"), kind="tuned"),
    Peer("psycopg2", "guide's script, psycopg2 `execute_values`", _guide2),
)


def other_sync(code: Path) -> Peer:
    """`sync backfill` of another checkout: before and after, in one run."""
    env = {"PYTHONPATH": str(code.resolve())}
    return Peer("other-sync", f"`sync backfill` of {code.name}", _sync, before=_fresh_state, env=lambda: {**_config(), **env})
