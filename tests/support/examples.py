"""The applications of examples/, each started as its README says, under load while it is migrated."""

from __future__ import annotations

import random
import re
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol
from uuid import UUID, uuid4

import httpx
from celery import Celery

from support.commands import ROOT
from support.dual import Table
from support.places import Place
from support.running_commands import Running, until
from sync.settings import load_config

EXAMPLES = ROOT / "examples"
TOML = """
only = ["songs", "playlist"]
schema_files = ["schema.sql"]
[dual_write]
heartbeat_seconds = 0.5
[drift]
grace_seconds = 0.1
tries = 8
"""
SONGS = 2000
"""As many does create_tables.py make."""
GENRES = ("Ballad", "Blues", "Jazz")
ACTIVE = "SELECT count(*) FROM sync.writer WHERE state = 'active'"
Song = dict[str, Any]
Entry = tuple[str, str, str]
"""Of a playlist: its owner, the time, the song."""


class Client(Protocol):
    """How a thread of the load speaks to the example; whatever fails raises."""

    def save(self, key: UUID, song: Song) -> None: ...
    def delete(self, key: UUID) -> None: ...
    def get(self, key: UUID) -> Song | None: ...
    def close(self) -> None: ...


@dataclass
class Listening:
    """A process of the example, and the port that it listens to."""

    process: Running
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        assert not self.process.ended, self.process.err[-3000:]
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass
class Example:
    """One of the examples in a place; `writers` is how many processes of it write to both sides."""

    place: Place
    name: str
    writers: int = 1
    requests_wait: bool = False
    """Whether requests wait in a queue while it is restarted; otherwise the new process is started before the old one ends."""
    ready: Callable[[Listening], bool] = Listening.answers
    now: Listening | None = None

    @property
    def url(self) -> str:
        assert self.now is not None
        return self.now.url

    def start(self, how: str) -> None:
        """Start it by the line of its README that begins like this, and end the one before."""
        if self.requests_wait:
            self.stop()
        before, port = self.now, _free_port()
        given, argv = _line(self.name, how, port)
        env = self.place.commands.but(**given)._whole()
        made = Listening(Running(argv, self.place.commands.folder, env), port)
        try:
            until(lambda: self.ready(made), 60, f"{self.name} answers; {made.process.err[-3000:]}")
        except BaseException:
            made.process.kill_all()
            raise
        self.now = made
        if before:
            self._end(before)

    def stop(self) -> None:
        """End it; its stores sign off."""
        if self.now:
            ended, self.now = self.now, None
            self._end(ended)

    def sync(self, *argv: str) -> None:
        """Run a command of the operator's, which must succeed."""
        done = self.place.commands.run(*argv)
        assert done.code == 0, done

    @staticmethod
    def _end(running: Listening) -> None:
        running.process.process.terminate()
        done = running.process.wait(60)
        assert done.code in (0, -signal.SIGTERM), done  # uvicorn ends by the signal, after its lifespan has ended
        assert "Traceback" not in done.err, done.err


def _line(name: str, how: str, port: int) -> tuple[dict[str, str], list[str]]:
    """The variables and the command of a line in a README, with another port."""
    blocks = re.findall(r"```sh\n(.*?)```", (EXAMPLES / name / "README.md").read_text(), re.DOTALL)
    line = next(line for block in blocks for line in block.splitlines() if line.startswith(how))
    words = shlex.split(line.replace("8000", str(port)))
    given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    program, *arguments = words[len(given) :]
    return given, [str(Path(sys.executable).with_name(program)), *arguments]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Http:
    """A client of the examples that speak HTTP; a status that is not expected raises."""

    def __init__(self, example: Example) -> None:
        self._example, self.http = example, httpx.Client(timeout=60)

    @property
    def url(self) -> str:
        return self._example.url

    def ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self.http.request(method, self.url + path, **more)
        if answer.status_code == 404 and method == "GET":
            return None
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None

    def save(self, key: UUID, song: Song) -> None:
        self.ask("PUT", f"/songs/{key}", json=song)

    def delete(self, key: UUID) -> None:
        self.ask("DELETE", f"/songs/{key}")

    def get(self, key: UUID) -> Song | None:
        found: Song | None = self.ask("GET", f"/songs/{key}")
        return found

    def close(self) -> None:
        self.http.close()


class Tasks:
    """A client of the Celery example; a task that fails raises."""

    def __init__(self, place: Place) -> None:
        url = place.commands.env["REDIS_URL"]
        self.app = Celery("load", broker=url, backend=url, set_as_current=False)

    def run(self, name: str, *args: Any) -> Any:
        result = self.app.send_task(f"celery_task.tasks.{name}", [str(args[0]), *args[1:]])
        until(result.ready, 60, f"{name} is done")
        found = result.get()
        result.forget()
        return found

    def save(self, key: UUID, song: Song) -> None:
        self.run("save_song", key, *song.values())

    def delete(self, key: UUID) -> None:
        self.run("delete_song", key)

    def get(self, key: UUID) -> Song | None:
        found: Song | None = self.run("get_song", key)
        return found

    def close(self) -> None:
        self.app.close()


