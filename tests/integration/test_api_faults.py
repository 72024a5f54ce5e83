"""A Data API that is slow, busy, cut off, or says no: what a store's caller sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from support.dataapi import errors
from support.dataapi.server import DataApi, Fault, answers, cut, data_api, settings_of, slow, status
from support.places import NewPlace, Place
from support.running_commands import until

from sync.adapters.astra.api import open_api
from sync.errors import SettingsError, SourceUnavailable, SyncError, Unreachable, WriteRefused, WriteUnsure
from sync.settings import Settings
from sync.stores import AstraStore

pytest_plugins = ("support.fixtures",)
TIMEOUT = 0.5


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        place.cql("CREATE TABLE KS.songs (id uuid PRIMARY KEY, title text)")
        yield place


@pytest.fixture
def double(home: Place) -> Iterator[DataApi]:
    with data_api(home.cassandra.session) as opened:
        yield opened


@pytest.fixture
def settings(home: Place, double: DataApi) -> Settings:
    return settings_of(home.settings, double)


@pytest.fixture
def store(settings: Settings) -> Iterator[AstraStore]:
    open_api(settings, 30).database.create_collection("docs")
    with until(lambda: _opened(settings), what="a busy machine answers within the timeout") as opened:
        yield opened


def _opened(settings: Settings) -> AstraStore | None:
    try:
        return AstraStore(settings, TIMEOUT)
    except SourceUnavailable:
        return None


@pytest.fixture
def patient(settings: Settings, store: AstraStore) -> Iterator[AstraStore]:
    """A store whose calls have time for retries, on any machine."""
    with AstraStore(settings, 30) as opened:
        yield opened


ROWS: dict[str, Callable[[], dict[str, Any]]] = {"songs": lambda: {"id": uuid4()}, "docs": lambda: {"_id": uuid4().hex}}
FOR_A_WHILE: dict[str, Callable[[], Fault]] = {
    "429": lambda: status(429, 2),
    "429, with the time to wait": lambda: status(429, 2, {"Retry-After": "0.1"}),
    "503": lambda: status(503, 2),
    "500": lambda: status(500, 2),
    "overloaded": lambda: answers(errors.overloaded, 2),
    "timed out behind it": lambda: answers(errors.timeout_writing, 2),
    "cut": lambda: cut(2),
}
FOR_GOOD: dict[str, tuple[Callable[[], Fault], type[SyncError], str]] = {
    "429": (lambda: status(429), WriteRefused, "rate limit"),
    "overloaded": (lambda: answers(errors.overloaded), WriteRefused, "rate limit"),
    "503": (lambda: status(503), WriteUnsure, "503"),
    "timed out behind it": (lambda: answers(errors.timeout_writing), WriteUnsure, "TIMEOUT_WRITING_DATA"),
    "cut": (cut, WriteUnsure, "connection failed"),
    "slow": (lambda: slow(TIMEOUT * 1.5), WriteUnsure, "in time"),
}


@pytest.mark.parametrize("table", ROWS)
@pytest.mark.parametrize("name", FOR_A_WHILE)
def test_what_passes_is_repeated(patient: AstraStore, double: DataApi, name: str, table: str) -> None:
    """Would break: the application gets an error at every hiccup, since astrapy itself repeats nothing."""
    key = ROWS[table]()
    double.before = FOR_A_WHILE[name]()
    assert patient.put(table, {**key, "title": "a"})
    double.before = FOR_A_WHILE[name]()
    assert patient.get(table, key) == {**key, "title": "a"}
    double.before = FOR_A_WHILE[name]()
    assert patient.delete(table, key)
    assert patient.get(table, key) is None


@pytest.mark.parametrize("table", ROWS)
@pytest.mark.parametrize("name", FOR_GOOD)
def test_what_does_not_pass_is_one_clear_error(store: AstraStore, double: DataApi, name: str, table: str) -> None:
    """Would break: a write that may be there is called refused, one that cannot be, unsure; or the call never ends."""
    fault, kind, text = FOR_GOOD[name]
    key = ROWS[table]()
    for call in (
        lambda: store.put(table, {**key, "title": "a"}),
        lambda: store.update(table, key, {"title": "a"}),
        lambda: store.delete(table, key),
    ):
        double.before, begun = fault(), time.monotonic()
        with pytest.raises(kind, match=text) as found:
            call()
        assert time.monotonic() - begun < 60 * TIMEOUT, "it was repeated for far too long"
        assert "\n" not in str(found.value) and not any(part in str(found.value) for part in double.token.split(":")[1:])
        assert double.endpoint.removeprefix("http://") in str(found.value)
    with pytest.raises(SourceUnavailable, match=text if kind is WriteUnsure else "rate limit"):
        store.get(table, key)


@pytest.mark.parametrize("table", ROWS)
def test_an_answer_that_is_lost_after_the_write(store: AstraStore, double: DataApi, table: str) -> None:
    """Would break: a write that was done is called refused."""
    key = ROWS[table]()
    double.after = cut()
    with pytest.raises(WriteUnsure):
        store.put(table, {**key, "title": "a"})
    double.after = lambda _: None
    assert store.get(table, key) == {**key, "title": "a"}


def test_a_repeated_write_says_that_its_first_attempt_may_come_late(settings: Settings, double: DataApi) -> None:
    """Would break: the key is reconciled right after the write, and the first attempt lands after that."""
    api = open_api(settings, TIMEOUT)
    table = api.database.get_table("songs")
    calls = {"cut": cut(1), "429": status(429, 1), "none": lambda _: None}
    late = {}
    for name, fault in calls.items():
        double.before = fault
        late[name] = api.calls.write("songs", lambda: table.insert_one({"id": str(uuid4())}))
    assert late == {"cut": True, "429": False, "none": False}


def test_rate_limited_for_longer_than_a_call_may_take(store: AstraStore, double: DataApi) -> None:
    """Would break: the time that the server asks for is slept through, whatever the caller's own limit is."""
    double.before, begun = status(429, headers={"Retry-After": "120"}), time.monotonic()
    with pytest.raises(WriteRefused, match="rate limit"):
        store.put("songs", {"id": uuid4()})
    assert time.monotonic() - begun < 60


