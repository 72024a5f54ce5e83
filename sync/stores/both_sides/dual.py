"""The store interface over both sides: every write goes to both, and what one side missed is reconciled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from sync.adapters.notifier_thread import NotifierThread
from sync.adapters.postgres.dual_write.registration import Registration
from sync.adapters.store_metrics import store_metrics
from sync.core.mutations import Mutation
from sync.errors import SyncError, WriteRefused
from sync.flows.wrapped_write import BegunWrite
from sync.flows.write_router import WriteRouter
from sync.ports import Primary
from sync.settings import Config, Settings, load_config, load_settings
from sync.stores.both_sides.announce import Announces
from sync.stores.both_sides.counters import CounterWrites
from sync.stores.both_sides.expected_backend import check_wraps
from sync.stores.both_sides.flow_cache import FlowCache
from sync.stores.both_sides.halves import Halves
from sync.stores.both_sides.puts import Puts
from sync.stores.both_sides.read_shapes import ReadShapes
from sync.stores.both_sides.reads import PrimaryReads, Side
from sync.stores.both_sides.shadow_reads import ShadowReads
from sync.stores.both_sides.source import SourceSide
from sync.stores.both_sides.table_flows import Deletes, FlowMaker, TableFlows
from sync.stores.both_sides.target import TargetSide
from sync.stores.both_sides.transactions import Transactions
from sync.stores.both_sides.wrapped import Begun, Describe, Keys, Named, WrappedStore
from sync.stores.both_sides.wrapped_classes import check_classes
from sync.stores.both_sides.wrapped_threads import CallThreads
from sync.stores.calls import Calls
from sync.stores.one_side.postgres import PostgresStore
from sync.stores.one_side.renamed import ApplicationNames
from sync.stores.process import Process
from sync.stores.schema_refresh import retry_on_change
from sync.wiring.tracing import tracing

log = logging.getLogger(__name__)
T = TypeVar("T")
_MANY_AT_ONCE = 8


class DualWriteStore(Announces, CounterWrites, Puts, PrimaryReads, Transactions):
    """Writes go to both sides, reads to the primary. Safe to use from many threads."""

    def __init__(self, settings: Settings, config: Config, wraps: Primary | None = None) -> None:
        """With `wraps`, the application's own class is there for this primary alone, and none is for the other."""
        self._process, self._config, self._wraps = Process(), config, wraps
        tuning = config.dual_write
        with ExitStack() as undo:  # closes what is open if something fails
            self._notifier = NotifierThread(settings)
            undo.callback(self._notifier.close)
            self._side = TargetSide(settings, tuning, self._notifier.notify, config.agreed, wraps)
            undo.callback(self._side.close)
            undo.callback(self._side.end)
            self._source = self._open_source(settings, config, self._side.primary == "astra")
            undo.callback(self._source.close)
            self._config = self._flow_config(config)
            self._known = FlowCache(self._source, lambda: self._maker)
            if self._side.is_registered:
                self._record_data_center(self._registration)
            undo.pop_all()
        self._shadow = ShadowReads(config, self._side, self._source, lambda table: self._known.of(table))
        self._shapes = ReadShapes(self._side, tuning.heartbeat_seconds)
        self._reading = ApplicationNames(config)
        self._process.close_at_exit(self.close)
        self._source.reconnect_later(self._source_found)
        self._side.reconnect_later(self._record_data_center)
        self._calls = Calls(self._process.check)
        # The longest that a write may take: it waits for a switch, then for both sides, and once more if it went with others.
        self._longest_call = tuning.max_wait_seconds + 2 * (
            tuning.primary_timeout_seconds + 2 * tuning.secondary_timeout_seconds
        )
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="sync-reconcile")
        many = min(_MANY_AT_ONCE, tuning.connections)
        self._many = ThreadPoolExecutor(many, thread_name_prefix="sync-put-many")
        self._halves = Halves(self._many, many, self._calls)

    def _open_source(self, settings: Settings, config: Config, is_primary: bool) -> SourceSide:
        """Open the source, the side that Postgres is going to replace."""
        return SourceSide(settings, config, None if is_primary else self._target.pool)

    def _record_data_center(self, registration: Registration) -> None:
        """Record the source's data centre. Raises SettingsError if other writers use another one."""
        if self._source.data_center:
            registration.writes_in(self._source.data_center)

    def _source_found(self) -> None:
        self._record_data_center(self._registration)
        self._known.forget()

    @property
    def _registration(self) -> Registration:
        """This process as a writer. Raises TargetUnavailable while it is not registered."""
        return self._side.registration

    @property
    def _target(self) -> PostgresStore:
        """The store over Postgres. Raises TargetUnavailable while it is unreachable."""
        return self._side.store

    @property
    def _maker(self) -> FlowMaker:
        return FlowMaker(self._config, self._source, self._target.pool, self._registration)

    @property
    def _router(self) -> WriteRouter:
        return WriteRouter(self._registration, self._config.dual_write.max_wait_seconds, store_metrics().wrote)

    def _flow_config(self, config: Config) -> Config:
        return config

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Refuse new calls, wait for those in progress, sign off and close the connections.

        If a call does not end, or what was written without Postgres cannot be recorded, the writer stays registered, and a
        cut-over waits for it (rule 29). In a forked process this does nothing: the connections are the parent's.
        """
        if not self._process.is_own:
            return
        left = self._calls.end(self._longest_call)
        if left:
            log.warning("%d calls have not ended: this writer stays registered; see `sync writers`", left)
        self._shadow.end()
        self._shapes.end()
        self._side.end(sign_off=not left)
        self._notifier.close()
        self._executor.shutdown(wait=not left)
        self._many.shutdown(wait=not left)
        self._process.close()
        self._side.close()
        self._source.close()

    def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row if there is none with its key; False, and nothing is changed, if there is one.

        With Astra as primary this is a lightweight transaction: `lightweight_transactions = true` must be set for the table.
        """

        def write(flows: TableFlows) -> bool:
            put = flows.insert(row)
            return self._router.run(
                {
                    "astra": lambda: self._maker.forward_insert(flows, self._executor).write(put),
                    "postgres": lambda: flows.reverse.insert(put),
                }
            )

        return self._traced("insert", table, write)

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns. A row that does not exist is created; with Postgres as primary it is not (False)."""
        return self._traced("update", table, lambda flows: self._write(flows, flows.update(key, changes)))

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one."""
        return self._traced("delete", table, lambda flows: self._write(flows, flows.delete(key)))

    def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """Delete the rows of a partition, or of a range of it, with one delete. Raises QueryNotSupported for other rows."""
        return self._traced("delete_many", table, lambda flows: self._write(*flows.delete_of(where)))

    def _retry_on_change(self, table: str, call: Callable[[TableFlows], T]) -> T:
        with self._calls:
            return self._again(table, call)

    def _again(self, table: str, call: Callable[[TableFlows], T]) -> T:
        """Make the call; repeat it once if it was refused and its table has changed. Only within `self._calls`."""
        return retry_on_change(lambda: self._of(table), call, self._has_changed)

    def _has_changed(self, flows: TableFlows, refusal: SyncError) -> bool:
        # Not while Postgres is unreachable: reading the schema would wait for it.
        return not self._registration.breaker.is_open and self._known.have_changed(flows, refusal)

    def _primary_of(self, table: str) -> Side:
        self._check_migrated(table)
        self._process.check()
        return self._source.store if self._side.primary_for_reads == "astra" else self._reading.of(self._target, table)

    def _write(self, flows: TableFlows | Deletes, mutation: Mutation) -> bool:
        return self._router.run(
            {"astra": lambda: flows.forward.write(mutation), "postgres": lambda: flows.reverse.write(mutation)}
        )

    @classmethod
    def wrap(cls, old: Any, new: Any, writes: Mapping[str, Describe]) -> WrappedStore:
        """Wrap an application's own store `old` and keep Postgres equal to it; settings come from the environment.

        `writes` names its writing methods, each with a function from the method's arguments to the table and the key that
        it writes, or to several such pairs: `{"save_song": lambda song: ("songs", {"id": song.id})}`. Coroutine functions
        stay such. Where the keys are not known before the call, the partition key alone names the whole partition, which
        workers then make equal: `("plays", {"room": room})`. `new` replaces `old` after the cut-over; while it is None, no
        cut-over is possible. Raises SettingsError if the two classes do not fit together, or `new` is needed already.
        """
        is_async = check_classes(old, new, writes)
        settings = load_settings()
        wraps: Primary | None = "astra" if new is None else None  # from its registration on, so that no switch passes it
        store = cls(settings, load_config(settings.sync_config), wraps)
        threads = CallThreads(store._config.dual_write.connections, store._process.check) if is_async else None
        return WrappedStore({"astra": old, "postgres": new}, writes, store, threads)

    @property
    def primary(self) -> Primary:
        """The primary; during a switch this asks Postgres, if it answers."""
        self._process.check()
        return self._side.primary_for_reads

    def call(self, keys: Keys, astra: Callable[[], T], postgres: Callable[[], T]) -> T:
        """Write keys with the caller's code for the current primary; both sides are made equal afterwards.

        `keys` are pairs of a table and a key.
        """
        given = list(keys)
        return tracing().write("call", _tables(given), lambda: self._call(given, astra, postgres))

    def _call(self, keys: Sequence[Named], astra: Callable[[], T], postgres: Callable[[], T]) -> T:
        with self._calls:
            primary, begun = self._begin(keys)
            try:
                result = astra() if primary == "astra" else postgres()
            except BaseException as error:
                begun.fail(error)
                raise
            begun.finish()
            return result

    def begin(self, keys: Keys) -> Begun:
        """Announce keys that the caller's code for the current primary is about to write, and must say the end of.

        For calls that begin and end in different threads.
        """
        caller, given = object(), list(keys)
        tables = _tables(given)  # before anything has to be ended: it raises where these are no pairs
        self._calls.begin(caller)
        end_span = tracing().begin("call", tables)

        def ended(error: BaseException | None, outcome: str) -> None:
            self._calls.finish(caller)
            end_span(error, outcome)

        try:
            primary, begun = self._begin(given)
        except BaseException as error:
            ended(error, "failed")
            raise
        return Begun(primary, begun, ended)

    def _begin(self, given: Sequence[Named]) -> tuple[Primary, BegunWrite]:
        flows = {table: self._of(table) for table, _ in given}
        cells = [flows[table].written(key) for table, key in given]

        def under(primary: Primary) -> tuple[Primary, BegunWrite]:
            check_wraps(self._wraps, primary)
            return primary, self._maker.wrapped(list(flows.values()), primary, self._executor).begin(cells)

        return self._router.run({"astra": lambda: under("astra"), "postgres": lambda: under("postgres")})

    def _check_migrated(self, table: str) -> None:
        """Raise WriteRefused for a table that is not migrated: after a cut-over each side would have half of its rows."""
        if setting := self._config.left_out_by(table):
            raise WriteRefused(
                f"{table} is not migrated: `{setting}` in sync.toml leaves it out; write and read it through your own client"
            )

    def _of(self, table: str) -> TableFlows:
        self._process.check()
        self._check_migrated(table)
        return self._known.of(table)


def _tables(keys: Sequence[Named]) -> str:
    return ", ".join(dict.fromkeys(table for table, _ in keys))
