"""`transaction()` of a store of both sides: once Postgres is primary, the application's SQL and writes commit together.

The transaction holds the epoch from its first statement to its end, and so a switch waits for it (rule 20). Every write is
stamped and gets its intent within it, under the lock of its key (rules 5 and 23). What was committed is then sent on, write
by write, as after a put; if the process ends before that, workers send it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from operator import itemgetter
from typing import Any

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.epoch_lock import share_epoch
from sync.adapters.postgres.connection.held import HeldTransaction, held_transaction
from sync.adapters.postgres.cutover.epochs import read_epoch
from sync.adapters.postgres.dual_write.locks import lock_of, lock_of_partition
from sync.adapters.postgres.dual_write.reverse import committing
from sync.core.counters import checked_amounts, counter_cells
from sync.core.mutations import Key, Mutation
from sync.errors import EpochChanged, NotSupported, SyncError, TargetUnavailable, WriteRefused, WriteRefusedNow, WriteUnsure
from sync.failpoints import failpoint
from sync.flows.reverse_write import ReverseWrite
from sync.flows.write_router import WriteRouter
from sync.ports import MAX_LOCKS, Intent
from sync.settings import Config
from sync.stores.both_sides.table_flows import TableFlows
from sync.stores.calls import Calls
from sync.stores.one_side.postgres import PostgresStore
from sync.stores.one_side.renamed import ApplicationNames
from sync.stores.process import Process
from sync.stores.schema_refresh import retry_on_change
from sync.stores.transaction import NO_TRANSACTION, Transaction, TransactionReads
from sync.wiring.tracing import tracing


class Transactions:
    """The part of a store of both sides that has transactions."""

    _process: Process
    _calls: Calls
    _config: Config

    @property
    @abstractmethod
    def _target(self) -> PostgresStore: ...

    @property
    @abstractmethod
    def _router(self) -> WriteRouter: ...

    @abstractmethod
    def _of(self, table: str) -> TableFlows: ...

    @abstractmethod
    def _has_changed(self, flows: TableFlows, refusal: SyncError) -> bool: ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """The application's own SQL and writes of this store in one transaction: `with store.transaction() as tx:`.

        Raises NotSupported while Astra is primary. While a switch is under way, its beginning waits.
        """
        self._process.check()
        return self._traced_transaction()

    @contextmanager
    def _traced_transaction(self) -> Iterator[Transaction]:
        with tracing().within("transaction"), self._held() as tx:
            yield tx

    @contextmanager
    def _held(self) -> Iterator[Transaction]:
        caller = object()
        self._calls.begin(caller)
        try:
            writes = Writes(self._of_table, self._has_changed)
            with ExitStack() as stack:
                try:
                    store, router = self._target, self._router
                except TargetUnavailable as away:
                    raise WriteRefusedNow(f"{away}; nothing was written") from None

                def begin() -> HeldTransaction:
                    return stack.enter_context(held_transaction(store.pool, _begin, writes.end))

                yield self._transaction(store, router.run({"astra": begin, "postgres": begin}), writes)
            writes.send()
        except WriteUnsure:
            writes.leave()
            raise
        finally:
            self._calls.finish(caller)

    def _transaction(self, store: PostgresStore, held: HeldTransaction, writes: Writes) -> Transaction:
        within, names = store.within(held), ApplicationNames(self._config)
        writes.held = held

        def reads(table: str) -> TransactionReads:
            self._of_table(table)
            return names.of(within, table)

        return Transaction(held, reads, writes)

    def _of_table(self, table: str) -> TableFlows:
        flows = self._of(table)
        if flows.mapped.source.is_collection:
            raise NotSupported(f"{table}: a collection's documents are not read or written in a transaction")
        return flows


def _begin(connection: Connection) -> None:
    """Hold the epoch, before any key (rule 20). Raises EpochChanged during a switch, NotSupported while Astra is primary."""
    share_epoch(connection)
    found = read_epoch(connection)
    if found.state != "open":
        raise EpochChanged(found.epoch, found.primary, found.state)
    if found.primary == "astra":
        raise NotSupported(f"Astra is primary: {NO_TRANSACTION}")


class Writes:
    """The writes of one transaction, and what is to be sent when it is committed."""

    held: HeldTransaction

    def __init__(self, flows: Callable[[str], TableFlows], has_changed: Callable[[TableFlows, SyncError], bool]) -> None:
        self._flows, self._changed = flows, has_changed
        self._made: list[tuple[ReverseWrite, Mutation, Intent]] = []
        self._kept: list[tuple[ReverseWrite, Mutation, Intent]] = []
        self._locks = set[int]()

    def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """Write a whole row, which expires after `ttl` seconds."""
        return self._write(table, lambda flows: flows.put(row, ttl))

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, after all of them were checked, in the order of their locks, as all who take several do."""
        given = list(rows)

        def check(flows: TableFlows) -> list[Key]:
            return [flows.put(row).key for row in given]

        keys = retry_on_change(lambda: self._flows(table), check, self._has_changed)
        locks = [lock_of(key) for key in keys]
        self._hold(*locks)
        for _, row in sorted(zip(locks, given, strict=True), key=itemgetter(0)):
            self.put(table, row)
        return True

    def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row if there is none with its key."""
        return self._write(table, lambda flows: flows.insert(row), only_new=True)

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns of a row that is there."""
        return self._write(table, lambda flows: flows.update(key, changes))

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""
        return self._write(table, lambda flows: flows.delete(key))

    def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """Delete the rows of a partition, or of a range of it."""

        def delete(flows: TableFlows) -> bool:
            own, mutation = flows.delete_of(where)
            self._hold(lock_of(mutation.key) if own is flows else lock_of_partition(mutation.key))
            return self._do(own.reverse, mutation, lambda connection: own.announcer.write_within(connection, mutation))

        return retry_on_change(lambda: self._flows(table), delete, self._has_changed)

    def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """Add to counters."""

        def add(flows: TableFlows) -> bool:
            added, which = counter_cells(checked_amounts(flows.mapped.source, amounts)), flows.cells.only_key(key)
            self._hold(lock_of(which))
            return self._do(
                flows.reverse,
                Mutation("update", which, {}),  # workers send what the row holds then
                lambda connection: flows.announcer.increment_within(connection, which, added),
            )

        return retry_on_change(lambda: self._flows(table), add, self._has_changed)

    def _write(self, table: str, make: Callable[[TableFlows], Mutation], only_new: bool = False) -> bool:
        def write(flows: TableFlows) -> bool:
            mutation = make(flows)
            self._hold(lock_of(mutation.key))
            return self._do(
                flows.reverse,
                mutation,
                lambda connection: flows.announcer.write_within(connection, mutation, only_new),
            )

        return retry_on_change(lambda: self._flows(table), write, self._has_changed)

    def _do(self, reverse: ReverseWrite, mutation: Mutation, ask: Callable[[Connection], Intent | None]) -> bool:
        with self.held.connection() as connection:
            try:
                intent = reverse.answered(mutation.key, lambda: ask(connection))
            except EpochChanged as changed:  # only if the application's SQL has ended the transaction that held it
                raise WriteRefusedNow(f"{changed}: nothing was written") from None
        if intent is not None:
            self._made.append((reverse, mutation, intent))
        return intent is not None

    def _has_changed(self, flows: TableFlows, refusal: SyncError) -> bool:
        return self._changed(flows, refusal) and not self.held.is_failed

    def _hold(self, *more: int) -> None:
        """Count the locks of keys and of partitions. Raises WriteRefused for one too many."""
        locks = self._locks | set(more)
        if len(locks) > MAX_LOCKS:
            raise WriteRefused(f"a transaction writes {MAX_LOCKS} rows of the store at most: nothing was written")
        self._locks = locks

    def end(self, connection: Connection) -> None:
        """Within the transaction, last: find what was not rolled back to a savepoint."""
        if self._made:
            there = committing(connection, [intent for *_, intent in self._made])
            self._kept = [made for made in self._made if made[2].id in there]
        failpoint("transaction.before_commit")

    def send(self) -> None:
        """It has ended: send what is committed to the source."""
        failpoint("transaction.committed")
        for reverse, mutation, intent in self._kept:
            reverse.committed(mutation, intent)

    def leave(self) -> None:
        """It may be committed: workers send what there is."""
        for reverse, mutation, intent in self._made:
            reverse.unsure(mutation, intent)