def test_a_wrong_token(settings: Settings) -> None:
    """Would break: a traceback that shows the token and does not say which setting is wrong."""
    for wrong in (
        settings.model_copy(update={"cassandra_password": SecretStr("wrong-secret")}),
        settings.model_copy(update={"astra_db_application_token": SecretStr("AstraCS:wrong-secret")}),
    ):
        with pytest.raises(Unreachable, match="ASTRA_DB_APPLICATION_TOKEN") as found:
            AstraStore(wrong, TIMEOUT)
        assert "wrong-secret" not in str(found.value) and "\n" not in str(found.value)


def test_a_token_that_expires(store: AstraStore, double: DataApi) -> None:
    """Would break: the call is repeated as if the error would pass; a refused write is called unsure."""
    key = {"id": uuid4()}
    store.put("songs", {**key, "title": "a"})
    token, asked = double.token, len(double.asked)
    double.token = "another"
    with pytest.raises(WriteRefused, match="credentials"):
        store.put("songs", {**key, "title": "b"})
    with pytest.raises(Unreachable, match="credentials"):
        store.get("songs", key)
    assert len(double.asked) == asked
    double.token = token
    assert store.get("songs", key) == {**key, "title": "a"}


def test_a_collection_that_is_dropped(store: AstraStore, settings: Settings) -> None:
    """Would break: "not there" is taken for "try again"."""
    open_api(settings, 30).database.drop_collection("docs")
    with pytest.raises(WriteRefused, match="there is no table or collection 'docs'"):
        store.put("docs", {"_id": "a"})
    with pytest.raises(WriteRefused, match="there is no table or collection 'docs'"):
        store.get("docs", {"_id": "a"})


def test_nobody_listens(settings: Settings) -> None:
    """Would break: an httpx traceback."""
    away = settings.model_copy(update={"astra_db_api_endpoint": "http://127.0.0.1:9"})
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:9: the connection failed"):
        AstraStore(away, TIMEOUT)


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("nonsense", "not a URL"),
        ("https://", "not a URL"),
        ("https://me:secret@host", "user or a password"),
        ("ftp://host", "not a URL"),
    ],
)
def test_an_endpoint_that_is_none(settings: Settings, endpoint: str, text: str) -> None:
    """Would break: a library's error, perhaps with the password in it."""
    with pytest.raises(SettingsError, match=f"ASTRA_DB_API_ENDPOINT.*{text}") as found:
        AstraStore(settings.model_copy(update={"astra_db_api_endpoint": endpoint}))
    assert "secret" not in str(found.value)


def test_credentials_that_are_missing(settings: Settings) -> None:
    """Would break: a 401 instead of the names of the settings."""
    astra = "https://01234567-89ab-4cde-8f01-23456789abcd-eu-west-1.apps.astra.datastax.com"
    none = {"cassandra_username": None, "cassandra_password": None, "astra_db_application_token": None}
    for endpoint, name in ((astra, "ASTRA_DB_APPLICATION_TOKEN not set"), ("http://localhost:8181", "CASSANDRA_USERNAME")):
        with pytest.raises(SettingsError, match=name):
            open_api(settings.model_copy(update={**none, "astra_db_api_endpoint": endpoint}))


def test_a_document_of_which_an_indexed_text_is_too_long_is_written_nowhere(store: AstraStore) -> None:
    """Would break: the server's own limits are reported as something other than a refusal."""
    with pytest.raises(WriteRefused, match="8000 bytes"):
        store.put("docs", {"_id": "long", "text": "x" * 8001})
    assert store.get("docs", {"_id": "long"}) is None
