"""A Data API for the contract suite: the one that the environment names, with a keyspace or names of the tests' own.

`ASTRA_DB_API_ENDPOINT` and its related variables are all the set-up; nothing that already exists there is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from astrapy import Database
from astrapy.exceptions import DataAPIException

from sync.adapters.astra.api import open_api
from sync.demo.documents import index_vector
from sync.errors import PreflightError
from sync.settings import Settings, load_settings

TABLES: dict[str, dict[str, Any]] = {
    "songs": {
        "columns": {
            "id": "uuid", "title": "text", "year": "int", "length": "double", "made": "timestamp",
            "tags": {"type": "map", "keyType": "text", "valueType": "text"},
        },
        "primaryKey": "id",
    },
    "notes": {
        "columns": {"piece": "text", "at": "int", "pitch": "int", "words": "text"},
        "primaryKey": {"partitionBy": ["piece"], "partitionSort": {"at": 1}},
    },
    "embeddings": {
        "columns": {"song_id": "uuid", "model": "text", "embedding": {"type": "vector", "dimension": 3}},
        "primaryKey": "song_id",
    },
    "writer": {"columns": {"id": "uuid", "title": "text"}, "primaryKey": "id"},
    "pairs": {"columns": {"a": "text", "b": "int"}, "primaryKey": {"partitionBy": ["a"], "partitionSort": {"b": 1}}},
    "kinds": {
        "columns": {
            "k": "uuid", "t": "text", "a": "ascii", "i": "int", "b": "bigint", "s": "smallint", "y": "tinyint", "f": "float",
            "d": "double", "o": "boolean", "x": "blob", "u": "uuid", "ts": "timestamp", "dt": "date", "n": "decimal",
            "vi": "varint", "ip": "inet", "m": {"type": "map", "keyType": "text", "valueType": "text"},
            "mi": {"type": "map", "keyType": "text", "valueType": "int"}, "l": {"type": "list", "valueType": "text"},
            "li": {"type": "list", "valueType": "int"}, "st": {"type": "set", "valueType": "text"},
            "si": {"type": "set", "valueType": "int"}, "v": {"type": "vector", "dimension": 4},
        },
        "primaryKey": "k",
    },
}  # fmt: skip
"""The contract's tables, as the API makes them: what it cannot make (timeuuid, odd names) is not among them."""

VECTORS, WIDE_KEYS = "vector indexes", "keys of several columns"
_lacking: dict[str, str] = {}
"""By feature, why the environment's endpoint lacks it."""


def given() -> Settings:
    """The settings of the environment. Skips the test where they name no Data API."""
    if not os.environ.get("ASTRA_DB_API_ENDPOINT"):
        pytest.skip("ASTRA_DB_API_ENDPOINT is not set: there is no real Data API to run against")
    return load_settings(None)


@contextmanager
def keyspace(settings: Settings) -> Iterator[Settings]:
    """A keyspace of the tests' own; the given one if none can be made."""
    database = open_api(settings.model_copy(update={"astra_db_keyspace": settings.astra_db_keyspace or "x"}), 60).database
    name = f"sync_contract_{uuid4().hex[:8]}"
    try:
        admin = database.get_database_admin()
        admin.create_keyspace(name)
    except DataAPIException:
        settings.require("astra_db_keyspace")
        yield settings
        return
    try:
        yield settings.model_copy(update={"astra_db_keyspace": name})
    finally:
        admin.drop_keyspace(name)


@contextmanager
def tables(settings: Settings) -> Iterator[None]:
    """The contract's tables, dropped at the end. Skips where one of their names is taken."""
    database = open_api(settings, 60).database
    taken = set(TABLES) & {*database.list_table_names(), *database.list_collection_names()}
    if taken:
        pytest.skip(f"keyspace {settings.astra_db_keyspace} has a table {min(taken)} already, and no other may be made")
    try:
        for name, definition in TABLES.items():
            database.create_table(name, definition=definition)
        with vectors():
            _index(database, settings)
        _probe(database)
        yield
    finally:
        for name in TABLES:
            database.drop_table(name, if_exists=True)


def _index(database: Database, settings: Settings) -> None:
    table = database.get_table("embeddings")
    try:
        table.create_vector_index(f"embedding_{uuid4().hex[:8]}", column="embedding", options={"metric": "cosine"})
    except DataAPIException as error:
        if "source_model" not in str(error):
            raise
        index_vector(settings, "embeddings", "embedding")


def _probe(database: Database) -> None:
    """Probe for conditions in brackets, which the API writes for a key of several columns; Cassandra's own CQL has none."""
    try:
        database.get_table("pairs").find_one({"a": "x", "b": 1})
    except DataAPIException as error:
        if "UNSUPPORTED_DATABASE_QUERY" not in str(error):
            raise
        _lacking[WIDE_KEYS] = "this Data API's database does not understand what it asks for a key of several columns"


@contextmanager
def vectors() -> Iterator[None]:
    """A block that makes a vector index; if the database refuses it, tests that search are skipped with its reason."""
    try:
        yield
    except PreflightError as error:
        _lacking[VECTORS] = str(error)


def need(request: pytest.FixtureRequest, what: str) -> None:
    """Skip a test that needs what the database of the environment's endpoint lacks, and say why."""
    if "endpoint" in request.node.callspec.params.values() and what in _lacking:
        pytest.skip(_lacking[what])
