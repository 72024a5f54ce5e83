"""Intents that an operator gives up: each step is one transaction, is in the audit, and invalidates the proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.cutover.epochs import audit
from sync.core.counters import SEND_WITHIN_SECONDS
from sync.core.versions import UNREPEATABLE_WINDOW_SECONDS

_SQL = {name: text.encode() for name, text in queries("dual_write/resolution").items()}


@dataclass(frozen=True, slots=True)
class StuckIntent:
    """An intent that an operator wants to give up.

    `busy`: its writer may still be working on it; `waits`: for how many seconds its last attempt may still arrive; `leased`:
    a worker may be sending it; `others`: further intents of its key.
    """

    id: int
    table: str
    key: bytes
    kind: str
    state: str
    mutation: bytes | None
    attempts: int
    error: str
    busy: bool
    waits: float
    source_key: bytes | None
    token: int
    owner: str
    leased: bool
    others: list[int]
    replays: int


def find(connection: Connection, intents: Sequence[int]) -> list[StuckIntent]:
    """Those of these intents that exist."""
    values = {"intents": list(intents), "window": UNREPEATABLE_WINDOW_SECONDS + SEND_WITHIN_SECONDS}
    with target_errors():
        return [StuckIntent(*row) for row in connection.execute(_SQL["find"], values).fetchall()]


def reserve(connection: Connection, intents: Sequence[int], owner: str, seconds: float) -> None:
    """Keep workers away from these intents for `seconds`."""
    with target_errors():
        connection.execute(_SQL["reserve"], {"intents": list(intents), "owner": owner, "seconds": seconds})


def cancel_replay(connection: Connection, stuck: StuckIntent) -> bool:
    """Let its write never be sent again; False if the intent is gone, or was sent again, meanwhile."""
    return _end(connection, stuck, "cancel_replay", "intent resolved: its write is not sent again")


def drop(connection: Connection, stuck: StuckIntent, reason: str) -> bool:
    """Remove the intent as it is; False if it is gone meanwhile."""
    return _end(connection, stuck, "drop", f"intent dropped: {reason}")


def _end(connection: Connection, stuck: StuckIntent, how: str, what: str) -> bool:
    with target_errors(), connection.transaction():
        error = f"resolved by hand; before that: {stuck.error}"[:1000]
        if not connection.execute(_SQL[how], {"intent": stuck.id, "error": error, "replays": stuck.replays}).rowcount:
            return False
        connection.execute(_SQL["disturb"], {"table": stuck.table})
        detail = {"intent": stuck.id, "table": stuck.table, "key": stuck.key.hex(), "kind": stuck.kind, "state": stuck.state}
        audit(connection, what, {**detail, "attempts": stuck.attempts, "error": stuck.error})
        return True
