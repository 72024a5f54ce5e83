"""A closed store: each of its methods says so, sends nothing, and raises no error of a driver or an executor."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from support.commands import environment
from support.dataapi.server import data_api, settings_of
from support.places import Place
from support.prepared_places import home_of

from sync.errors import SourceUnavailable, StoreClosed
from sync.settings import Config, DualWriteTuning, Settings
from sync.stores import ApiDualWriteStore, AsyncDualWriteStore, CqlStore, DualWriteStore, PostgresStore
from sync.stores.one_side.astra import AstraStore

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=2, heartbeat_seconds=0.3))
NO_CALLS = {"close", "wrap"}
ARGUMENTS: dict[str, Any] = {
    "row": {"id": uuid4(), "title": "a"},
    "rows": [],  # refused as well where there is nothing to do
    "key": {"id": uuid4()},
    "keys": [],
    "where": {"id": uuid4()},
    "changes": {"title": "b"},
    "amounts": {"title": 1},
    "table": "songs",
    "column": "title",
    "vector": [1.0],
    "since": 0,
    "held": None,
    "astra": lambda: None,
    "postgres": lambda: None,
}


home = home_of(CONFIG, songs="id uuid PRIMARY KEY, title text")


def closed_calls(store: Any) -> dict[str, Callable[[], Any]]:
    """Every public method and property of a store's class, by name, as calls with arguments that it takes."""
    calls: dict[str, Callable[[], Any]] = {}
    for name, member in inspect.getmembers_static(type(store)):
        if name.startswith("_") or name in NO_CALLS:
            continue
        if isinstance(member, property):
            calls[name] = lambda name=name: getattr(store, name)
            continue
        if not callable(member):
            continue  # which side a store of one side is of needs no server
        given = {p: ARGUMENTS[p] for p in inspect.signature(member).parameters if p in ARGUMENTS}
        calls[name] = lambda name=name, given=given: getattr(store, name)(**given)
    return calls


def check(store: Any) -> None:
    calls = closed_calls(store)
    assert {"put", "put_many", "update", "delete", "get", "search", "count"} <= set(calls)
    for name, call in calls.items():
        with pytest.raises(StoreClosed, match="nothing was sent"):
            pytest.fail(f"{name} gave {call()!r}")


OPEN: dict[str, Callable[[Settings], Any]] = {
    "CqlStore": CqlStore,
    "PostgresStore": PostgresStore,
    "DualWriteStore": lambda settings: DualWriteStore(settings, CONFIG),
}


@pytest.mark.parametrize("kind", OPEN)
def test_a_closed_store_says_so(home: Place, kind: str) -> None:
    """Would break: an application's late call is taken for a write that may have been done, or for a fault of a server."""
    store = OPEN[kind](home.settings)
    store.count("songs")
    store.close()
    check(store)
    store.close()  # twice is no error


def test_a_closed_store_of_the_data_api_says_so(home: Place) -> None:
    with data_api(home.cassandra.session) as double:
        settings = settings_of(home.settings, double)
        for store in (AstraStore(settings), ApiDualWriteStore(settings, CONFIG)):
            store.count("songs")
            store.close()
            check(store)


def test_a_closed_awaited_store_says_so(home: Place) -> None:
    """Would break: `RuntimeError: cannot schedule new futures after shutdown`, also for calls that wait for a thread."""

    async def run() -> None:
        async with AsyncDualWriteStore(home.settings, CONFIG) as store:
            waiting = [asyncio.create_task(store.get("songs", {"id": uuid4()})) for _ in range(20)]
            await asyncio.sleep(0)
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert outcome is None or isinstance(outcome, StoreClosed), repr(outcome)
        for name, call in closed_calls(store).items():
            with pytest.raises(StoreClosed):
                pytest.fail(f"{name} gave {await call()!r}")
        await store.close()

    asyncio.run(run())


def test_a_read_that_is_cut_off_by_the_end_says_so(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the driver drops a request as it is shut down, and after its timeout the server is said to be slow."""
    store = DualWriteStore(home.settings, CONFIG)

    def get(*_: Any) -> None:
        store.close()
        raise SourceUnavailable("no answer in time")

    monkeypatch.setattr(CqlStore, "get", get)
    with pytest.raises(StoreClosed):
        store.get("songs", {"id": uuid4()})


def test_a_closed_wrapped_store_says_so(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the application's own class goes on alone, and its writes have no other side."""
    for name, value in environment(home.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SYNC_CONFIG", str(home.commands.folder / "sync.toml"))
    home.configure("schema_files = []")
    asked: list[str] = []
    old = SimpleNamespace(save=lambda id: asked.append("save"), title=lambda id: asked.append("title"))
    with DualWriteStore.wrap(old, old, {"save": lambda id: ("songs", {"id": id})}) as store:
        title = store.title
        title(uuid4())
    for method in ("save", "title"):
        with pytest.raises(StoreClosed):
            getattr(store, method)(uuid4())
    assert asked == ["title"]
