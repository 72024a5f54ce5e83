"""Writes to one table while Postgres is primary, and what must be sent to the source (rules 23 to 27)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from psycopg import sql
from psycopg.errors import LockNotAvailable, QueryCanceled

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import NOT_OWN, SHARE, share_epoch, sharing_epoch
from sync.adapters.postgres.connection.pool import Pool
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.dual_write.array_statements import ArrayStatements
from sync.adapters.postgres.dual_write.journal import Writer, answered, refused, rejecting, stamping
from sync.adapters.postgres.dual_write.locks import HARDLY_WAIT, WAIT_BRIEFLY, has_partitions, lock_key, lock_keys
from sync.adapters.postgres.dual_write.parameters import Parameters, connection_of
from sync.adapters.postgres.dual_write.reconcile import connection_for_keys, pick_intents, wait_for_locks
from sync.adapters.postgres.dual_write.statements import Statements
from sync.adapters.postgres.schema.row_digest_sql import with_parameters
from sync.core.encode.base import Reject
from sync.core.encode.rows import RowEncoder
from sync.core.mutations import Key, Mutation, pack_cells
from sync.core.rows import TableMap
from sync.core.versions import MAX_STAMPED
from sync.errors import EpochChanged, TargetBusy
from sync.failpoints import failpoint
from sync.ports import Intent, PendingResend

_SQL = queries("dual_write/reverse")
_NO_MUTATION: dict[str, Any] = {"kind": "recheck", "mutation": None}
_REMOVE = _SQL["remove"].replace("{late}", queries("dual_write/journal")["late"]).encode()
_REMOVE_ONE = _REMOVE.replace(b" SKIP LOCKED", b"")
assert _REMOVE_ONE != _REMOVE, "remove of reverse.sql is written otherwise: what is locked is never removed"


class ReverseJournal:
    """The primary's side of a write, with its intent: each method is one transaction."""

    def __init__(self, pool: Pool, table: TableMap, encoder: RowEncoder, writer: Writer) -> None:
        self._pool, self._table, self._writer = pool, table, writer
        self._statements = Statements(table, encoder)
        self._parameters = Parameters(self._statements, encoder)
        self._row = with_parameters(encoder.pairs)
        self._made: dict[str | tuple[str, ...], bytes] = {}

    @property
    def table(self) -> str:
        """The table's name."""
        return self._table.name

    @property
    def has_partitions(self) -> bool:
        """Whether a partition of the table may hold several rows."""
        return has_partitions(self._table)

    def write(self, mutation: Mutation) -> Intent | None:
        """Write the row with its own version and commit its intent; None for an update of a row that is not there.

        Raises EpochChanged if Postgres is not primary, or the epoch is closing; Reject for a value that Postgres refuses;
        WriteRefused if the clock is too far ahead; AnswerLost if it may have been written; TargetUnavailable if not.
        """
        statement, values = self._asked(mutation)
        return self._stamped(statement, mutation.key, values)

    def insert(self, put: Mutation) -> Intent | None:
        """Write a row with its own version and commit its intent; None, and nothing is written, if there is one with its key.

        Raises what `write` raises.
        """
        statement, values = self._asked(put, "insert")
        return self._stamped(statement, put.key, values)

    def increment(self, key: Key, amounts: Mapping[str, bytes]) -> Intent:
        """Add to counters, with a new version of the row, and commit the intent. Raises what `write` raises."""
        statement, values = self._increment(key, amounts)
        return self._there(self._stamped(statement, key, values))

    def _increment(self, key: Key, amounts: Mapping[str, bytes]) -> tuple[bytes, dict[str, Any]]:
        given = [p for p in self._statements.others if p.source.name in amounts]
        if missing := amounts.keys() - {p.source.name for p in given}:
            raise Reject(f"{', '.join(sorted(missing))} is not in Postgres")
        names = ("+", *(p.source.name for p in given))
        if names not in self._made:
            self._made[names] = self._make("increment", **self._statements.additions(given))
        values = {**self._parameters.given(key, amounts), "kind": "update", "mutation": pack_cells(key.cells, {})}
        return self._made[names], values

    def write_within(self, connection: Connection, mutation: Mutation, only_new: bool = False) -> Intent | None:
        """As `write`, or with `only_new` as `insert`, in the caller's transaction, which holds the epoch.

        Raises EpochChanged, WriteRefused, Reject and TargetUnavailable; the last two may have failed the transaction.
        """
        statement, values = self._asked(mutation, "insert" if only_new else "put")
        return self._within(connection, mutation.key, statement, values)

    def increment_within(self, connection: Connection, key: Key, amounts: Mapping[str, bytes]) -> Intent:
        """As `increment`, in the caller's transaction. Raises what `write_within` raises."""
        statement, values = self._increment(key, amounts)
        return self._there(self._within(connection, key, statement, values))

    def _within(self, connection: Connection, key: Key, statement: bytes, values: dict[str, Any]) -> Intent | None:
        with target_errors(), rejecting():
            # Not in a pipeline: after psycopg's flush Postgres does not count the time for which a transaction is idle.
            connection.execute(SHARE)  # rule 20; held already, unless the application's SQL has ended the first hold
            lock_key(connection, self._table, key)  # rules 5 and 33
            found = connection.execute(statement, self._values(key, values)).fetchone()
            connection.execute(NOT_OWN)  # what follows may be the application's own SQL (rule 44)
            return self._intent(key, found)

    def change(self, key: Key, make: Callable[[bytes], Mutation]) -> tuple[Mutation, Intent] | None:
        """Write what `make` makes of the row's canonical bytes, with no other write in between; None if there is no row.

        Raises what `write` raises, and what `make` raises: then nothing is written.
        """
        with connection_of(self._pool) as connection, answered(), rejecting(), connection.transaction():
            share_epoch(connection)
            lock_key(connection, self._table, key)  # rule 5
            held = connection.execute(self._named("held"), self._parameters.key(key), binary=True).fetchone()
            mutation = make(bytes(held[0])) if held else None
            statement, values = self._asked(mutation) if mutation else (self._named("unwritten"), _NO_MUTATION)
            found = connection.execute(statement, self._values(key, values)).fetchone()
            failpoint("reverse.before_commit")
        intent = self._intent(key, found)
        return (mutation, intent) if mutation and intent else None

    def announce(self, key: Key) -> Intent:
        """Commit the intent of a write that the application's own class makes. Raises what `write` raises."""
        return self._there(self._stamped(self._named("announce"), key, _NO_MUTATION))

    def announcement(self, key: Key) -> tuple[bytes, dict[str, Any]]:
        """The statement of an announcement, with its values, for a transaction that holds the key's lock."""
        return self._named("announce"), self._values(key, _NO_MUTATION)

    def announced(self, key: Key, answer: tuple[Any, ...] | None) -> Intent:
        """The intent that such a statement made. Raises EpochChanged and WriteRefused."""
        return self._there(self._intent(key, answer))

    @staticmethod
    def _there(intent: Intent | None) -> Intent:
        assert intent is not None, "an announcement or an increment needs no row"
        return intent

    def _stamped(self, statement: bytes, key: Key, values: dict[str, Any]) -> Intent | None:
        with connection_of(self._pool) as connection, answered(), rejecting():
            with sharing_epoch(connection):
                lock_key(connection, self._table, key)  # rule 5
                found = connection.execute(statement, self._values(key, values))
                failpoint("reverse.before_commit")
            return self._intent(key, found.fetchone())

    def _values(self, key: Key, values: dict[str, Any]) -> dict[str, Any]:
        return {**self._parameters.key(key), **values, **stamping(self._writer)}

    def _asked(self, mutation: Mutation, put: str = "put") -> tuple[bytes, dict[str, Any]]:
        statement, cells = self._statement(mutation, put)
        return statement, {**cells, "kind": mutation.kind, "mutation": pack_cells(mutation.key.cells, {})}

    def _statement(self, mutation: Mutation, put: str) -> tuple[bytes, dict[str, Any]]:
        if mutation.kind == "delete":
            return self._named("delete"), {}
        if mutation.kind == "put":
            key_cells = zip(self._key_names, mutation.key.cells, strict=True)
            cells, issues = self._parameters.checked_row(mutation.key, {**dict(key_cells), **mutation.cells})
            if cells is None:
                raise Reject("; ".join(f"{i.column}: {i.reason}" for i in issues if i.action == "reject"))
            return self._named(put), cells
        given = [p for p in self._statements.others if p.source.name in mutation.cells]
        if not given:
            raise Reject("none of these columns is in Postgres")
        names = tuple(p.source.name for p in given)
        if names not in self._made:
            self._made[names] = self._make("update", set_given=self._statements.assignments(given))
        return self._made[names], self._parameters.given(mutation.key, mutation.cells)

    @property
    def _key_names(self) -> list[str]:
        return [p.source.name for p in self._statements.keys]

    def _named(self, name: str) -> bytes:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _intent(self, key: Key, answer: tuple[Any, ...] | None) -> Intent | None:
        """The intent that a statement made; None if there was no row to update. Raises EpochChanged and WriteRefused."""
        assert answer is not None, "sync.epoch is empty"
        made, version, epoch, primary, state, beyond, ahead = answer
        if made is not None:
            return Intent(made, version, epoch)
        if primary != "postgres" or state != "open":
            raise EpochChanged(epoch, primary, state)
        if beyond or ahead > self._writer.skew_us:
            raise refused(self._table, key, beyond, ahead)
        return None

    def _make(self, name: str, **more: sql.Composable) -> bytes:
        most = sql.Literal(MAX_STAMPED)
        allowed, made = (sql.SQL(_SQL[part]).format(most=most) for part in ("allowed", "made"))
        parts = {"allowed": allowed, "made": made, "row": self._row, **more}
        return self._statements.made(_SQL[name], **parts)


