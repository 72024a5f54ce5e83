"""An application's own classes whose methods write whole partitions: for either side, and for asyncio."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from cassandra.cluster import Session

from sync.adapters.postgres.connection.pool import Pool

Plays = Sequence[tuple[int, str, str]]
"""Rows of a room: day, song, and what is written of it."""


class Rooms:
    """Writes rooms of `plays`, statement by statement, and one row each into `owners`.

    `halfway` is called in the middle of a method.
    """

    def __init__(self) -> None:
        self.halfway: Callable[[], object] = lambda: None

    def clear(self, room: str) -> int:
        """Delete a room."""
        self._delete(room)
        self.halfway()
        return 0

    def replace(self, room: str, plays: Plays) -> int:
        """Give a room other rows; how many."""
        self._delete(room)
        self.halfway()
        for day, song, text in plays:
            self._insert(room, day, song, text)
        return len(plays)

    def found(self, room: str, owner: str, plays: Plays) -> int:
        """The same, with the room's owner in another table."""
        self._own(room, owner)
        return self.replace(room, plays)

    def _delete(self, room: str) -> None:
        self._execute("DELETE FROM {}plays WHERE room = %s", room)

    def _insert(self, room: str, day: int, song: str, text: str) -> None:
        raise NotImplementedError

    def _own(self, room: str, owner: str) -> None:
        raise NotImplementedError

    def _execute(self, statement: str, *values: Any) -> None:
        raise NotImplementedError


class OldRooms(Rooms):
    """Over Cassandra."""

    def __init__(self, session: Session, keyspace: str) -> None:
        super().__init__()
        self._session, self._keyspace = session, keyspace

    def _insert(self, room: str, day: int, song: str, text: str) -> None:
        self._execute("INSERT INTO {}plays (room, day, song, a) VALUES (%s, %s, %s, %s)", room, day, song, text)

    def _own(self, room: str, owner: str) -> None:
        self._execute("INSERT INTO {}owners (room, owner) VALUES (%s, %s)", room, owner)

    def _execute(self, statement: str, *values: Any) -> None:
        self._session.execute(statement.format(f'"{self._keyspace}".'), values)


class NewRooms(Rooms):
    """Over Postgres, each statement committed on its own."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    def _insert(self, room: str, day: int, song: str, text: str) -> None:
        conflict = "ON CONFLICT (room, day, song) DO UPDATE SET a = excluded.a, b = NULL"
        self._execute(f"INSERT INTO plays (room, day, song, a) VALUES (%s, %s, %s, %s) {conflict}", room, day, song, text)

    def _own(self, room: str, owner: str) -> None:
        conflict = "ON CONFLICT (room) DO UPDATE SET owner = excluded.owner"
        self._execute(f"INSERT INTO owners (room, owner) VALUES (%s, %s) {conflict}", room, owner)

    def _execute(self, statement: str, *values: Any) -> None:
        with self._pool.connection() as connection:
            connection.execute(statement.format("").encode(), values)


class AsyncRooms:
    """The same for asyncio; `entered` is set within a call, which then waits for `gate`."""

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self.entered, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def clear(self, room: str) -> int:
        await asyncio.to_thread(self.rooms.clear, room)
        self.entered.set()
        await self.gate.wait()
        return 0


def room_of(room: str, *_: Any) -> tuple[str, dict[str, str]]:
    """The partition that a method writes."""
    return "plays", {"room": room}


def room_and_owner(room: str, *_: Any) -> list[tuple[str, dict[str, str]]]:
    """The same, and a row of the other table."""
    return [room_of(room), ("owners", {"room": room})]


WRITES: Any = {"clear": room_of, "replace": room_of, "found": room_and_owner}


def some_plays(dice: random.Random) -> list[tuple[int, str, str]]:
    """Rows of a room, at random."""
    return [(day, f"s{dice.randrange(2)}", f"t{dice.randrange(99)}") for day in range(dice.randrange(5))]
