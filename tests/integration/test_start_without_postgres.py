"""A process that starts while Postgres is unreachable and Astra is primary: it reads, and writes once Postgres is back.

A store may write only as a registered writer (rule 28), and nothing but Postgres can register it; reads need neither.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from support.commands import environment
from support.dataapi.server import DataApi, data_api, settings_of
from support.dual import Table, forget_migration, prepare
from support.places import NewPlace, Place
from support.prepared_places import home_of
from support.proxies import Proxy
from support.reverse import be_primary
from support.running_commands import until

from sync.errors import PreflightError, SettingsError, SyncError, Unreachable, WriteRefused
from sync.settings import Config, DualWriteTuning, Settings
from sync.stores import ApiDualWriteStore, AsyncDualWriteStore, DualWriteStore, PostgresStore, open_store

pytest_plugins = ("support.fixtures",)
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=2, heartbeat_seconds=0.3))
NOT_YET = r"^songs: Postgres .*this process is not registered there yet.*nothing was written$"
STARTING = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"


home = home_of(CONFIG, songs="id uuid PRIMARY KEY, title text")


@pytest.fixture
def table(home: Place) -> Iterator[Table]:
    with closing(Table(home.cassandra, home.settings, CONFIG, "songs")) as opened:
        forget_migration(opened)
        yield opened


@dataclass
class Sick:
    """A Postgres that is unreachable: the settings that lead there, and what heals it."""

    settings: Settings
    heal: Callable[[], object]


def through(home: Place, port: int, backend: str | None = "astra") -> Settings:
    changes: dict[str, Any] = {"postgres_port": port} | ({"storage_backend": backend} if backend else {})
    left = {"storage_backend"} if backend is None else set()
    made = home.settings.model_copy(update=changes)
    made.__pydantic_fields_set__.difference_update(left)
    return made


@contextmanager
def cut(home: Place) -> Iterator[Sick]:
    """Its connections end at once."""
    with closing(Proxy("127.0.0.1", home.settings.postgres_port)) as proxy:
        proxy.cut()
        yield Sick(through(home, proxy.port), proxy.heal)


@contextmanager
def refused(home: Place) -> Iterator[Sick]:
    """Nothing listens there until it is healed."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    with closing(Relay(port, home.settings.postgres_port)) as relay:
        yield Sick(through(home, port), relay.listen)


@contextmanager
def silent(home: Place) -> Iterator[Sick]:
    """It accepts connections and never answers."""
    with closing(Proxy("127.0.0.1", home.settings.postgres_port)) as proxy:
        proxy.stall()
        secret, there = home.settings.postgres_password, through(home, proxy.port)
        url = (
            f"postgresql://{there.postgres_user}:{secret.get_secret_value() if secret else ''}@127.0.0.1:{proxy.port}/"
            f"{there.postgres_database}?sslmode=disable&connect_timeout=2"
        )
        yield Sick(there.model_copy(update={"database_url": SecretStr(url)}), proxy.heal)


@contextmanager
def starting(home: Place) -> Iterator[Sick]:
    """It answers that it is starting up: 57P03."""
    with closing(Relay(0, home.settings.postgres_port, STARTING)) as relay:
        yield Sick(through(home, relay.port), relay.heal)


@contextmanager
def too_many(home: Place) -> Iterator[Sick]:
    """It has no connection left for this role: 53300."""
    role = f"app_{uuid4().hex[:8]}"
    home.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'hunter2' IN ROLE {home.settings.postgres_user} CONNECTION LIMIT 0")
    home.sql(f"GRANT ALL ON ALL TABLES IN SCHEMA sync, public TO {role}")
    changes = {"postgres_user": role, "postgres_password": SecretStr("hunter2")}
    try:
        settings = through(home, home.settings.postgres_port).model_copy(update=changes)
        yield Sick(settings, lambda: home.sql(f"ALTER ROLE {role} CONNECTION LIMIT -1"))
    finally:
        home.sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@contextmanager
def raising(home: Place, state: str, words: str) -> Iterator[Sick]:
    """It can be read, but takes no writes."""
    home.sql(
        f"CREATE OR REPLACE FUNCTION public.sick() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION USING ERRCODE = '{state}', MESSAGE = '{words}'; END$$",
        "CREATE TRIGGER sick BEFORE INSERT ON sync.writer FOR EACH ROW EXECUTE FUNCTION public.sick()",
    )
    try:
        settings = through(home, home.settings.postgres_port)
        yield Sick(settings, lambda: home.sql("DROP TRIGGER IF EXISTS sick ON sync.writer"))
    finally:
        home.sql("DROP TRIGGER IF EXISTS sick ON sync.writer", "DROP FUNCTION public.sick()")


def full(home: Place) -> Any:
    return raising(home, "53100", "could not extend file: No space left on device")


def read_only(home: Place) -> Any:
    return raising(home, "25006", "cannot execute INSERT in a read-only transaction")


