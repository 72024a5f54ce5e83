"""A real Data API behind the double's address: the same faults to order, and the real server's answers.

`SYNC_TEST_DATA_API` is its address. It must stand over the Cassandra that the tests use (`SYNC_TEST_SERVERS`) and take any user.
"""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
from cassandra.cluster import Session

from sync.adapters.cassandra.pages import quoted

_TOKEN = "Cassandra:Y2Fzc2FuZHJh:Y2Fzc2FuZHJh"
_OFF = {"lexical": {"enabled": False}, "rerank": {"enabled": False}}
_SCHEMA_SECONDS = 3.0
_client = httpx.Client(timeout=60, headers={"Token": _TOKEN, "Content-Type": "application/json"})


def forwarded(address: str, session: Session, path: str, body: bytes) -> bytes:
    """The real server's answer."""
    asked = json.loads(body)
    if "createCollection" in asked:
        return _created(address, session, path, asked["createCollection"])
    return _client.post(f"{address}{path}", content=body).content


def _created(address: str, session: Session, path: str, command: dict[str, Any]) -> bytes:
    """A collection without what Cassandra itself cannot index, and with a vector index that the API could not make."""
    command["options"] = {**(command.get("options") or {}), **_OFF}
    answer = _client.post(f"{address}{path}", json={"createCollection": command}).content
    if b"source_model" not in answer:
        return answer
    table = f"{quoted(path.strip('/').split('/')[1])}.{quoted(command['name'])}"
    options = f"{{'similarity_function': '{command['options']['vector'].get('metric', 'cosine')}'}}"
    name = quoted(f"{command['name']}_query_vector_value")
    session.execute(
        f"CREATE CUSTOM INDEX {name} ON {table} (query_vector_value) USING 'StorageAttachedIndex' WITH OPTIONS = {options}"
    )
    time.sleep(_SCHEMA_SECONDS)
    return b'{"status": {"ok": 1}}'
