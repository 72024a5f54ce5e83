"""A place with a table whose rows expire, made once for a module's tests, and emptied before each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest

from support.backfills import Site
from support.drift import drift
from support.dual import Table
from support.places import Place
from support.reverse import be_primary
from support.running_commands import until
from sync.core.ring import WHOLE_RING
from sync.stores import DualWriteStore
from sync.wiring.drift.command import DriftRequest

TOML = '\n[drift]\ngrace_seconds = 0.02\ntries = 3\n[tables.things]\nttl = "expire"\nlightweight_transactions = true'
DEFAULT_TTL = 5000
ROW = {"id": 1, "part": 0, "a": "x", "tags": ["t"]}
KEY = {"id": 1, "part": 0}


@pytest.fixture(scope="module")
def home(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    opened = Site(place.settings, place.cassandra, tmp_path_factory.mktemp("expiring"))
    opened.keyspace = f'"{opened.keyspace}"'  # in upper case
    opened.configure(more=TOML)
    opened.cql(
        "CREATE TABLE {ks}.things (id int, part int, a text, tags list<text>, PRIMARY KEY (id, part)) "
        f"WITH default_time_to_live = {DEFAULT_TTL}"
    )
    opened.cql("CREATE TABLE {ks}.plain (id int PRIMARY KEY, a text)")
    opened.apply()
    opened.backfill()
    yield opened
    opened.close()


@pytest.fixture
def site(home: Site) -> Site:
    home.configure(more=TOML)
    for table in ("things", "plain"):
        home.cql(f"TRUNCATE {{ks}}.{table}")
    home.sql("TRUNCATE things, plain, sync.intent, sync.tombstone, sync.reject")
    switch(home, "astra")
    return home


@pytest.fixture
def store(site: Site) -> Iterator[DualWriteStore]:
    with closing(DualWriteStore(site.settings, site.config)) as opened:
        yield opened


def switch(site: Site, primary: str) -> None:
    """A new epoch, if the primary is another one."""
    be_primary(cast("Table", site), primary)


def report_of(site: Site, **asked: Any) -> dict[str, Any]:
    return drift(site, ["things"], asked=DriftRequest(**asked), ranges=WHOLE_RING.split(2))


def is_clean(site: Site, **asked: Any) -> bool:
    return bool(report_of(site, **asked)["clean"])


def left(site: Site) -> tuple[float | None, float | None]:
    """For how many seconds more the row is there: in Cassandra, in Postgres."""
    (there,) = site.cql("SELECT TTL(a) FROM {ks}.things WHERE id = 1 AND part = 0")
    ((here,),) = site.sql("SELECT extract(epoch FROM expires_at - now())::float8 FROM things WHERE id = 1")
    return there[0], here


def both_expire(site: Site, seconds: int | None) -> None:
    """The row expires on both sides within a few seconds of this many, or on neither."""
    there, here = left(site)
    if seconds is None:
        assert (there, here) == (None, None)
    else:
        assert there is not None and here is not None
        assert seconds - 20 <= there <= seconds + 1 and abs(there - here) <= 3


def until_sent(site: Site) -> None:
    """Wait until nothing is left to be sent."""
    until(lambda: site.sql("SELECT count(*) FROM sync.intent") == [(0,)], what="the intents are removed")
