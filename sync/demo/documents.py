"""The corpus as documents of four collections, and the mapping that turns them into the guide's four tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from astrapy.constants import VectorMetric
from astrapy.exceptions import DataAPIResponseException
from cassandra.cluster import Session

from sync.adapters.astra.api import Api
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.cassandra.connection.pages import quoted
from sync.core.documents.collections import VECTOR_COLUMN
from sync.errors import PreflightError
from sync.settings import Settings

KEYS = {"songs": "id", "metadata": "song_id", "genres": "name", "embeddings": "song_id"}
_CHUNK = 50
PLAIN_COLLECTION: Mapping[str, Any] = {"lexical": {"enabled": False}, "rerank": {"enabled": False}}
_SCHEMA_SECONDS = 3.0
"""How long it takes the API to learn of a change that it did not make itself."""
MAPPING = """
only = ["embeddings", "genres", "metadata", "songs"]

[collections.songs]
id = "id"
document = false
[collections.songs.fields]
title = "text"
artist = "text"
album = "text"
genre = "text"
year = "integer"
duration = "double precision"
created_at = "timestamptz"
updated_at = "timestamptz"
[collections.songs.on_reject]
title = "strip-nul"

[collections.metadata]
id = "song_id"
document = false
[collections.metadata.fields]
data = "jsonb"

[collections.genres]
id = "name"
document = false
[collections.genres.fields]
description = "text"
song_count = "integer"

[collections.embeddings]
id = "song_id"
document = false
vector = "embedding"
[collections.embeddings.fields]
model = "text"
created_at = "timestamptz"
"""
"""sync.toml for these documents: each of their fields is a column."""


def document(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a document: its key is `_id`, its vector `$vector`, and nulls are left out."""
    names = {KEYS[table]: "_id", "embedding": "$vector"}
    return {names.get(name, name): value for name, value in row.items() if value is not None}


def create_collections(api: Api, settings: Settings, dimension: int) -> None:
    """Make the four collections. Raises PreflightError if one of their names is taken."""
    database = api.database
    there = {*database.list_collection_names(), *database.list_table_names()}
    taken = sorted(there & KEYS.keys())
    if taken:
        raise PreflightError(f"keyspace {api.keyspace} has {', '.join(taken)} already: give the demo a keyspace of its own")
    for name in KEYS:
        create_collection(api, settings, name, dimension if name == "embeddings" else 0)


def create_collection(api: Api, settings: Settings, name: str, dimension: int = 0) -> None:
    """Make a collection, with a vector index if it has a dimension. Raises PreflightError if the index cannot be made.

    Unlike DataStax's, Cassandra's own indexes know neither the analyzers of `$lexical` nor the models of vectors: the first
    is left out, and a vector index that the API could not make is made by CQL, if there are settings for that.
    """
    definition: dict[str, Any] = dict(PLAIN_COLLECTION)
    if dimension:
        definition["vector"] = {"dimension": dimension, "metric": VectorMetric.COSINE}
    try:
        api.database.create_collection(name, definition=definition)
    except DataAPIResponseException as error:
        if "source_model" not in str(error):
            raise
        index_vector(settings, name, VECTOR_COLUMN)


def index_vector(settings: Settings, table: str, column: str) -> None:
    """Make an index on a vector by CQL. Raises PreflightError if there are no settings for that."""
    if not settings.has_cql:
        raise PreflightError(
            f"this Data API cannot make a vector index for {table} in its database, but CQL can: set CASSANDRA_CONTACT_POINTS"
        )
    with open_cassandra(settings) as cassandra:
        index_vector_by(cassandra.session, settings.astra_db_keyspace or "", table, column)


def index_vector_by(session: Session, keyspace: str, table: str, column: str) -> None:
    """Make it over this session."""
    where = f"{quoted(keyspace)}.{quoted(table)} ({quoted(column)})"
    what = "USING 'StorageAttachedIndex' WITH OPTIONS = {'similarity_function': 'cosine'}"
    session.execute(f"CREATE CUSTOM INDEX {quoted(f'{table}_{column}')} ON {where} {what}", timeout=60)
    time.sleep(_SCHEMA_SECONDS)


def insert_documents(api: Api, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
    """Insert the rows of these tables as documents; how many."""
    done = 0
    for table, rows in tables.items():
        collection = api.database.get_collection(table)
        for at in range(0, len(rows), _CHUNK):
            some = [document(table, row) for row in rows[at : at + _CHUNK]]
            api.calls.write(table, lambda c=collection, s=some: c.insert_many(s, ordered=False))  # type: ignore[misc]
            done += len(some)
    return done


def drop_collections(api: Api) -> None:
    """Drop the four collections again."""
    for name in KEYS:
        api.database.drop_collection(name)
