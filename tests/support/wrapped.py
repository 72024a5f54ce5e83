"""An application's own store classes, over two tables, for either side: what `DualWriteStore.wrap` wraps.

`python wrapped.py SEED` wraps them and calls them forty times, and says when one has returned: for tests that kill it.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from uuid import UUID

from cassandra.cluster import Session

from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.postgres.connection.pool import Pool, open_pool
from sync.settings import load_settings
from sync.stores import DualWriteStore

Titles = Mapping[UUID, str | None]
"""Titles by the song's id; None: the song is deleted."""


class Songs:
    """Writes titles into `songs`, and each title's song into `titles`, one statement after the other, as applications do.

    `fail_after`: so many songs are written, and then the driver gives up.
    """

    fail_after: int | None = None

    def save(self, titles: Titles) -> int:
        """Write them all; how many."""
        for number, (song, title) in enumerate(titles.items()):
            if number == self.fail_after:
                raise TimeoutError("the driver gave up waiting")
            if title is None:
                self._execute("DELETE FROM {}songs WHERE id = %s", song)
            else:
                self._execute("INSERT INTO {}songs (id, title) VALUES (%s, %s){}", song, title)
                self._execute("INSERT INTO {}titles (title, song) VALUES (%s, %s){}", title, song)
        return len(titles)

    def title(self, song: UUID) -> str | None:
        return next((row[0] for row in self._execute("SELECT title FROM {}songs WHERE id = %s", song)), None)

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        raise NotImplementedError


class OldSongs(Songs):
    """Over Cassandra, with the server's timestamps."""

    def __init__(self, session: Session, keyspace: str) -> None:
        self._session, self._keyspace = session, keyspace

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        return list(self._session.execute(statement.format(f'"{self._keyspace}".', ""), values))


class NewSongs(Songs):
    """Over Postgres, each statement committed on its own."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        key, column = ("id", "title") if "songs" in statement else ("title", "song")
        text = statement.format("", f" ON CONFLICT ({key}) DO UPDATE SET {column} = excluded.{column}")
        with self._pool.connection() as connection:
            cursor = connection.execute(text.encode(), values)
            return cursor.fetchall() if cursor.description else []


class AsyncSongs:
    """The same for asyncio. `gate` is awaited in the middle of a call, after its first half."""

    def __init__(self, songs: Songs) -> None:
        self.songs = songs
        self.entered, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def save(self, titles: Titles) -> int:
        half = dict(list(titles.items())[: len(titles) // 2])
        await asyncio.to_thread(self.songs.save, half)
        self.entered.set()
        await self.gate.wait()
        await asyncio.to_thread(self.songs.save, {song: titles[song] for song in titles if song not in half})
        return len(titles)

    async def title(self, song: UUID) -> str | None:
        return await asyncio.to_thread(self.songs.title, song)


def keys_of(titles: Titles) -> list[tuple[str, dict[str, Any]]]:
    """Every key that `save` writes, some of them twice."""
    keys: list[tuple[str, dict[str, Any]]] = []
    for song, title in titles.items():
        keys += [("songs", {"id": song})] * 2
        if title is not None:
            keys.append(("titles", {"title": title}))
    return keys


WRITES: Any = {"save": keys_of}
CATALOGUE = [UUID(int=n) for n in range(8)]


def some_titles(dice: random.Random, count: int, catalogue: list[UUID] = CATALOGUE) -> dict[UUID, str | None]:
    """New titles for some songs; every fifth song goes."""
    songs = dice.sample(catalogue, count)
    return {song: None if dice.random() < 0.2 else f"t{dice.randrange(12)}" for song in songs}


def main() -> None:
    dice, settings = random.Random(sys.argv[1]), load_settings()
    with open_cassandra(settings) as cassandra, closing(open_pool(settings, 4)) as pool:
        old = OldSongs(cassandra.session, str(settings.astra_db_keyspace))
        with DualWriteStore.wrap(old, NewSongs(pool), WRITES) as store:
            for _ in range(40):
                store.save(some_titles(dice, 5))
                print("saved", flush=True)


if __name__ == "__main__":
    main()