class Relay:
    """A proxy that first does not listen, or answers every connection with an error of Postgres's own."""

    def __init__(self, port: int, real: int, fault: bytes | None = None) -> None:
        self._proxy, self._wanted, self._fault, self._server = Proxy("127.0.0.1", real), port, fault, socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if fault:
            self.listen()

    def listen(self) -> None:
        self._server.bind(("127.0.0.1", self._wanted))
        self._server.listen()
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def heal(self) -> None:
        self._fault = None

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._line, args=(line,), daemon=True).start()

    def _line(self, line: socket.socket) -> None:
        with line:
            if self._fault:
                line.recv(1024)
                line.sendall(b"E" + (len(self._fault) + 4).to_bytes(4, "big") + self._fault)
                return
            with socket.create_connection(("127.0.0.1", self._proxy.port)) as real:
                back = threading.Thread(target=self._proxy._pump, args=(real, line, self._proxy._well), daemon=True)
                back.start()
                self._proxy._pump(line, real, self._proxy._well)
                back.join(1)

    def close(self) -> None:
        with suppress(OSError):  # it may never have been asked to listen
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._proxy.close()


SICK = [cut, refused, silent, starting, too_many, full, read_only]


@pytest.mark.parametrize("sick", SICK, ids=lambda make: make.__name__)
def test_it_reads_and_refuses_and_then_writes(home: Place, table: Table, sick: Any) -> None:
    """Would break: an outage of the secondary becomes the application's as soon as a process starts during it."""
    known = {"id": uuid4(), "title": "known"}
    with DualWriteStore(home.settings, CONFIG) as before:
        before.put("songs", known)
    with sick(home) as away, DualWriteStore(away.settings, CONFIG) as store:
        assert store.get("songs", {"id": known["id"]}) == known
        assert store.count("songs") >= 1
        new = {"id": uuid4(), "title": "new"}
        for call in (
            lambda: store.put("songs", new),
            lambda: store.put_many("songs", [new]),
            lambda: store.update("songs", {"id": known["id"]}, {"title": "other"}),
            lambda: store.delete("songs", {"id": known["id"]}),
        ):
            with pytest.raises(WriteRefused, match=NOT_YET):
                call()
        assert store.get("songs", {"id": new["id"]}) is None, "it is no writer yet (rule 28)"
        away.heal()
        until(lambda: works(store, new), what="it registers by itself")
        assert store.update("songs", {"id": known["id"]}, {"title": "other"})
        assert len(writers(table)) == 2
    assert writers(table) == ["signed_off", "signed_off"]
    for key, title in ((new["id"], "new"), (known["id"], "other")):
        assert table.settled(table.key(id=key)) == {"title": title}


def works(store: Any, row: dict[str, Any]) -> bool:
    try:
        return bool(store.put("songs", row))
    except WriteRefused:
        return False


def writers(table: Table) -> list[str]:
    return [state for (state,) in table.sql("SELECT state FROM sync.writer")]


@pytest.mark.parametrize("backend", ["postgres", None])
@pytest.mark.parametrize("sick", [refused, cut], ids=lambda make: make.__name__)
def test_it_does_not_start_where_astra_is_not_said_to_be_primary(home: Place, sick: Any, backend: str | None) -> None:
    """Would break: Postgres is primary and unreachable, and a process reads what Astra had before the last writes."""
    with sick(home) as away:
        settings = through(home, away.settings.postgres_port, backend)
        with pytest.raises(Unreachable, match=r"^Postgres at 127\.0\.0\.1:.*" + ("" if backend else "STORAGE_BACKEND=astra")):
            DualWriteStore(settings, CONFIG)
        with pytest.raises(Unreachable, match=r"^Postgres at"):
            PostgresStore(settings)


def test_where_it_can_be_read_nothing_needs_to_be_said(home: Place, table: Table) -> None:
    """Would break: a start needs STORAGE_BACKEND although a full Postgres can still say who is primary."""
    with full(home) as away:
        unsaid = through(home, away.settings.postgres_port, None)
        with DualWriteStore(unsaid, CONFIG) as store:
            assert store.primary == "astra"
            assert store.count("songs") >= 0
        be_primary(table, "postgres")
        with pytest.raises(SyncError, match="No space left"):
            DualWriteStore(unsaid, CONFIG)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"postgres_password": "wrong"}, "password was refused"),
        ({"postgres_database": "nowhere"}, "no such database"),
        ({"postgres_user": "nobody"}, "password was refused"),
    ],
)
def test_a_mistake_in_the_settings_is_said_at_once(home: Place, changes: dict[str, Any], why: str) -> None:
    """Would break: a deployment with a wrong password looks healthy, and never writes again."""
    given = {k: SecretStr(v) if "password" in k else v for k, v in changes.items()}
    with pytest.raises(Unreachable, match=why):
        DualWriteStore(through(home, home.settings.postgres_port).model_copy(update=given), CONFIG)


