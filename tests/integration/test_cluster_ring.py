"""The ring changes in the middle of a backfill and of a drift pass: a node joins, leaves, moves, or is replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from support.applications import running
from support.cluster_places import ROWS, begun, under_way
from support.commands import Done, Zygote
from support.dual import Table
from support.places import NewPlace, Place
from support.rings import Ring, ring
from support.running_commands import until

from sync.settings import load_config

pytest_plugins = ("support.fixtures",)
pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.timeout(2400)]
SLOWLY = {"SYNC_FAILPOINTS": "backfill.read=sleep:0.5,drift.read=sleep:0.5"}
Change = Callable[[Ring], None]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    """Three nodes, Postgres and Valkey. What a test changes in the ring stays so."""
    with ring(tmp_path_factory.mktemp("ring") / "servers") as made:
        yield made


@pytest.fixture(scope="module")
def new_place(three: Ring, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> NewPlace:
    """Places whose rows have three replicas."""
    from support.fixtures import places_at  # only after pytest has loaded it as a plugin

    stack = three.cluster.stack
    return places_at(three.cluster.settings, zygote, stack.valkey, tmp_path_factory, stack.cluster.replication)


def meanwhile(place: Place, command: str, change: Callable[[], None]) -> Done:
    """Run the command, and change the ring from its middle on; where the command ends first, more passes follow."""
    began = place.commands.but(**SLOWLY).start(command, "--workers", "1", "--json")
    try:
        until(lambda: under_way(place) or began.poll() is not None, 240, f"{command} is under way")
        assert began.poll() is None, f"{command} was over before the ring changed"
        with ThreadPoolExecutor(1) as executor:
            changing = executor.submit(change)
            done = place.commands.ended(began, 900)
            while not changing.done():
                nothing_differs(place.commands.run("drift-report", "--workers", "1", "--json", timeout=600))
            changing.result()
    finally:
        began.kill()
    return done


def nothing_differs(done: Done) -> None:
    """A pass that may lack a row that was written all the while, but found no difference."""
    assert done.code in (0, 2), done
    assert not any(table["findings"] for table in done.json["tables"]), done


@pytest.mark.parametrize(
    ("in_backfill", "in_drift"),
    [
        pytest.param(Ring.moves, Ring.moves, id="moves"),
        pytest.param(Ring.replaced, Ring.replaced, id="replaced"),
        pytest.param(Ring.joins, Ring.leaves, id="joins-and-leaves"),  # the last one: a contact point is gone
    ],
)
def test_the_ring_changes_in_the_middle(three: Ring, new_place: NewPlace, in_backfill: Change, in_drift: Change) -> None:
    """Would break: rows of a range that changes hands are missed, found where they are not, or their writes are lost."""
    with begun(new_place) as place:
        config = load_config(place.commands.folder / "sync.toml")
        with closing(Table(place.cassandra, place.settings, config, "songs")) as table:
            with running(place.settings, config, 2) as applications:
                until(lambda: sum(a.writes for a in applications) > 40, what="writes are made")
                done = meanwhile(place, "backfill", lambda: in_backfill(three))
                assert done.code == 0, done
                nothing_differs(meanwhile(place, "drift-report", lambda: in_drift(three)))
                for command in ("cutover", "rollback"):
                    place.prove()
                    switched = place.commands.run(command, "--yes")
                    assert switched.code == 0, switched
                    before = sum(a.writes for a in applications)
                    until(lambda before=before: sum(a.writes for a in applications) > before + 40, 120, "writes go on")
                place.prove()
            table.epoch = 3
            for application in applications:
                application.check(table)
            assert table.check_equal() >= ROWS
