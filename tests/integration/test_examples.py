"""Each application of examples/ under load while it is migrated there, back and there again: no request fails, no write is lost."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest
from support.examples import Example, Http, Listening, Load, Tasks, check, migrated
from support.places import NewPlace

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow


def _everything(load: Load) -> None:
    """What else the FastAPI example can do."""
    client = load.client
    assert isinstance(client, Http)
    owner, song = f"owner {load.seed}", str(load.keys[0])
    entry = (owner, f"2026-01-01T00:00:{load.dice.randrange(60):02}Z", song)
    match load.dice.randrange(7):
        case 0:
            path = f"/playlists/{'/'.join(entry)}"
            client.ask("PUT", path)
            load.entries[entry] = True
        case 1:
            client.ask("DELETE", f"/playlists/{'/'.join(entry)}")
            load.entries[entry] = False
        case 2:
            found = [row["at"] for row in client.ask("GET", f"/playlists/{owner}?limit=100")]
            assert found == sorted((at for (_, at, _), there in load.entries.items() if there), reverse=True)
        case 3:
            found = client.ask("GET", "/genres/Jazz?limit=5")
            assert [row["genre"] for row in found] == ["Jazz"] * 5
        case 4:
            found = client.ask("POST", "/search?genre=Jazz&limit=3", json=[1, 2, 1, 2])
            assert [row["genre"] for row in found] == ["Jazz"] * 3
        case 5:
            found = client.ask("GET", "/some-songs", params={"ids": [str(key) for key in load.keys]})
            assert [row and row["title"] for row in found] == [(load.known.get(key) or {}).get("title") for key in load.keys]
        case _:
            page = client.http.get(f"{client.url}/songs")
            following = client.http.get(page.links["next"]["url"])
            ids = [row["id"] for row in [*page.json(), *following.json()]]
            assert len(set(ids)) == 100, "a song is on two pages"


def test_fastapi(new_place: NewPlace) -> None:
    """Would break: a coroutine that blocks, a lifespan that does not sign off, a cursor that is good on one side only."""
    with new_place() as place:
        example = Example(place, "fastapi_app")
        with migrated(example, "uvicorn ", lambda: [Load(Http(example), seed, _everything) for seed in range(4)]) as load:
            check(place, load)


def test_flask_under_gunicorn(new_place: NewPlace) -> None:
    """Would break: a store from before the fork, a worker that does not sign off when gunicorn ends."""
    with new_place() as place:
        example = Example(place, "flask_gunicorn", writers=2)
        with migrated(example, "gunicorn ", lambda: [Load(Http(example), seed) for seed in range(4)]) as load:
            check(place, load)


def test_a_celery_task(new_place: NewPlace) -> None:
    """Would break: a pool's process that does not sign off, or is stopped while its store is being opened."""

    def ready(listening: Listening) -> bool:
        assert not listening.process.ended, listening.process.err
        return "ready." in listening.process.err

    with new_place() as place:
        example = Example(place, "celery_task", 2, requests_wait=True, ready=ready)
        with migrated(example, "celery ", lambda: [Load(Tasks(place), seed) for seed in range(4)]) as load:
            check(place, load)


def test_a_repository_class(new_place: NewPlace) -> None:
    """Would break: a wrapped class whose rows are on one side only, or an application's class that is asked on the wrong side."""
    with new_place() as place:
        example = Example(place, "repository")
        with migrated(example, "gunicorn ", lambda: [Load(Http(example), seed) for seed in range(4)]) as load:
            check(place, load)


class Listener(Http):
    """A client that listens to the songs that it saves, and knows how often."""

    def __init__(self, example: Example, seed: int) -> None:
        super().__init__(example)
        self.name, self.listens = f"listener {seed}", Counter[UUID]()

    def delete(self, key: UUID) -> None:
        super().delete(key)
        self.listens.pop(key, None)


def _listen(load: Load) -> None:
    """What else the example can do: listen, and show the chart, which is a join as soon as Postgres is primary."""
    client, there = load.client, [key for key, song in load.known.items() if song]
    assert isinstance(client, Listener)
    if there:
        client.ask("POST", f"/songs/{(key := load.dice.choice(there))}/listens/{client.name}")
        client.listens[key] += 1
    chart = [(UUID(row["id"]), row["title"], row["listens"]) for row in client.ask("GET", f"/charts/{client.name}")]
    assert set(chart) == {(key, song["title"], client.listens[key]) for key in client.listens if (song := load.known[key])}
    assert [count for *_, count in chart] == sorted(client.listens.values(), reverse=True)


def test_sql_beside_the_store(new_place: NewPlace) -> None:
    """Would break: an application's own SQL that reads the side that is not primary, or a table of its own that the migration loses."""
    with new_place() as place:
        example = Example(place, "sql_beside_the_store")
        threads = [Load(Listener(example, seed), seed, _listen) for seed in range(4)]
        with migrated(example, "gunicorn ", lambda: threads) as load:
            check(place, load)
        listens = {(thread.client.name, key): count for thread in threads for key, count in thread.client.listens.items()}  # type: ignore[attr-defined]
        assert {
            (name, key): count for name, key, count in place.sql("SELECT listener, song, count(*) FROM listens GROUP BY 1, 2")
        } == listens