@dataclass
class Load:
    """One thread with keys of its own; `known` is the last acknowledged row of each."""

    client: Client
    seed: int
    also: Callable[[Load], None] | None = None
    """What else the example can do: called now and then."""
    known: dict[UUID, Song | None] = field(default_factory=dict)
    entries: dict[Entry, bool] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.keys = [uuid4() for _ in range(12)]

    def run(self, ended: Event) -> None:
        """Requests, one after the other, until told to end."""
        while not ended.is_set():
            try:
                self._one()
            except Exception as error:  # noqa: BLE001 - whatever it is, this request has failed
                self.failed.append(f"{time.strftime('%T')} {type(error).__name__}: {error}")
            self.requests += 1
            time.sleep(0.03)
        self.client.close()

    def _one(self) -> None:
        key = self.dice.choice(self.keys)
        match self.dice.randrange(6):
            case 0:
                self.client.delete(key)
                self.known[key] = None
            case 1 | 2:
                found, known = self.client.get(key), self.known.get(key)
                assert (found and {name: found[name] for name in known or {}}) == known, f"read {found}, acknowledged {known}"
            case 3 if self.also:
                self.also(self)
            case _:
                song: dict[str, Any] = {
                    "title": f"{self.seed} {self.requests}",
                    "artist": "The load",
                    "genre": self.dice.choice(GENRES),
                }
                song["mood"] = [self.dice.choice((-1.0, 0.5, 1.0, 2.0)) for _ in range(4)]
                self.client.save(key, song)
                self.known[key] = song


@dataclass
class Loads:
    """All threads of the load."""

    threads: list[Load]

    @property
    def requests(self) -> int:
        return sum(thread.requests for thread in self.threads)

    def more(self, count: int = 60) -> None:
        """Wait until so many more requests were answered, none of which may have failed."""
        enough = self.requests + count
        until(lambda: self.requests >= enough or any(thread.failed for thread in self.threads), 120, "the load goes on")
        failed = [failure for thread in self.threads for failure in thread.failed]
        assert not failed, f"{len(failed)} of {self.requests} requests failed: {failed[:5]}"


@contextmanager
def loaded(threads: list[Load]) -> Iterator[Loads]:
    """Threads that send requests until the block ends."""
    ended = Event()
    started = [Thread(target=thread.run, args=(ended,), daemon=True) for thread in threads]
    loads = Loads(threads)
    try:
        for thread in started:
            thread.start()
        yield loads
    finally:
        ended.set()
        for thread in started:
            thread.join(90)
    assert not any(thread.is_alive() for thread in started), "a request hangs"
    loads.more(0)


@contextmanager
def migrated(example: Example, start: str, threads: Callable[[], list[Load]]) -> Iterator[Loads]:
    """The whole migration under load, there, back and there again; in the block the application has ended."""
    place = example.place
    place.configure(TOML)
    for path in EXAMPLES.iterdir():  # the folder in which the READMEs' commands run, but for the settings
        if path.suffix in ("", ".py", ".cql", ".sql") and path.name[0] != ".":
            (place.commands.folder / path.name).symlink_to(path)
    env = place.commands._whole()
    make = Running([sys.executable, "create_tables.py"], place.commands.folder, env)
    assert make.wait().code == 0, make.err
    worker = None
    try:
        example.start(start)
        with loaded(threads()) as load:
            load.more()
            example.sync("schema", "apply")
            example.start("SYNC_DUAL_WRITE=true ")
            worker = Running([sys.executable, "-m", "sync", "worker", "-n", "1"], place.commands.folder, env)
            until(lambda: place.sql(ACTIVE) == [(example.writers,)], what="its processes are registered")
            load.more()
            writers = ("--writers", str(example.writers))
            example.sync("backfill", *writers)
            for switch in ("cutover", "rollback", "cutover"):
                place.prove()
                example.sync(switch, *writers, "--yes")
                load.more()
        example.stop()
        yield load
    finally:
        for running in [*([example.now.process] if example.now else []), *([worker] if worker else [])]:
            running.kill_all()


def check(place: Place, load: Loads) -> None:
    """Every process has signed off; both sides hold what was acknowledged, and nothing else."""
    assert place.sql("SELECT id, state FROM sync.writer WHERE state <> 'signed_off'") == []
    _settle(place)
    songs = {key: song for thread in load.threads for key, song in thread.known.items()}
    assert len(songs) > 20, "the load has written nothing"
    columns = "id, title, artist, genre, mood"
    for rows in (place.cql(f"SELECT {columns} FROM KS.songs"), place.sql(f"SELECT {columns}::real[] FROM songs")):
        held = {row[0]: dict(zip(("title", "artist", "genre"), row[1:4], strict=True)) | {"mood": row[4]} for row in rows}
        wrong = [(key, song, held.get(key)) for key, song in songs.items() if _plain(held.get(key)) != song]
        assert not wrong, f"{len(wrong)} songs are not as they were acknowledged: {wrong[:3]}"
        assert len(held) == SONGS + sum(song is not None for song in songs.values())
    entries = {entry for thread in load.threads for entry, there in thread.entries.items() if there}
    columns = "owner, at, song"
    for rows in (place.cql(f"SELECT {columns} FROM KS.playlist"), place.sql(f"SELECT {columns} FROM playlist")):
        assert {(owner, f"{at:%Y-%m-%dT%H:%M:%S}Z", str(song)) for owner, at, song in rows} == entries


def _settle(place: Place) -> None:
    """What workers would do in the next minutes."""
    for name in ("songs", "playlist"):
        with closing(Table(place.cassandra, place.settings, load_config(place.commands.folder / "sync.toml"), name)) as table:
            table.epoch = place.sql("SELECT max(epoch) FROM sync.epoch")[0][0]
            table.drained()


def _plain(row: Song | None) -> Song | None:
    return row and {**row, "mood": row["mood"] and list(row["mood"])}