def committing(connection: Connection, intents: Sequence[Intent]) -> set[int]:
    """Which of these intents the caller's transaction would commit: a part of it may have been rolled back."""
    rows = connection.execute(_SQL["committing"].encode(), {"intents": [i.id for i in intents]}).fetchall()
    return {number for (number,) in rows}


class ResendSteps:
    """The two transactions of a reconcile towards the source (rule 26), for many keys. Both raise TargetUnavailable."""

    def __init__(self, pool: Pool, table: TableMap, encoder: RowEncoder, writer_lease: float, epoch: int) -> None:
        self._pool, self._table, self._writer_lease, self._epoch = pool, table, writer_lease, epoch
        statements = self._statements = Statements(table, encoder)
        self._arrays = ArrayStatements(table, statements)
        self._parameters = Parameters(statements, encoder)
        self._row = with_parameters(encoder.pairs)
        self._raise, self._sent = statements.made(_SQL["raise"]), statements.made(_SQL["sent"])
        self._look = statements.made(_SQL["look"], row=self._row)

    def pick(self, keys: Sequence[Key], quickly: bool = False) -> dict[Key, PendingResend]:
        """Intents, and rows with versions raised above all that was sent before (rule 27), of keys that are to be sent."""
        with connection_for_keys(self._pool, len(keys)) as connection, connection.transaction():
            wait_for_locks(connection, quickly)
            connection.execute(SHARE)  # before the keys' locks
            lock_keys(connection, keys, {self._table.name} if has_partitions(self._table) else ())
            found = pick_intents(connection, self._table.name, keys, self._epoch, self._writer_lease, mutations=False)
            echoes = self._echoes(connection, [key for key in keys if key.canonical in found], found)
            picked = [key for key in keys if key.canonical in found and key not in echoes]
            rows = self._raised(connection, picked, quickly)
        return {key: PendingResend(tuple(r[0] for r in found[key.canonical]), *rows[key]) for key in picked}

    def _echoes(self, connection: Connection, keys: Sequence[Key], found: Mapping[bytes, list[tuple[Any, ...]]]) -> set[Key]:
        """Keys of which feeds alone have told, and nothing above the version that was sent: their intents are removed.

        What is sent comes back as an event; were it sent again, so would that be, without end (rule 43).
        """
        told = [key for key in keys if all(row[3] == "told" for row in found[key.canonical])]
        if not told:
            return set()
        values = [self._parameters.key(key) for key in told]
        sent = [version or 0 for (version,) in self._arrays.ask(connection, "sent", self._sent, values)]
        newest = [max(row[2] for row in found[key.canonical]) for key in told]
        echoes = {key for key, version, event in zip(told, sent, newest, strict=True) if event <= version}
        if echoes:
            connection.execute(_REMOVE, {"intents": [row[0] for key in echoes for row in found[key.canonical]]})
        return echoes

    def _raised(self, connection: Connection, keys: Sequence[Key], quickly: bool) -> dict[Key, tuple[int, bytes | None]]:
        """Versions and rows. Raises TargetBusy if SQL holds one of several keys: it may wait for another (rule 44)."""
        asked = [self._parameters.key(key) for key in keys]
        if len(keys) == 1:
            with connection.pipeline():
                connection.execute(HARDLY_WAIT if quickly else WAIT_BRIEFLY)
                connection.execute(self._raise, {**asked[0], "epoch": self._epoch, "clock": 0, "above": 0})
                looked = connection.execute(self._look, asked[0], binary=True)
            return {keys[0]: _row(looked.fetchone() or ())}
        if keys and not self._arrays.takes_keys:
            raise TargetBusy(f"{self._table.name}: keys with arrays are sent one by one")
        return dict(zip(keys, self._raised_together(connection, asked), strict=True))

    def _raised_together(self, connection: Connection, asked: Sequence[dict[str, Any]]) -> list[tuple[int, bytes | None]]:
        """The same with two statements for all keys. A row that came after the first one began was not raised: it is busy."""
        if not asked:
            return []
        raising = self._arrays.of("raise", (), self._statements.keys)
        looking = self._arrays.of("look", (), self._statements.keys, row=self._row)
        with connection.pipeline():
            connection.execute(HARDLY_WAIT)
            raised = connection.execute(raising.text, raising.values(asked, epoch=self._epoch), binary=True)
            looked = connection.execute(looking.text, looking.values(asked), binary=True)
        rows = looked.fetchall()
        for (is_raised, is_held), (_, row) in zip(raised.fetchall(), rows, strict=True):
            if is_held or (row is not None and not is_raised):
                raise TargetBusy(f"{self._table.name}: another session is changing the row")
        return [_row(row) for row in rows]

    def remove(self, intents: Sequence[int]) -> None:
        """Remove exactly the intents that were picked: the source has these rows."""
        with connection_of(self._pool) as connection:
            (removed,) = connection.execute(_REMOVE, {"intents": list(intents)}).fetchone() or (0,)
            if removed == len(intents):
                return
            # Others were locked: by a reconcile that picks them, too, or, for a moment, by one that looked which are due.
            for (left,) in connection.execute(_SQL["committing"], {"intents": list(intents)}).fetchall():
                try:
                    connection.execute(_REMOVE_ONE, {"intents": [left]})
                except (LockNotAvailable, QueryCanceled):  # one is waited for, not each; it is sent again when its lease ends
                    connection.execute(_REMOVE, {"intents": list(intents)})
                    break


def _row(found: tuple[Any, ...]) -> tuple[int, bytes | None]:
    version, data = found
    return int(version), None if data is None else bytes(data)
