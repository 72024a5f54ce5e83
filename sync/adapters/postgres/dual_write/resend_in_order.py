"""Resends of one key, one after the other: if writes carry no timestamp, the last one to arrive counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from threading import BoundedSemaphore, Lock
from weakref import WeakKeyDictionary

from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.dual_write.parameters import connection_of
from sync.core.mutations import Key
from sync.ports import MAX_LOCKS, KeyReconciler

_TURNS = WeakKeyDictionary[Pool, BoundedSemaphore]()
_MAKING = Lock()
_LOCK = b"SELECT pg_advisory_xact_lock(number) FROM unnest(%(locks)s::bigint[]) AS number"


class OrderedResends:
    """Holds separate locks across processes while keys are sent: their writers, which use other locks, do not wait."""

    def __init__(self, pool: Pool, resend: KeyReconciler) -> None:
        self._pool, self._resend = pool, resend

    def keys(self, keys: Iterable[Key], failed: Callable[[Key, str], None]) -> int:
        """Reconcile these keys; returns how many. Raises TargetUnavailable."""
        wanted = list(dict.fromkeys(keys))
        return sum(self._some(wanted[at : at + MAX_LOCKS], failed) for at in range(0, len(wanted), MAX_LOCKS))

    def _some(self, keys: Sequence[Key], failed: Callable[[Key, str], None]) -> int:
        with _turn_of(self._pool), connection_of(self._pool) as connection, connection.transaction():
            # The row is read under the lock, so that what is sent last is what was read last.
            connection.execute(_LOCK, {"locks": sorted({_lock(key) for key in keys})})
            return self._resend.keys(keys, failed)


def _turn_of(pool: Pool) -> BoundedSemaphore:
    """Admits half as many threads as there are connections: each needs a second one to resend with."""
    with _MAKING:
        return _TURNS.setdefault(pool, BoundedSemaphore(max(1, pool.max_size // 2)))


def _lock(key: Key) -> int:
    digest = blake2b(b"resend\x00" + key.table.encode() + b"\x00" + key.canonical, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
