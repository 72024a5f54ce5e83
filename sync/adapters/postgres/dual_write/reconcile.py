"""The two transactions of a reconcile (rules 15a and 15d), for many keys at once.

What several keys have in common goes as one statement of arrays. Locks are taken in the order of their numbers, so that two
workers with the same keys wait for each other and do not deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from sync.adapters.postgres.backfill import rejects
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import error_text, is_lock_conflict, is_server_wide, refuses_row, timing_out
from sync.adapters.postgres.dual_write.array_statements import ArrayStatements
from sync.adapters.postgres.dual_write.locks import HARDLY_WAIT, has_partitions, lock_keys
from sync.adapters.postgres.dual_write.parameters import Parameters, connection_of
from sync.adapters.postgres.dual_write.statements import Statements
from sync.core.encode.rows import CheckedRow, Issue, RowEncoder
from sync.core.mutations import Key, Mutation, unpack_cells
from sync.core.rows import TableMap
from sync.core.versions import UNREPEATABLE_WINDOW_SECONDS, reconciled
from sync.errors import TargetBusy, TargetRefused
from sync.failpoints import failpoint
from sync.ports import PendingKey, Read, Replay

_SQL = {name: text.encode() for name, text in queries("dual_write/reconcile").items()}
Known = tuple[int | None, int | None]
Reading = tuple[Key, PendingKey, Read]


class ReconcileSteps:
    """Picks and settles keys of one table.

    All methods raise TargetUnavailable, and its subclasses TargetBusy and TargetRefused if one key may be to blame.
    """

    def __init__(self, pool: Pool, table: TableMap, encoder: RowEncoder, writer_lease: float, epoch: int) -> None:
        self._pool, self._table, self._writer_lease, self._epoch = pool, table, writer_lease, epoch
        self._statements = Statements(table, encoder)
        self._arrays = ArrayStatements(table, self._statements)
        self._parameters = Parameters(self._statements, encoder)
        self._partitioned = {table.name} if has_partitions(table) else set()

    def pick(self, keys: Sequence[Key], quickly: bool = False) -> dict[Key, PendingKey]:
        """Claim the keys' intents and remember what the target knows (rule 15a); keys with nothing to do are left out."""
        with connection_for_keys(self._pool, len(keys)) as connection, connection.transaction():
            wait_for_locks(connection, quickly)
            return self._pick(connection, keys)

    def apply_locked(self, key: Key, look: Callable[[Key, PendingKey], Read]) -> None:
        """Pick, read and settle one key under its lock, so that nothing can change in between (rule 16).

        The key's writers wait meanwhile, so `look` must be quick; an error in it undoes the transaction.
        """
        with connection_for_keys(self._pool) as connection:
            with connection.transaction():
                # Committed before anything is sent again: after a rollback the writer could withdraw the intent (rule 13).
                self._pick(connection, [key])
            try:
                self._apply_locked(connection, key, look)
            except psycopg.Error as error:
                if not refuses_row(error):
                    raise
                self._apply_locked(connection, key, look, error)

    def _apply_locked(
        self, connection: Connection, key: Key, look: Callable[[Key, PendingKey], Read], refused: psycopg.Error | None = None
    ) -> None:
        with connection.transaction():
            picked = self._pick(connection, [key], open_too=False).get(key)
            if picked is not None:
                self._apply(connection, [(key, picked, look(key, picked))], refused)

    def _pick(self, connection: Connection, keys: Sequence[Key], open_too: bool = True) -> dict[Key, PendingKey]:
        lock_keys(connection, keys, self._partitioned)
        keeps = self._table.keeps
        found = pick_intents(connection, self._table.name, keys, self._epoch, self._writer_lease, open_too, mutations=keeps)
        picked = [key for key in keys if key.canonical in found]
        unfinished = [row[0] for rows in found.values() for row in rows if row[1] != "finished"]
        if unfinished:
            connection.execute(_SQL["claim"], {"intents": unfinished})
        known = self._known(connection, picked)
        return {key: _pending_key(key, found[key.canonical], known[key]) for key in picked}

    def apply(self, readings: Sequence[Reading], quickly: bool = False) -> list[Key]:
        """Make the target equal to what was read and remove the intents (rule 15d); returns the keys that changed meanwhile.

        Only a row that is alone is known to be the one that the target refuses: then it is a reject.
        """
        with connection_for_keys(self._pool, len(readings)) as connection:
            try:
                return self._apply_once(connection, readings, quickly)
            except psycopg.Error as error:
                if len(readings) > 1 or not refuses_row(error):
                    raise
                return self._apply_once(connection, readings, quickly, error)

    def _apply_once(
        self, connection: Connection, readings: Sequence[Reading], quickly: bool, refused: psycopg.Error | None = None
    ) -> list[Key]:
        with connection.transaction():
            wait_for_locks(connection, quickly)
            return self._apply(connection, readings, refused)

    def _apply(self, connection: Connection, readings: Sequence[Reading], refused: psycopg.Error | None = None) -> list[Key]:
        keys = [key for key, _, _ in readings]
        lock_keys(connection, keys, self._partitioned)
        tokens = {"table": self._table.name, "tokens": [key.token for key in keys]}
        connection.execute(_SQL["share_ranges"], tokens)
        made = [self._outcome(key, picked, read, refused) for key, picked, read in readings]
        same = self._settle(connection, [(statement, values) for statement, values, _ in made])
        for number, (key, (_, _, issues)) in enumerate(zip(keys, made, strict=True)):
            if number in same and issues:
                rejects.record(connection, self._table, 0, CheckedRow(key.token, key.cells, None, tuple(issues)))
        failpoint("reconcile.before_commit")
        return [key for number, key in enumerate(keys) if number not in same]

    def _settle(self, connection: Connection, made: Sequence[tuple[bytes, dict[str, Any]]]) -> set[int]:
        """Execute these statements, those that several keys have in common as one; the numbers of the keys that are done."""
        alike: dict[bytes, list[int]] = {}
        for number, (statement, _) in enumerate(made):
            alike.setdefault(statement, []).append(number)
        many = {}
        if self._arrays.takes_keys:
            many[self._statements.set_absent] = self._arrays.set_absent
        if self._arrays.takes_rows:
            many[self._statements.set_row] = self._arrays.set_row
        same: set[int] = set()
        with connection.pipeline():
            asked = []
            for statement, numbers in alike.items():
                if statement in many and len(numbers) > 1:
                    array = many[statement]
                    values = array.values([made[number][1] for number in numbers])
                    asked.append((numbers, connection.execute(array.text, values, binary=True)))
                else:
                    asked += [([number], connection.execute(statement, made[number][1])) for number in numbers]
        for numbers, cursor in asked:
            if len(numbers) > 1:
                same |= {numbers[place - 1] for (place,) in cursor.fetchall()}
            elif cursor.fetchone() == (True,):
                same.add(numbers[0])
        return same

    def _outcome(
        self, key: Key, picked: PendingKey, read: Read, refused: psycopg.Error | None
    ) -> tuple[bytes, dict[str, Any], list[Issue]]:
        """The statement that makes the target equal to what was read, its values, and what is wrong with the row."""
        bound = max(picked.row_version or 0, picked.tombstone or 0)
        values = {
            "version": reconciled(read.version, picked.newest, bound),
            "row_version": picked.row_version,
            "tombstone": picked.tombstone,
            "intents": f"{{{','.join(map(str, picked.intents))}}}",
        }
        absent, keeping = self._statements.set_absent, self._table.keeps
        if read.cells is None and keeping and not picked.deletes:
            # It expired: its last write becomes the target's row, if that is known; else the row stays as it is.
            read = Read(self._last_put(key, picked), 0)
            absent = self._statements.set_absent if picked.row_version is None else self._statements.set_kept
        row, issues = (None, []) if read.cells is None else self._parameters.checked_row(key, read.cells)
        if refused is not None and row is not None:
            row, issues = None, [Issue(refused.diag.column_name or "", _reason(refused), "reject")]
        # What the primary has and the target cannot hold is a reject; the target keeps no older row in its place.
        if row is None:
            return absent if not issues else self._statements.set_absent, {**self._parameters.key(key), **values}, issues
        return (
            self._statements.set_row_keeping if keeping and picked.looks else self._statements.set_row,
            {**row, **values},
            issues,
        )

    def _last_put(self, key: Key, picked: PendingKey) -> dict[str, bytes | None] | None:
        if picked.put is None:
            return None
        return {**picked.put, **{p.source.name: cell for p, cell in zip(self._statements.keys, key.cells, strict=True)}}

    def _known(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, Known]:
        values = [self._parameters.key(key) for key in keys]
        return dict(zip(keys, self._arrays.ask(connection, "known", self._statements.known, values), strict=True))


