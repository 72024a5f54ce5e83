"""`open_store()` with one side only: refused while a migration is under way, or if nobody can say whether one is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from support.commands import environment
from support.dual import Table, forget_migration
from support.places import Place
from support.prepared_places import home_of
from support.reverse import be_primary

from sync.errors import SettingsError, Unreachable
from sync.settings import Config
from sync.stores import DualWriteStore, open_store

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=())
BACKFILL = "INSERT INTO sync.run (kind, table_name, floor) VALUES ('backfill', 'pairs', 0)"
ALLOWED = {"SYNC_ALLOW_ONE_SIDED": "true"}


home = home_of(CONFIG, pairs="id uuid PRIMARY KEY, a text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """The table, as if nobody had ever written to both sides or copied anything."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "pairs")) as opened:
        forget_migration(opened)
        yield opened


def opened(home: Place, monkeypatch: pytest.MonkeyPatch, backend: str, **env: str) -> bool:
    """Open the store of this side alone, and write; True if that succeeds."""
    for name, value in {**environment(home.settings), "STORAGE_BACKEND": backend, **env}.items():
        monkeypatch.setenv(name, value)
    with open_store() as store:
        return store.put("pairs", {"id": uuid4(), "a": "1"})


def test_a_plain_copy_has_no_primary(home: Place, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: an application that moves with an offline copy can start on neither side."""
    table.sql(BACKFILL)
    assert opened(home, monkeypatch, "astra")
    assert opened(home, monkeypatch, "postgres")


@pytest.mark.parametrize("what", ["a process writes to both sides", "one did, and history is copied", "Postgres is primary"])
def test_one_side_alone_is_refused_while_a_migration_is_under_way(
    home: Place, table: Table, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Would break: a process started with an old setting writes to one side, and nobody ever learns of it."""
    backend = "postgres" if "Postgres" in what else "astra"
    table.writer()
    if "did" in what:
        table.sql("UPDATE sync.writer SET state = 'signed_off'")
        table.sql(BACKFILL)
    if "Postgres" in what:
        table.sql("DELETE FROM sync.writer")
        be_primary(table, "postgres")
    with pytest.raises(SettingsError, match=r"under way.*SYNC_DUAL_WRITE=true; or SYNC_ALLOW_ONE_SIDED=true"):
        opened(home, monkeypatch, backend)
    assert opened(home, monkeypatch, backend, **ALLOWED)
    with pytest.raises(SettingsError, match="STORAGE_BACKEND is"):  # which nothing allows
        opened(home, monkeypatch, "astra" if backend == "postgres" else "postgres", **ALLOWED)


def test_dual_writes_can_be_given_up_before_history_is_copied(
    home: Place, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: a deployment that is rolled back cannot start, though nothing is at stake yet."""
    DualWriteStore(home.settings, CONFIG).close()
    assert opened(home, monkeypatch, "astra")


def test_where_nobody_can_say_one_side_alone_is_refused(home: Place, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: Postgres, primary for a week, is unreachable for a moment: what a process writes to Astra is lost."""
    away = {"POSTGRES_PORT": "1"}
    with pytest.raises(
        Unreachable,
        match=r"cannot find out whether a migration is under way: .*; SYNC_ALLOW_ONE_SIDED=true starts all the same",
    ):
        opened(home, monkeypatch, "astra", **away)
    assert opened(home, monkeypatch, "astra", **away, **ALLOWED)


def test_a_role_that_may_not_look_is_refused(home: Place, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a role that may not read the schema `sync` gets an error that is taken for "no migration"."""
    name = f"app_{uuid4().hex[:8]}"
    be_primary(table, "postgres")
    with closing(psycopg.connect(str(table.pool.conninfo), autocommit=True)) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'hunter2'".encode())
        try:
            with pytest.raises(Unreachable, match=r"cannot find out whether a migration is under way: .*permission denied"):
                opened(home, monkeypatch, "astra", POSTGRES_USER=name, POSTGRES_PASSWORD="hunter2")
        finally:
            admin.execute(f"DROP ROLE {name}".encode())
