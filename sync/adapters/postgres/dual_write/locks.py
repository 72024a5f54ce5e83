"""Advisory locks of keys and of their partitions, held until the transaction ends (rules 5 and 33).

A partition's lock comes before the locks of its keys: shared for whoever changes a key, exclusive for whoever deletes rows of
it with one statement. In a table whose partitions have one row each, nobody does that, and there are no such locks.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from hashlib import blake2b

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.core.mutations import Key
from sync.core.rows import TableMap
from sync.ports import MAX_LOCKS

_ONE = {name: text.encode() for name, text in queries("dual_write/journal").items()}
_MANY = {name: text.encode() for name, text in queries("dual_write/reconcile").items()}
HARDLY_WAIT = b"SELECT set_config('lock_timeout', '200ms', true)"
"""From here on, until the transaction ends, no lock is waited for any longer.

For a transaction that changes several rows of a migrated table. SKIP LOCKED, too, waits for a row that changes hands while it
looks (9 of 170,000 looks at a row that three sessions update, on 18.4). The statement that it waits for may itself wait for
another of these rows; after `deadlock_timeout`, a second by default, Postgres ends one of both (rule 44).
"""
WAIT_BRIEFLY = b"SELECT set_config('lock_timeout', '900ms', true)"
"""The same for a transaction that holds a key's lock and waits for the key's row. Whoever has the row may come to wait for
the lock, as an application's transaction does that reads the row FOR UPDATE and puts it later: this one must give way before
`deadlock_timeout` has passed for the other.
"""
_PARTITION = {name: text.encode() for name, text in queries("dual_write/partitions").items()}


def lock_of(key: Key) -> int:
    """The number of the key's advisory lock; two keys may share one, which only costs a wait."""
    return _number(key.table.encode() + b"\x00" + key.canonical)


def lock_of_partition(key: Key) -> int:
    """The number of the lock of the key's partition; two partitions may share one."""
    return _number(b"partition\x00" + key.table.encode() + b"\x00" + key.token.to_bytes(8, "big", signed=True))


def _number(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big", signed=True)


def has_partitions(table: TableMap) -> bool:
    """Whether a partition of the table may hold several rows."""
    return len(table.source.primary_key) > len(table.source.partition_key)


def lock_key(connection: Connection, table: TableMap, key: Key) -> None:
    """Take the lock of a key that is about to be changed."""
    if has_partitions(table):
        values = {"partition": lock_of_partition(key), "lock": lock_of(key)}
        connection.execute(_ONE["lock_key_in_partition"], values)
    else:
        connection.execute(_ONE["lock_key"], {"lock": lock_of(key)})


def lock_keys(connection: Connection, keys: Sequence[Key], partitioned: Container[str]) -> None:
    """Take the locks of MAX_LOCKS keys at most; `partitioned` are the tables whose partitions have locks, too."""
    assert len(keys) <= MAX_LOCKS, f"{len(keys)} locks in one transaction"
    if partitions := sorted({lock_of_partition(key) for key in keys if key.table in partitioned}):
        connection.execute(_MANY["lock_partitions"], {"locks": partitions})
    connection.execute(_MANY["lock_keys"], {"locks": sorted({lock_of(key) for key in keys})})


def lock_partition(connection: Connection, key: Key) -> None:
    """Take the partition's lock alone: whoever changes a key of it waits."""
    connection.execute(_PARTITION["lock_partition"], {"partition": lock_of_partition(key)})
