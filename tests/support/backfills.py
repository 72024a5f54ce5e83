"""A place to run backfills in: a keyspace, a database, a queue and a folder of its own; and what must be true afterwards."""

from __future__ import annotations

import atexit
import itertools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from cassandra.concurrent import execute_concurrent_with_args
from pydantic import SecretStr

from support.commands import Zygote
from support.running_commands import Result, Running, until
from sync import failpoints
from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.connection.pages import quoted
from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import Connection, connect
from sync.adapters.postgres.schema import indexes
from sync.core.ring import TokenRange, check_whole_ring
from sync.ports import Progress
from sync.settings import Config, Settings, load_config
from sync.wiring.backfill.command import Plan, make_plan
from sync.wiring.backfill.worker import copy_job
from sync.wiring.schema import apply_target

_QUEUES = itertools.count(os.getpid())
"""Redis databases 1 to 15 in turn, so that no test's worker takes another's jobs."""
SIMPLE = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
_ZYGOTE = Zygote()
atexit.register(_ZYGOTE.end)
NEVER: Callable[[], bool] = lambda: False  # noqa: E731


class Site:
    """What a test works with."""

    def __init__(self, settings: Settings, cassandra: Cassandra, folder: Path) -> None:
        url = settings.redis_url.get_secret_value() if settings.redis_url else ""
        queue = f"{url.rsplit('/', 1)[0]}/{1 + next(_QUEUES) % 15}"
        self.settings = settings.model_copy(update={"redis_url": SecretStr(queue)})
        self.cassandra, self.folder, self.keyspace = cassandra, folder, str(settings.astra_db_keyspace)
        self._running: list[Running] = []
        self.configure()
        with closing(self.redis()) as connection:
            connection.flushdb()

    # the settings

    def configure(self, backfill: str = "lease_seconds = 5", more: str = "") -> None:
        """Write sync.toml: no example tables, what is given, and many ranges even for a small table."""
        backfill += "" if "min_ranges" in backfill else "\nmin_ranges = 64"
        (self.folder / "sync.toml").write_text(f"schema_files = []\n[backfill]\n{backfill}\n{more}")

    @property
    def config(self) -> Config:
        return load_config(self.folder / "sync.toml")

    @property
    def env(self) -> dict[str, str]:
        """The environment of a command: this process's, and the settings."""
        found = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields and k != "SYNC_FAILPOINTS"}
        for name, value in self.settings.model_dump(exclude_none=True, exclude={"sync_config"}).items():
            found[name.upper()] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        return found

    # the servers

    def redis(self) -> redis.Redis:
        assert self.settings.redis_url
        return redis.Redis.from_url(self.settings.redis_url.get_secret_value())

    def connect(self) -> Connection:
        made = connect(self.settings, autocommit=True)
        made.execute("SELECT set_config('sync.own', 'on', false)")  # behind everybody's back
        return made

    def sql(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement in Postgres; its rows."""
        with closing(self.connect()) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def cql(self, statement: str) -> list[Any]:
        """Run one statement in Cassandra, `{ks}.` before each table; its rows."""
        return list(self.cassandra.session.execute(statement.replace("{ks}", self.keyspace), timeout=60))

    def fill(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run a prepared statement for each of these rows."""
        prepared = self.cassandra.session.prepare(statement.replace("{ks}", self.keyspace))
        for ok, error in execute_concurrent_with_args(self.cassandra.session, prepared, rows, concurrency=64):
            assert ok, error

    # the backfill, in this process

    def apply(self, *target_sql: str) -> None:
        """Make the target's tables: these statements, then whatever is missing."""
        for statement in target_sql:
            self.sql(statement)
        apply_target(self.settings, self.config, None, None)

    def begin(self, tables: list[str] | None = None, ranges: list[TokenRange] | None = None) -> list[int]:
        """Plan and begin as `sync backfill` does, without dropping indexes; the runs."""
        plan = make_plan(self.settings, self.config, tables)
        return self.begin_plan(plan, {t.name: ranges for t in plan.tables} if ranges else plan.ranges)

    def begin_plan(self, plan: Plan, ranges: dict[str, list[TokenRange]]) -> list[int]:
        with closing(self.connect()) as connection:
            for table in plan.tables:
                indexes.add_sync_columns(connection, table)
            return self.ledger(connection).begin(ranges)

    def ledger(self, connection: Connection) -> RangeLedger:
        return RangeLedger(connection, self.config.backfill.lease_seconds)

    def copy(self, runs: list[int], stopped: Callable[[], bool] = NEVER) -> int:
        """Copy these runs as a worker does, in this process."""
        return copy_job(self.settings, self.config, runs, stopped)

    def finish(self, runs: list[int]) -> None:
        with closing(self.connect()) as connection:
            assert all(self.ledger(connection).finish(run) for run in runs), "a run is not done"

    def backfill(self, tables: list[str] | None = None, ranges: list[TokenRange] | None = None) -> dict[str, Progress]:
        """A whole backfill in this process, without RQ and indexes; the figures by table."""
        runs = self.begin(tables, ranges)
        self.copy(runs)
        self.finish(runs)
        return self.progress(runs)

    def progress(self, runs: list[int]) -> dict[str, Progress]:
        with closing(self.connect()) as connection:
            return {p.table: p for p in self.ledger(connection).progress(runs)}

    # the backfill, as a command

    def start(self, *arguments: str, failpoints: str = "", **more: str) -> Running:
        """Start `python -m sync …` in this folder."""
        env = {**self.env, **more, **({"SYNC_FAILPOINTS": failpoints} if failpoints else {})}
        self._running.append(Running([sys.executable, "-m", "sync", *arguments], self.folder, env))
        return self._running[-1]

    def start_rq_worker(self, *arguments: str, name: str = "elsewhere", **more: str) -> Running:
        """Start `rq worker sync` as a user does: in some folder, with nothing but the environment; wait until it listens."""
        folder = self.folder / name
        folder.mkdir()
        rq = str(Path(sys.executable).with_name("rq"))
        self._running.append(Running([rq, "worker", "sync", *arguments], folder, {**self.env, **more}))
        with closing(self.redis()) as queue:
            before = queue.scard("rq:workers:sync")
            until(lambda: int(queue.scard("rq:workers:sync")) > int(before), what="the worker registers")  # type: ignore[arg-type]
        return self._running[-1]

    def run(self, *arguments: str, seconds: float = 300, **more: str) -> Result:
        """Run `sync …` to its end, forked from a process that has everything imported."""
        files = {name: self.folder / f"{name}-{time.monotonic_ns()}" for name in ("out", "err")}
        for file in files.values():
            file.touch()
        paths = {name: str(file) for name, file in files.items()}
        code = _ZYGOTE.run({"argv": arguments, "env": {**self.env, **more}, "cwd": str(self.folder), **paths}, seconds)
        return Result(code, files["out"].read_text(), files["err"].read_text())

    def close(self) -> None:
        """Leave no process behind."""
        for running in self._running:
            running.kill_all()

    @contextmanager
    def twin(self, name: str) -> Iterator[Site]:
        """Another place with the same source, but a database, a queue and a folder of its own."""
        database, folder = f"{self.settings.postgres_database}_{name}", self.folder / name
        folder.mkdir()
        self.sql(f"CREATE DATABASE {database}")
        twin = Site(self.settings.model_copy(update={"postgres_database": database}), self.cassandra, folder)
        try:
            yield twin
        finally:
            twin.close()
            self.sql(f"DROP DATABASE {database} WITH (FORCE)")

    # what must be true

    def rows(self, table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The source's rows by key, as the driver decodes them, with their tokens."""
        keys, partition = self._keys(table)
        columns = self._columns(table)
        names = ", ".join(map(quoted, columns))
        found = self.cql(f"SELECT {names}, token({', '.join(map(quoted, partition))}) FROM {{ks}}.{quoted(table)}")
        plain = [{n: _plain(v) for n, v in zip([*columns, "_sync_token"], row, strict=True)} for row in found]
        return {tuple(_hashable(row[k]) for k in keys): row for row in plain}

    def copied(self, table: str, target: str = "") -> dict[tuple[Any, ...], dict[str, Any]]:
        """The target's rows by key, with their tokens."""
        keys, _ = self._keys(table)
        columns = [*self._columns(table), "_sync_token"]
        rows = self.sql(f"SELECT {', '.join(map(quoted, columns))} FROM {target or quoted(table)}")
        plain = [{name: _plain(value) for name, value in zip(columns, row, strict=True)} for row in rows]
        assert len({tuple(row[k] for k in keys) for row in plain}) == len(plain), "a row is there twice"
        return {tuple(_hashable(row[k]) for k in keys): row for row in plain}

    def check_equal(self, *tables: str) -> None:
        """Every row of the source is in the target, once, equal, with its token; and no other."""
        for table in tables:
            source, target = self.rows(table), self.copied(table)
            assert source.keys() - target.keys() == set(), f"{table}: missing"
            assert target.keys() - source.keys() == set(), f"{table}: extra"
            for key, row in source.items():
                assert target[key] == row, f"{table}: {key} differs"

    def check_done(self, runs: list[int] | None = None) -> None:
        """Every range of the latest runs is done, they are the ring, and the counts add up (invariants 4 and 5)."""
        wanted = runs or [r for (r,) in self.sql("SELECT max(id) FROM sync.run GROUP BY table_name")]
        for run in wanted:
            found = self.sql(
                "SELECT range_start, range_end, state, rows_read, rows_written + rows_stale + rows_rejected, lease_owner, "
                "done_to FROM sync.range WHERE run_id = %s",
                (run,),
            )
            check_whole_ring(TokenRange(a, b) for a, b, *_ in found)
            assert {state for _, _, state, *_ in found} == {"done"}
            assert all(read == became for _, _, _, read, became, *_ in found)
            assert all(end == done for _, end, *_, done in found)

    def totals(self) -> dict[str, tuple[int, int, int, int]]:
        """By table, over all of its runs: rows read, written, stale, rejected."""
        found = self.sql(
            "SELECT table_name, sum(rows_read)::int, sum(rows_written)::int, sum(rows_stale)::int, sum(rows_rejected)::int "
            "FROM sync.range GROUP BY table_name"
        )
        return {name: tuple(figures) for name, *figures in found}  # type: ignore[misc]

    def expire_leases(self) -> None:
        """Let every lease run out at once, where a test has killed their owners."""
        self.sql("UPDATE sync.range SET lease_until = clock_timestamp() - interval '1 second' WHERE state = 'running'")

    def _columns(self, table: str) -> list[str]:
        return list(self.cassandra.session.cluster.metadata.keyspaces[self.keyspace].tables[table].columns)

    def _keys(self, table: str) -> tuple[list[str], list[str]]:
        found = self.cassandra.session.cluster.metadata.keyspaces[self.keyspace].tables[table]
        return [c.name for c in found.primary_key], [c.name for c in found.partition_key]


def _plain(value: Any) -> Any:
    """One form for the values that the two drivers return."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if hasattr(value, "items"):
        return dict(value.items())
    if isinstance(value, str) and value[:1] == "[" and value[-1:] == "]":
        return [float(x) for x in json.loads(value)]  # a vector as Postgres writes it
    return [float(x) for x in value] if isinstance(value, list) else value


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@contextmanager
def open_site(base: Settings, cassandra: Cassandra, folder: Path, replication: str = SIMPLE) -> Iterator[Site]:
    """A site with a keyspace and a database made for it and dropped after it, for servers that a test started itself."""
    name = f"b_{uuid4().hex[:12]}"
    cassandra.session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}")
    with connect(base, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    site = Site(base.model_copy(update={"astra_db_keyspace": name, "postgres_database": name}), cassandra, folder)
    try:
        yield site
    finally:
        site.close()
        with connect(base, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        cassandra.session.execute(f"DROP KEYSPACE {name}", timeout=60)


def worker_that_dies(site: Site, runs: list[int], point: str, passage: int) -> bool:
    """Copy in a forked process that is killed at the n-th passage of a failpoint; whether it was."""
    pid = os.fork()
    if not pid:
        try:
            failpoints._PLAN[f"backfill.{point}"] = f"kill:{passage}"
            site.copy(runs)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), f"the worker ended with {status}"
    return status == signal.SIGKILL
