"""A drift report while Postgres is primary: what differs is sent to the source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backfills import Site
from support.drift import drift, kinds, table_of
from support.sources import make_corpus

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.settings import Settings
from sync.wiring.drift.command import DriftRequest

_SWITCH = """
WITH closed AS (UPDATE sync.epoch SET state = 'closed' RETURNING epoch)
INSERT INTO sync.epoch (epoch, "primary", floor)
SELECT max(epoch) + 1, 'postgres', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 1 FROM closed
"""


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """One table, backfilled; then Postgres became primary."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure("lease_seconds = 5\nmin_ranges = 16", "\n[drift]\ngrace_seconds = 0.05")
    make_corpus(opened, songs=60, notes=3)
    opened.backfill()
    opened.sql(_SWITCH)
    yield opened
    opened.close()


def test_findings_are_repaired_towards_the_source(site: Site) -> None:
    """Would break: after the cut-over --repair refuses, or writes the old side's values over the primary's."""
    changed, deleted, stray, *_ = [key for (key,) in site.sql("SELECT id FROM songs ORDER BY id")]
    site.sql("UPDATE songs SET title = 'by hand' WHERE id = %s", (changed,))
    site.sql("DELETE FROM songs WHERE id = %s", (deleted,))
    ((written,),) = site.cql(f"SELECT writetime(made) FROM {{ks}}.songs WHERE id = {stray}")
    site.cql(f"DELETE FROM {{ks}}.songs USING TIMESTAMP {written + 1} WHERE id = {stray}")  # before the cut-over
    found = kinds(table_of(drift(site, ["songs"]), "songs"))
    assert found == {"different": [{"id": str(changed)}], "missing": [{"id": str(deleted)}], "extra": [{"id": str(stray)}]}
    repaired = table_of(drift(site, ["songs"], asked=DriftRequest(repair=True)), "songs")
    assert repaired["repaired"] == 3 and not repaired["clean"]
    assert table_of(drift(site, ["songs"]), "songs")["clean"]
    held = {row.id: row.title for row in site.cql("SELECT id, title FROM {ks}.songs")}
    assert (held[changed], deleted in held, stray in held, len(held)) == ("by hand", False, True, 59)