def test_what_a_start_would_have_said_is_said_by_every_call(home: Place, table: Table) -> None:
    """Would break: it goes on reading Astra, or writes there, though Postgres has been primary for a week."""
    with refused(home) as away, DualWriteStore(away.settings, CONFIG) as store:
        assert store.count("songs") >= 0
        be_primary(table, "postgres")
        away.heal()
        until(lambda: raises(SettingsError, lambda: store.count("songs")), what="it has heard")
        for call in (
            lambda: store.get("songs", {"id": uuid4()}),
            lambda: store.put("songs", {"id": uuid4()}),
            lambda: store.delete("songs", {"id": uuid4()}),
        ):
            with pytest.raises(SettingsError, match=r"STORAGE_BACKEND is astra, but Postgres is primary .*epoch 2"):
                call()
        assert "active" not in writers(table)
        be_primary(table, "astra")
        until(lambda: works_or_wrong(store), what="what was wrong is right again")


def works_or_wrong(store: DualWriteStore) -> bool:
    try:
        return store.put("songs", {"id": uuid4(), "title": "again"})
    except (SettingsError, WriteRefused):
        return False


def raises(kind: type[SyncError], call: Callable[[], object]) -> bool:
    try:
        call()
    except SyncError as error:
        return isinstance(error, kind)
    return False


def test_without_the_state_schema(new_place: NewPlace) -> None:
    """Would break: Postgres is back but empty, and the process waits without an error."""
    with new_place() as bare:
        bare.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)")
        with refused(bare) as away, DualWriteStore(away.settings, CONFIG) as store:
            away.heal()
            until(lambda: raises(PreflightError, lambda: store.put("songs", {"id": uuid4()})))
            prepare(bare.settings, CONFIG, "songs")
            until(
                lambda: not raises(SyncError, lambda: store.put("songs", {"id": uuid4()})), what="what was missing is there"
            )


@pytest.fixture(scope="module")
def api(home: Place) -> Iterator[DataApi]:
    with data_api(home.cassandra.session) as opened:
        yield opened


def test_through_the_data_api(home: Place, table: Table, api: DataApi) -> None:
    """Would break: the same, for an application over the Data API."""
    new = {"id": uuid4(), "title": "new"}
    with refused(home) as away, ApiDualWriteStore(settings_of(away.settings, api), CONFIG) as store:
        assert store.get("songs", {"id": new["id"]}) is None
        assert store.count("songs") >= 0
        for call in (
            lambda: store.put("songs", new),
            lambda: store.put_many("songs", [new]),
            lambda: store.update("songs", {"id": new["id"]}, {"title": "x"}),
            lambda: store.delete("songs", {"id": new["id"]}),
        ):
            with pytest.raises(WriteRefused, match=NOT_YET):
                call()
        away.heal()
        until(lambda: works(store, new), what="it registers by itself")
        assert store.get("songs", {"id": new["id"]}) == new
    assert table.settled(table.key(id=new["id"])) == {"title": "new"}


class Old:
    """An application's own class."""

    def __init__(self) -> None:
        self.saved: list[Any] = []

    def save_song(self, song: dict[str, Any]) -> str:
        self.saved.append(song)
        return "saved"

    def find(self) -> str:
        return "found"


def test_wrapped_classes(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: an application with classes of its own does not start; or they write what nobody will compare."""
    old = Old()
    with refused(home) as away:
        given = {**environment(away.settings), "STORAGE_BACKEND": "astra", "SYNC_DUAL_WRITE": "true"}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with DualWriteStore.wrap(old, Old(), {"save_song": lambda song: ("songs", {"id": song["id"]})}) as store:
            assert store.find() == "found"
            with pytest.raises(WriteRefused, match=NOT_YET):
                store.save_song({"id": uuid4()})
            assert not old.saved


def test_asyncio_and_the_environment(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: the same, awaited; and by `open_store()`."""

    async def use(settings: Settings) -> None:
        async with AsyncDualWriteStore(settings, CONFIG) as store:
            assert await store.count("songs") >= 0
            with pytest.raises(WriteRefused, match=NOT_YET):
                await store.put("songs", {"id": uuid4()})

    with refused(home) as away:
        asyncio.run(use(away.settings))
        given = {**environment(away.settings), "STORAGE_BACKEND": "astra", "SYNC_DUAL_WRITE": "true"}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with open_store() as store:
            assert store.count("songs") >= 0


def test_in_a_fork_it_says_so(home: Place) -> None:
    """Would break: a child waits for its parent's thread, which a fork does not copy; or ends its parent's store."""
    with refused(home) as away, DualWriteStore(away.settings, CONFIG) as store:
        child = os.fork()
        if child == 0:
            try:
                store.put("songs", {"id": uuid4()})
            except SyncError as error:
                os._exit(7 if "forked" in str(error) else 8)
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert store.count("songs") >= 0
