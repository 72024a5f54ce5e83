"""Sampled searches on both sides: the report gives figures for how far they find the same."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backfills import Site
from support.running_commands import until

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.settings import Settings

pytestmark = pytest.mark.slow

WIDTH, ROWS = 8, 300


@pytest.fixture
def site(settings: Settings, cassandra: Cassandra, tmp_path: Path) -> Iterator[Site]:
    """Vectors on both sides, with an index on each."""
    opened = Site(settings, cassandra, tmp_path)
    opened.configure("lease_seconds = 5\nmin_ranges = 16", "\n[drift]\ngrace_seconds = 0.05")
    opened.cql(f"CREATE TABLE {{ks}}.looks (id int PRIMARY KEY, v vector<float, {WIDTH}>)")
    opened.cql("CREATE CUSTOM INDEX ON {ks}.looks (v) USING 'StorageAttachedIndex'")
    chance = random.Random(1)
    rows = [(i, [chance.gauss(0, 1) for _ in range(WIDTH)]) for i in range(ROWS)]
    opened.fill("INSERT INTO {ks}.looks (id, v) VALUES (?, ?)", rows)
    opened.apply(f"CREATE EXTENSION vector; CREATE TABLE looks (id int PRIMARY KEY, v vector({WIDTH}))")
    opened.sql("CREATE INDEX ON looks USING hnsw (v vector_cosine_ops)")
    opened.backfill()
    ann = "SELECT id FROM {ks}.looks ORDER BY v ANN OF [1, 0, 0, 0, 0, 0, 0, 0] LIMIT 5"
    until(lambda: len(opened.cql(ann)) == 5, what="Cassandra's index answers")
    yield opened
    opened.close()


def test_searches_are_compared(site: Site) -> None:
    """Would break: an index finds nothing, or other rows, and the report does not say so; or it searches unasked."""
    done = site.run("drift-report", "--json", "--sample-search", "15", "--workers", "1")
    assert done.code == 0, done.err
    (found,) = json.loads(done.out)["search"]
    assert {"table", "column", "searches", "k", "overlap", "source_recall", "target_recall", "note"} == found.keys()
    assert (found["table"], found["column"], found["k"], found["note"]) == ("looks", "v", 5, "")
    assert 5 <= found["searches"] <= 15
    assert min(found["overlap"], found["source_recall"], found["target_recall"]) > 0.9
    shown = site.run("drift-report", "--sample-search", "5", "--workers", "1")
    assert "Vector search, top 5" in shown.out
    site.sql("UPDATE looks SET v = '[0,0,0,0,0,0,0,1]' WHERE id % 2 = 0")
    worse = json.loads(site.run("drift-report", "--json", "--sample-search", "15", "--workers", "1").out)
    assert worse["tables"][0]["rows"]["different"] == ROWS / 2
    assert worse["search"][0]["overlap"] < found["overlap"]
    assert json.loads(site.run("drift-report", "--json", "--workers", "1").out)["search"] == []
