"""A real Data API behind the double's address: the same faults on demand, and the real server's answers.

`SYNC_TEST_DATA_API` is its address. It must use the Cassandra that the tests use (`SYNC_TEST_SERVERS`).
"""

from __future__ import annotations

import json
from typing import Any

import httpx
from cassandra.cluster import Session

from sync.core.documents.collections import VECTOR_COLUMN
from sync.demo.documents import PLAIN_COLLECTION, index_vector_by

_client = httpx.Client(timeout=60, headers={"Content-Type": "application/json"})


def forwarded(address: str, session: Session, path: str, body: bytes, token: str) -> bytes:
    """The real server's answer."""
    asked = json.loads(body)
    if "createCollection" in asked:
        return _created(address, session, path, asked["createCollection"], token)
    return _client.post(f"{address}{path}", content=body, headers={"Token": token}).content


def _created(address: str, session: Session, path: str, command: dict[str, Any], token: str) -> bytes:
    """Make a collection without what Cassandra itself cannot index, and with a vector index that the API could not make."""
    command["options"] = {**(command.get("options") or {}), **PLAIN_COLLECTION}
    answer = _client.post(f"{address}{path}", json={"createCollection": command}, headers={"Token": token}).content
    if b"source_model" not in answer:
        return answer
    index_vector_by(session, path.strip("/").split("/")[1], command["name"], VECTOR_COLUMN)
    return b'{"status": {"ok": 1}}'
