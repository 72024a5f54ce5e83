"""Two tables that a wrapped class writes by whole partitions and by single rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from support.commands import environment
from support.dual import WINDOW_PASSES, Table, prepare
from support.partitions import TABLE
from support.places import NewPlace, Place
from support.reverse import be_primary
from support.wrapped_partitions import WRITES, NewRooms, OldRooms, Rooms
from sync.adapters.postgres.connection.pool import Pool, open_pool
from sync.settings import Config
from sync.stores import DualWriteStore

CONFIG = Config(schema_files=())


@dataclass
class Scene:
    """Both tables, and the application's classes."""

    home: Place
    plays: Table
    owners: Table
    pool: Pool
    old: OldRooms
    new: NewRooms

    def begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """For a test: nothing is left of others, Astra is primary, and the environment names the place."""
        for name, value in environment(self.home.settings).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("STORAGE_BACKEND", raising=False)
        monkeypatch.setenv("SYNC_CONFIG", str(self.home.commands.folder / "sync.toml"))
        self.plays.sql("DELETE FROM sync.intent; DELETE FROM sync.sql_change")
        self.plays.sql("UPDATE sync.writer SET state = 'signed_off'")
        self.old, self.new = OldRooms(self.home.cassandra.session, self.home.keyspace), NewRooms(self.pool)
        self.be_primary("astra")

    @property
    def primary(self) -> Rooms:
        """The class of the primary's side."""
        return self.old if self.plays._forward else self.new

    def be_primary(self, primary: str) -> None:
        for table in (self.plays, self.owners):
            be_primary(table, primary)
            table.epoch = self.plays.sql("SELECT max(epoch) FROM sync.epoch")[0][0]

    def configure(self, toml: str = "") -> None:
        self.home.configure(f"schema_files = []\n[dual_write]\nheartbeat_seconds = 0.2\nconnections = 8\n{toml}")

    def wrap(self, toml: str = "", writes: Any = None) -> Any:
        self.configure(toml)
        return DualWriteStore.wrap(self.old, self.new, writes or WRITES)

    def intents(self) -> list[tuple[str, str]]:
        return self.plays.intents() + self.owners.intents()

    def drain(self) -> int:
        return self.plays.drain() + self.owners.drain()

    def die(self, seconds: int) -> None:
        """Calls under way are a writer's whose last heartbeat was so long ago."""
        dead = self.plays.writer()
        self.plays.sql("UPDATE sync.intent SET owner = %s WHERE kind = 'recheck_partition' AND state = 'open'", (dead.name,))
        beat = "UPDATE sync.writer SET heartbeat_at = clock_timestamp() - make_interval(secs => %s) WHERE id = %s"
        self.plays.sql(beat, (seconds, dead.name))

    def settled(self) -> int:
        """Drain all once no call can land any more; both sides must be equal. How many rows there are."""
        self.plays.sql(WINDOW_PASSES)
        self.plays.sql("UPDATE sync.writer SET heartbeat_at = heartbeat_at - interval '1 day'")
        for table in (self.plays, self.owners):
            table.drained()
        return self.plays.check_equal() + self.owners.check_equal()


@contextmanager
def opened(new_place: NewPlace) -> Iterator[Scene]:
    """A place with both tables."""
    with new_place() as place, ExitStack() as stack:
        place.cql(TABLE, "CREATE TABLE KS.owners (room text PRIMARY KEY, owner text)")
        prepare(place.settings, CONFIG, "plays", "owners")
        plays, owners = (
            stack.enter_context(closing(Table(place.cassandra, place.settings, CONFIG, name))) for name in ("plays", "owners")
        )
        pool = stack.enter_context(closing(open_pool(place.settings, 8)))
        yield Scene(place, plays, owners, pool, OldRooms(place.cassandra.session, place.keyspace), NewRooms(pool))
