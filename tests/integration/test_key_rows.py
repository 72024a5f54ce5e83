"""Reading many keys at once gives what reading each alone gives, whether by pages of the ring or one by one."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cassandra.query import BoundStatement
from support.backfills import Site
from support.sources import make_corpus, song

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.adapters.cassandra.rows.cells import Cells
from sync.adapters.cassandra.rows.key_rows import KeyRows
from sync.adapters.cassandra.rows.timestamped_rows import ABSENT
from sync.adapters.postgres.drift.keys import TargetKeys
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key
from sync.settings import Settings
from sync.wiring.backfill.worker import map_tables


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    opened = Site(settings, cassandra, tmp_path)
    make_corpus(opened, 600, 600)
    yield opened
    opened.close()


class Counting(KeyRows):
    """Counts its requests."""

    def _request(self, bound: BoundStatement, state: bytes | None = None) -> Any:
        self.asked = getattr(self, "asked", 0) + 1
        return super()._request(bound, state)


def opened(site: Site, name: str, serial: bool = False) -> tuple[Counting, Cells, TargetKeys]:
    connection = site.connect()
    table = map_tables(site.cassandra, connection, site.settings, site.config, [name])[name]
    encoder = RowEncoder(table, 0)
    rows = Counting(site.cassandra, table.source, encoder.columns, 10, serial)
    return rows, Cells(table.source, encoder), TargetKeys(connection, table, encoder)


def test_keys_that_stand_together_are_read_together(site: Site) -> None:
    """Would break: a row is taken for absent because the page ended before it, or a deleted row for present."""
    site.cql(f"DELETE FROM {{ks}}.songs WHERE id IN ({', '.join(str(song(i)[0]) for i in range(0, 600, 3))})")
    rows, cells, _ = opened(site, "songs")
    near = sorted((cells.key({"id": song(i)[0]}) for i in range(600)), key=lambda key: key.token)
    found = rows.read_each(near[100:300])
    asked = rows.asked
    assert asked < 20, "each key was asked for"
    assert found == [one for key in near[100:300] for one in rows.read_each([key])]
    assert 40 < found.count(ABSENT) < 90
    assert rows.asked == asked + 200


def test_keys_that_stand_far_apart_are_read_one_by_one(site: Site) -> None:
    """Would break: the whole table is read for the sake of a few keys."""
    rows, cells, _ = opened(site, "songs")
    near = sorted((cells.key({"id": song(i)[0]}) for i in range(600)), key=lambda key: key.token)
    far = near[::10]
    found = rows.read_each(far)
    assert len(far) - 12 < rows.asked <= len(far) + 1
    assert found == [one for key in far for one in rows.read_each([key])]
    strangers = [cells.key({"id": song(i)[0]}) for i in range(1000, 1200)]
    assert rows.read_each(strangers) == [ABSENT] * 200


def test_keys_of_few_partitions(site: Site) -> None:
    """Would break: within a partition, the rows after a page's end are taken for absent."""
    rows, cells, _ = opened(site, "notes")
    keys = [cells.key({"piece": f"piece {i % 3}", "at": i}) for i in range(700)]
    for some in (keys[:60], keys[540:700], keys[::7]):
        assert rows.read_each(some) == [one for key in some for one in rows.read_each([key])]
    serial, *_ = opened(site, "notes", serial=True)
    assert serial.read_each(keys[560:660]) == rows.read_each(keys[560:660])
    assert serial.asked == 100


def test_keys_that_are_equal_and_have_other_bytes(site: Site) -> None:
    """Would break: 1.0 is asked for as 1.00, and is called absent because no row has those bytes."""
    site.cql("CREATE TABLE {ks}.sizes (piece text, size decimal, words text, PRIMARY KEY (piece, size))")
    site.fill(
        "INSERT INTO {ks}.sizes (piece, size, words) VALUES (?, ?, ?)", (("p", Decimal(i) / 2, "la") for i in range(100))
    )
    site.apply()
    rows, cells, _ = opened(site, "sizes")
    keys = [cells.key({"piece": "p", "size": (Decimal(i) / 2).quantize(Decimal("0.00"))}) for i in range(100)]
    found = rows.read_each(keys)
    assert all(not isinstance(read, str) and read.cells for read in found)
    assert found == [one for key in keys for one in rows.read_each([key])]


def test_the_target_is_looked_at_as_a_whole(site: Site) -> None:
    """Would break: a row is assigned to another key, or a key's intent to its neighbour."""
    site.backfill()
    _, cells, target = opened(site, "songs")
    keys = [cells.key({"id": song(i)[0]}) for i in range(590, 610)]
    site.sql("UPDATE songs SET _sync_version = 7 WHERE year = 591")
    target.request_recheck(keys[3:4])
    site.sql("INSERT INTO sync.tombstone (table_name, key, token, version) VALUES ('songs', %s, 1, 5)", (keys[15].canonical,))
    nowhere = Key("songs", (b"",), b"", 0)
    found = target.look([*keys, nowhere, keys[1]])
    assert found == [target.look([key])[0] for key in (*keys, nowhere, keys[1])]
    assert [row.row is not None for row in found] == [True] * 10 + [False] * 11 + [True]
    assert [i for i, row in enumerate(found) if row.intents] == [3]
    assert found[1].version == 7
    assert [i for i, row in enumerate(found) if row.tombstone] == [15]
    assert site.sql("SELECT kind, state, version > 0 FROM sync.intent") == [("recheck", "finished", True)]
