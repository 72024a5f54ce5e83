"""Invariant 6: a read after a cut-over goes to the new primary, even in a process that has not learned of it yet."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from support.backfills import until
from support.dual import Table
from support.places import Place
from support.prepared_places import home_of
from support.reverse import authority, be_primary

from sync import DualWriteStore
from sync.adapters.postgres.cutover.epochs import Authority
from sync.adapters.postgres.dual_write import registration
from sync.adapters.postgres.dual_write.registration import Registration
from sync.settings import Config, DualWriteTuning

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, heartbeat_seconds=0.3))
home = home_of(CONFIG, pairs="id uuid PRIMARY KEY, a text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    """The table, with no switch, intent or registered writer."""
    with closing(Table(home.cassandra, home.settings, CONFIG, "pairs")) as opened:
        opened.sql("UPDATE sync.switch SET finished_at = clock_timestamp(), state = 'abandoned' WHERE finished_at IS NULL")
        opened.sql("UPDATE sync.epoch SET state = 'open' WHERE epoch = (SELECT max(epoch) FROM sync.epoch)")
        for name in ("intent", "writer"):
            opened.sql(f"DELETE FROM sync.{name}")
        yield opened


@contextmanager
def announced(table: Table, store: DualWriteStore, kind: Any) -> Iterator[tuple[Authority, int]]:
    """A switch to which this process has agreed; its heartbeat has then stopped, so that it learns nothing more."""
    with authority(table) as epochs:
        switch = epochs.begin(kind)
        until(lambda: not epochs.not_ready(switch), what="it has acknowledged")
        stop_heartbeat(store)
        yield epochs, switch


def stop_heartbeat(store: DualWriteStore) -> None:
    store._registration._end.set()
    store._registration._thread.join()


@pytest.mark.parametrize(("kind", "old", "new"), [("cutover", "astra", "postgres"), ("rollback", "postgres", "astra")])
def test_a_read_behind_the_switch_is_of_the_new_primary(home: Place, table: Table, kind: str, old: Any, new: str) -> None:
    """Would break: for up to a heartbeat, a reader does not see another process's acknowledged write."""
    be_primary(table, old)
    key = {"id": uuid4()}
    settings = table.settings.model_copy(update={"storage_backend": old})
    with DualWriteStore(settings, CONFIG) as store, announced(table, store, kind) as (epochs, switch):
        assert store.get("pairs", key) is None
        epochs.close(switch, 10)
        epochs.switch_primary(switch, {})
        if new == "postgres":
            table.sql("INSERT INTO pairs (id, a) VALUES (%s, 'written')", (key["id"],))
        else:
            home.cql(f"INSERT INTO KS.pairs (id, a) VALUES ({key['id']}, 'written')")
        assert store.get("pairs", key) == {**key, "a": "written"}
        assert store.primary == new
        table.epoch += 1
    table.sql("DELETE FROM pairs WHERE id = %s", (key["id"],))
    home.cql(f"DELETE FROM KS.pairs WHERE id = {key['id']}")


def test_a_switch_is_over_when_its_end_is_known(table: Table) -> None:
    """Would break: the heartbeat calls the switch over before it has read the epoch; until then the old primary is read."""
    be_primary(table, "astra")
    found: list[tuple[bool, int]] = []
    with DualWriteStore(table.settings, CONFIG) as store:
        one, look = store._registration, Registration._refresh_epoch

        def watched(self: Registration, *given: Any) -> None:
            found.append((self._is_switching, self.epoch.epoch))
            look(self, *given)
            found.append((self._is_switching, self.epoch.epoch))

        with patch.object(Registration, "_refresh_epoch", watched), announced(table, store, "cutover") as (epochs, switch):
            epochs.close(switch, 10)
            epochs.switch_primary(switch, {})
            found.clear()
            table.epoch += 1
            one._heartbeat()
            assert not one._is_switching
    assert found[0] == (True, table.epoch - 1), "it looks before it believes the switch over"


def test_reads_ask_for_no_epoch_where_no_switch_is_under_way(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: each read becomes two, one of them from the server that may be sick."""
    be_primary(table, "astra")
    asked: list[int] = []
    read_epoch = registration.read_epoch

    def counted(connection: Any) -> Any:
        asked.append(1)
        return read_epoch(connection)

    with DualWriteStore(table.settings, CONFIG) as store:
        with announced(table, store, "cutover") as (epochs, switch):
            monkeypatch.setattr(registration, "read_epoch", counted)
            with ThreadPoolExecutor(16) as threads:
                list(threads.map(lambda _: store.get("pairs", {"id": uuid4()}), range(160)))
            assert 0 < len(asked) < 160, "those that come at once ask once"
            epochs.abandon(switch, "a test")
        store._registration._heartbeat()
        asked.clear()
        for _ in range(20):
            store.get("pairs", {"id": uuid4()})
        assert not asked
