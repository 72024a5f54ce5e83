"""A partition of a million rows is copied, proved equal, and its differing rows are found and repaired, in bounded memory.

SYNC_PARTITION_ROWS says how many rows; what a million showed is in docs/drift.md.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.backfills import Site, open_site
from support.drift import table_of
from support.sources import fill_raw

from sync.adapters.cassandra.connection.connect import Cassandra
from sync.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
ROWS = int(os.environ.get("SYNC_PARTITION_ROWS", "5000"))
SECONDS = 120 + ROWS / 100
OTHERS = 50
"""Partitions of one row each."""


@pytest.fixture
def site(base_settings: Settings, cassandra: Cassandra, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(base_settings, cassandra, tmp_path_factory.mktemp("copied")) as found:
        found.cql("CREATE TABLE {ks}.plays (room text, day int, a text, PRIMARY KEY (room, day))")
        found.configure(more="[drift]\ngrace_seconds = 0.05")
        days = ((b"hall", struct.pack(">i", day), b"a play of usual length") for day in range(ROWS))
        fill_raw(found, "INSERT INTO {ks}.plays (room, day, a) VALUES (?, ?, ?)", days)
        found.fill("INSERT INTO {ks}.plays (room, day, a) VALUES (?, 1, 'another')", ((f"room {n}",) for n in range(OTHERS)))
        yield found


def taken(site: Site, *command: str) -> tuple[int, str]:
    """A command's exit code and output; prints how long it took, and the most memory that one of its processes was seen with."""
    begun, largest, running = time.monotonic(), 0.0, site.start(*command, "--workers", "1", "--quiet", "--json")
    while not running.ended:
        assert time.monotonic() - begun < SECONDS, running.err
        largest = max(largest, running.memory())
        time.sleep(0.2)
    done = running.wait()
    seconds = time.monotonic() - begun
    print(f"{' '.join(command)}: {seconds:.1f} s; {largest:.0f} MiB; load {os.getloadavg()[0]:.1f}", flush=True)
    assert largest < 512
    return done.code, done.out or done.err


def proved(site: Site, *options: str) -> tuple[int, dict[str, Any]]:
    code, out = taken(site, "drift-report", *options)
    rows: dict[str, Any] = table_of(json.loads(out), "plays")["rows"]
    return code, rows


def test_a_long_partition_is_copied_and_proved(site: Site) -> None:
    """Would break: a partition, which no range can cut, is held in memory as rows, or a difference in it is passed over."""
    assert site.run("schema", "apply").code == 0
    assert taken(site, "backfill")[0] == 0
    assert site.sql("SELECT count(*), count(DISTINCT day) FROM plays WHERE room = 'hall'") == [(ROWS, ROWS)]
    code, rows = proved(site)
    assert (code, rows["same"], rows["source"]) == (0, ROWS + OTHERS, ROWS + OTHERS)
    site.sql("UPDATE plays SET a = 'another play' WHERE room = 'hall' AND day = 17")
    site.sql("DELETE FROM plays WHERE room = 'hall' AND day = %s", (ROWS - 1,))
    site.sql("INSERT INTO plays SELECT room, -1, a, _sync_token, _sync_version FROM plays WHERE room = 'hall' AND day = 3")
    code, rows = proved(site)
    assert (code, rows["different"], rows["missing"], rows["extra"]) == (2, 1, 1, 1), rows
    proved(site, "--repair")
    code, rows = proved(site)
    assert (code, rows["same"]) == (0, ROWS + OTHERS), rows
