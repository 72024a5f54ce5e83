"""The corpus as documents of four collections, and what makes the guide's four tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from astrapy.constants import VectorMetric
from astrapy.info import CollectionDefinition

from sync.adapters.astra.api import Api
from sync.errors import PreflightError

KEYS = {"songs": "id", "metadata": "song_id", "genres": "name", "embeddings": "song_id"}
_CHUNK = 50
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
"""sync.toml for it: every field of these documents is a column."""


def document(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a document: its key is `_id`, its vector `$vector`, and what is null is not there."""
    names = {KEYS[table]: "_id", "embedding": "$vector"}
    return {names.get(name, name): value for name, value in row.items() if value is not None}


def create_collections(api: Api, dimension: int) -> None:
    """Make the four collections. Raises PreflightError where one of their names is taken."""
    database = api.database
    there = {*database.list_collection_names(), *database.list_table_names()}
    taken = sorted(there & KEYS.keys())
    if taken:
        raise PreflightError(f"keyspace {api.keyspace} has {', '.join(taken)} already: give the demo a keyspace of its own")
    vectors = CollectionDefinition.builder().with_vector_dimension(dimension).with_vector_metric(VectorMetric.COSINE)
    for name in KEYS:
        database.create_collection(name, definition=vectors.build() if name == "embeddings" else None)


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
    """Take the four away again."""
    for name in KEYS:
        api.database.drop_collection(name)