@contextmanager
def connection_for_keys(pool: Pool, count: int = 1) -> Iterator[Connection]:
    """A connection of the pool, for so many keys.

    Raises TargetBusy and TargetRefused if one key may be to blame, or their number; else TargetUnavailable.
    """
    with connection_of(pool) as connection, timing_out(count):
        try:
            yield connection
        except psycopg.Error as error:
            if is_lock_conflict(error):
                raise TargetBusy(error_text(error)) from None
            if is_server_wide(error):
                raise
            raise TargetRefused(error_text(error)) from None


def wait_for_locks(connection: Connection, quickly: bool) -> None:
    """Keep the usual lock timeout, or, `quickly`, hardly wait: for one key among many that are tried singly."""
    if quickly:
        connection.execute(HARDLY_WAIT)


def pick_intents(
    connection: Connection,
    table: str,
    keys: Sequence[Key],
    epoch: int,
    writer_lease: float,
    open_too: bool = True,
    mutations: bool = True,
) -> dict[bytes, list[tuple[Any, ...]]]:
    """Intents of an epoch that may be worked on, by key: id, state, version, kind, mutation, replays, seconds since.

    Without `mutations` only those are there that are to be sent again.
    """
    values = {
        "table": table,
        "epoch": epoch,
        "keys": [k.canonical for k in keys],
        "tokens": [k.token for k in keys],
        "writer_lease": writer_lease,
        "window": UNREPEATABLE_WINDOW_SECONDS,
        "open_too": open_too,
        "mutations": mutations,
    }
    found: dict[bytes, list[tuple[Any, ...]]] = {}
    for key, *row in connection.execute(_SQL["pick"], values, binary=True).fetchall():
        found.setdefault(bytes(key), []).append(tuple(row))
    return found


def _pending_key(key: Key, rows: list[tuple[Any, ...]], known: Known) -> PendingKey:
    replay = tuple(
        Replay(Mutation(kind, key, unpack_cells(bytes(mutation))[1]), version, replays + 1, waited)
        for _, state, version, kind, mutation, replays, waited in rows
        if state != "finished" and mutation is not None
    )
    kinds, newest = {row[3] for row in rows}, max(rows, key=lambda row: row[2])
    put = unpack_cells(bytes(newest[4]))[1] if newest[3] == "put" and newest[4] is not None else None
    whole = [row for row in rows if row[3] in ("put", "delete", "recheck")]
    row_version, tombstone = known
    is_deleted = tombstone is not None and tombstone >= max(newest[2], row_version or 0)  # since the last of these writes
    deletes = is_deleted or (bool(whole) and max(whole, key=lambda row: row[2])[3] != "put")
    return PendingKey(tuple(row[0] for row in rows), replay, newest[2], *known, deletes, kinds <= {"look", "told"}, put)


def _reason(error: psycopg.Error) -> str:
    return f"Postgres refuses it: {error_text(error)}"
