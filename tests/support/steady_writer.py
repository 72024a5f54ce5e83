"""Somebody who knows nothing of `sync`: writes to songs and people at a steady rate until it is ended, and keeps a record.

`python steady_writer.py HOST PORT USER PASSWORD KEYSPACE RECORD RATE VALUE_BYTES`: so many statements a second. RECORD gets a
line for each key or partition whose write was acknowledged: microseconds since 1970 before it was sent, table, partition,
clustering (empty: the table has none; *: the whole partition).
"""

import random
import sys
import time
from pathlib import Path

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
from cassandra.concurrent import execute_concurrent

_TICK_SECONDS = 0.1
_ALBUMS, _TRACKS, _PEOPLE = 300, 200, 5_000


def one(value: str) -> tuple[str, list[tuple[str, str, str]]]:
    """A statement, and what it touches."""
    p, c, kind = random.randrange(_ALBUMS), random.randrange(_TRACKS), random.randrange(12)
    name, row = f"p{random.randrange(_PEOPLE)}", ("songs", f"a{p}", str(c))
    where = f"WHERE album = 'a{p}' AND track = {c}"
    if kind == 0:
        return f"DELETE FROM songs WHERE album = 'a{p}' AND track > {c} AND track < {c + 4}", [("songs", f"a{p}", "*")]
    if kind == 1:
        return f"DELETE FROM songs {where}", [row]
    if kind == 2:
        return f"UPDATE songs SET tags = tags + {{'t{c}'}} {where}", [row]
    if kind == 3:
        batch = (
            f"INSERT INTO people (name, age) VALUES ('{name}', {c}); INSERT INTO songs (album, track) VALUES ('a{p}', {c})"
        )
        return f"BEGIN BATCH {batch}; APPLY BATCH", [row, ("people", name, "")]
    if kind == 4:
        return f"INSERT INTO people (name, age) VALUES ('{name}', {c}) IF NOT EXISTS", [("people", name, "")]
    if kind == 5:
        return f"DELETE FROM people WHERE name = '{name}'", [("people", name, "")]
    return f"INSERT INTO songs (album, track, title) VALUES ('a{p}', {c}, '{value}')", [row]


def main(host: str, port: str, user: str, password: str, keyspace: str, record: str, rate: str, size: str) -> None:
    """Write until it is ended."""
    auth = PlainTextAuthProvider(user, password)
    session = Cluster([host], port=int(port), auth_provider=auth).connect(keyspace)
    each, value = max(1, round(int(rate) * _TICK_SECONDS)), "v" * int(size)
    due = time.monotonic()
    with Path(record).open("a", buffering=1) as lines:
        while True:
            some, sent = [one(value) for _ in range(each)], time.time_ns() // 1000
            for (ok, rows), (_, touched) in zip(
                execute_concurrent(session, [(text, ()) for text, _ in some], each, raise_on_first_error=False),
                some,
                strict=True,
            ):
                if ok and getattr(rows.one(), "applied", True):  # only an INSERT IF NOT EXISTS answers with a row
                    lines.write("".join(f"{sent}\t{table}\t{p}\t{c}\n" for table, p, c in touched))
            due = max(due + _TICK_SECONDS, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
