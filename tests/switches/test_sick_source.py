"""Astra is sick after the cut-over (invariant 8): the application does not notice, and rollback waits until all is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from support.dual import Table
from support.places import NewPlace
from support.proxies import Proxy
from support.running_commands import until

from switches.scene import TOML, Process, Scene, scene
from switches.writer import TABLE

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(new_place: NewPlace) -> Iterator[Proxy]:
    with new_place() as place:
        made = Proxy(str(place.settings.cassandra_contact_points), place.settings.cassandra_port)
    yield made
    made.close()


def median(process: Process, since: int) -> float:
    """The median duration of its writes since then, in ms."""
    took = sorted(ms for _, ms in process.told.took[since:])
    return took[len(took) // 2]


def left(home: Scene) -> int:
    return int(home.place.sql("SELECT count(*) FROM sync.intent")[0][0])


@pytest.mark.parametrize("how", ["stall", "cut"])
def test_a_source_that_is_sick_after_the_cutover(new_place: NewPlace, proxy: Proxy, how: str) -> None:
    """Would break: the application waits for a store that is no longer primary; or a rollback loses what that store lacks."""
    with new_place() as place, scene(place, rows=30, toml=TOML + "max_intents = 60\n") as home:
        near: Any = {"CASSANDRA_PORT": str(proxy.port)}
        writer = home.start(threads=2, **near)
        home.begun()
        home.prove()
        home.switch("cutover")
        writer.await_writes(100, 30)
        usual, since = median(writer, -100), len(writer.told.took)
        getattr(proxy, how)()
        writer.await_writes(300, 30)
        assert median(writer, since) < max(20.0, 3 * usual), f"usually {usual:.1f} ms"
        assert writer.told.refused == []
        until(lambda: left(home) > 100, what="intents pile up")
        home.as_if_proved()
        told = home.run("rollback", "--yes", "--json")
        assert told.code == 2, told
        intents = next(gate for gate in told.json["gates"] if gate["name"] == "intents")
        assert not intents["green"]
        assert "open (at most 60)" in intents["figure"]
        assert home.epoch[1:] == ("postgres", "open")
        away = home.run("rollback", "--yes", "--json", **near)
        assert away.code in (1, 2), away
        assert away.err or away.out, "it says why"
        proxy.heal()
        until(lambda: drained(home) <= 60, 60, "the intents are settled")
        home.prove()
        until(lambda: rolled_back(home), 60, "the driver has found its way back, and the intents go")
        writer.await_writes(20, 30)
        assert home.finish().all == []
        assert writer.told.refused == []


def rolled_back(home: Scene) -> bool:
    """Whether the rollback goes through, after a worker has done what it can."""
    drained(home)
    return home.run("rollback", "--yes", "--json").code == 0


def drained(home: Scene) -> int:
    """Drain as a worker does; how many intents are left."""
    with closing(Table(home.place.cassandra, home.place.settings, home.config, TABLE)) as table:
        table.epoch = home.epoch[0]
        table.sql("UPDATE sync.intent SET lease_until = NULL")
        table.drain(lease=2.0)
    return left(home)
