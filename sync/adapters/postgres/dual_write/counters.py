"""Claims of keys whose counters are to become equal in the source (rule “counters”).

An increment cannot be repeated, so a claim is committed before one is sent: while it may still arrive, nobody sends another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import SHARE
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.dual_write.locks import lock_keys
from sync.adapters.postgres.dual_write.reconcile import connection_for_keys, pick_intents, wait_for_locks
from sync.adapters.postgres.dual_write.reverse import ResendSteps
from sync.core.counters import SEND_WITHIN_SECONDS, CounterClaim
from sync.core.mutations import Key
from sync.core.versions import UNREPEATABLE_WINDOW_SECONDS

_SQL = {name: text.encode() for name, text in queries("dual_write/counters").items()}


class CounterSteps(ResendSteps):
    """The transactions of a counter's reconcile towards the source. All raise TargetUnavailable."""

    def claim(self, keys: Sequence[Key], quickly: bool = False) -> dict[Key, CounterClaim]:
        """Claim the keys' intents for one attempt; keys with nothing to do are left out.

        Raises TargetBusy and TargetRefused if one key may be to blame.
        """
        with connection_for_keys(self._pool, len(keys)) as connection, connection.transaction():
            wait_for_locks(connection, quickly)
            connection.execute(SHARE)  # before the keys' locks
            lock_keys(connection, keys, ())  # nobody deletes partitions of counters (rule 33)
            waiting = self._waiting(connection, keys)
            free = [key for key in keys if key.canonical not in waiting]
            found = pick_intents(connection, self._table.name, free, self._epoch, self._writer_lease)
            picked = [key for key in free if key.canonical in found]
            rows = self._raised(connection, picked, quickly)
            ids = [row[0] for some in found.values() for row in some]
            replays = dict(connection.execute(_SQL["claim"], {"intents": ids}).fetchall())
        held = {key: CounterClaim((), None, 0, waits=True) for key in keys if key.canonical in waiting}
        return held | {key: _claim(found[key.canonical], replays, rows[key][1]) for key in picked}

    def _waiting(self, connection: Connection, keys: Sequence[Key]) -> set[bytes]:
        # An attempt is sent up to SEND_WITHIN_SECONDS after its claim, and may arrive for the window after that.
        window = UNREPEATABLE_WINDOW_SECONDS + SEND_WITHIN_SECONDS
        values = {"table": self._table.name, "keys": [key.canonical for key in keys], "window": window}
        return {bytes(row[0]) for row in connection.execute(_SQL["waiting"], values).fetchall()}

    def equal(self, key: Key, claim: CounterClaim) -> None:
        """Both sides are equal: remove the claim's intents."""
        with connection_for_keys(self._pool) as connection, connection.transaction():
            values = {**_mine(claim), "table": key.table, "unsure": claim.unsure}
            if connection.execute(_SQL["equal"], values).fetchone() != (len(claim.attempts),):
                self._recheck(connection, key, claim, "finished")

    def unsure(self, key: Key, claim: CounterClaim) -> None:
        """The attempt was not acknowledged: nobody sends another one before this one can no longer arrive."""
        with connection_for_keys(self._pool) as connection, connection.transaction():
            if connection.execute(_SQL["unsure"], _mine(claim)).rowcount != len(claim.attempts):
                self._recheck(connection, key, claim, "claimed")

    def release(self, key: Key, claim: CounterClaim) -> None:
        """The attempt has ended, and nothing of it is under way: the key may be claimed again."""
        with connection_for_keys(self._pool) as connection, connection.transaction():
            self._recheck(connection, key, claim, "finished")

    def _recheck(self, connection: Connection, key: Key, claim: CounterClaim, state: Literal["finished", "claimed"]) -> None:
        connection.execute(SHARE)
        values = {**self._parameters.key(key), **_mine(claim), "version": claim.version, "state": state}
        connection.execute(_SQL["release"], values)


def _mine(claim: CounterClaim) -> dict[str, Any]:
    return {"ids": [attempt[0] for attempt in claim.attempts], "replays": [attempt[1] for attempt in claim.attempts]}


def _claim(intents: list[tuple[Any, ...]], replays: dict[int, int], row: bytes | None) -> CounterClaim:
    attempts = tuple((intent[0], replays[intent[0]]) for intent in intents)
    # Claimed: an attempt whose end nobody saw. Not finished, and nothing to send again: a class's write (rule 17).
    unsure = any(state == "claimed" or (state != "finished" and mutation is None) for _, state, _, _, mutation, *_ in intents)
    return CounterClaim(attempts, row, max(intent[2] for intent in intents), unsure)
