"""A keyspace and a database of a test's own with commands to run on them, and what else the fixtures provide."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from support.commands import Commands
from sync import local
from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.postgres.connection.connect import connect
from sync.settings import Settings


@dataclass(frozen=True)
class Place:
    """A keyspace, a database and a folder of a test's own."""

    cassandra: Cassandra
    settings: Settings
    commands: Commands

    @property
    def keyspace(self) -> str:
        return str(self.settings.astra_db_keyspace)

    def cql(self, *statements: str) -> list[Any]:
        """Run CQL, `KS.` standing for the keyspace; the last one's rows."""
        rows: list[Any] = []
        for statement in statements:
            rows = list(self.cassandra.session.execute(statement.replace("KS.", f'"{self.keyspace}".'), timeout=60))
        return rows

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run SQL in the database; the last one's rows."""
        with closing(connect(self.settings, autocommit=True)) as connection:
            connection.execute("SELECT set_config('sync.own', 'on', false)")  # behind everybody's back
            cursor = None
            for statement in statements:
                assert not statement.startswith("SELECT FROM"), "rows without columns are no rows here"
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor and cursor.description else []

    def prove(self) -> None:
        """Make two clean passes in a row, as the operator does; a hot key may leave one of them not clean."""
        for _ in range(6):
            done = self.commands.run("drift-report", "--workers", "1", "--format", "json")
            assert done.code in (0, 2), done
            assert not any(table["findings"] for table in done.json["tables"]), done
            passes = self.sql(
                "SELECT clean FROM sync.drift_pass WHERE epoch = (SELECT max(epoch) FROM sync.epoch) ORDER BY id DESC"
            )
            if passes[:2] == [(True,), (True,)]:
                return
        raise AssertionError(f"no two clean passes in a row: {done}")

    def configure(self, toml: str) -> None:
        """Write sync.toml."""
        (self.commands.folder / "sync.toml").write_text(toml)


NewPlace = Callable[[], AbstractContextManager[Place]]
"""Makes another place."""


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, of a server certificate that it signed, of one for another host; and of an unknown one."""

    root: Path
    server: Path
    key: Path
    elsewhere: Path
    elsewhere_key: Path
    stranger: Path


def admin(server: local.PostgresServer, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
    """The superuser's connection to a server of the test's own."""
    return psycopg.connect(server.conninfo(database), autocommit=True)
