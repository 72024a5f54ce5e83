"""Single rows of one table over CQL, as raw cells: written with our own timestamp, read at quorum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

from cassandra import DriverException, InvalidRequest, Unauthorized, Unavailable
from cassandra.cluster import NoHostAvailable, ResponseFuture, Session
from cassandra.connection import ConnectionException
from cassandra.protocol import ErrorMessage, SyntaxException
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement

from sync.adapters.cassandra.connection.connect import SERIAL_PROFILE, WRITE_PROFILE, Cassandra, explain
from sync.adapters.cassandra.connection.pages import RAW_PROFILE, delete, named, quoted
from sync.adapters.cassandra.rows.cell_times import times_of
from sync.adapters.cassandra.rows.partition_deletes import PartitionDeletes
from sync.adapters.cassandra.rows.timed_requests import TimedRequest
from sync.adapters.cassandra.rows.timestamped_rows import ABSENT, TimestampedRows
from sync.adapters.cassandra.rows.writes_in_flight import WritesInFlight
from sync.core.encode.base import INT32, INT64, read_cells
from sync.core.expiry import EXPIRY_NAME, expiry_of, seconds_left
from sync.core.key_forms import has_one_form
from sync.core.mutations import Key, Mutation
from sync.core.rows import SourceTable
from sync.core.versions import UNREPEATABLE_WINDOW_SECONDS, again, has_room
from sync.errors import SourceUnavailable
from sync.ports import Outcome, Read, Replay

T = TypeVar("T")
_REFUSALS = (InvalidRequest, Unauthorized, SyntaxException, Unavailable)
"""What a coordinator answers before it writes anything (native protocol, section 9); all else leaves the write unsure."""
FAILURES = (DriverException, NoHostAvailable, ConnectionException, ErrorMessage)
"""All that the driver raises: an overloaded server's and a cut connection's errors are no DriverException."""


OLDEST = 1
"""A timestamp before every other."""


class SourceRows:
    """Rows of one table; `serial` reads see lightweight transactions (rule 17); `lazy`: reads are prepared when made."""

    def __init__(
        self, cassandra: Cassandra, table: SourceTable, timeout: float, serial: bool = False, lazy: bool = False
    ) -> None:
        self._cassandra, self._table, self._timeout = cassandra, table, timeout
        self._read_profile = SERIAL_PROFILE if serial else RAW_PROFILE
        self._name = named(table)
        self._keys = [c.name for c in table.primary_key]
        self._in_one = len(self._keys) == 1 and has_one_form(table.primary_key[0].type)
        self._lists = [c.name for c in table.columns if c.type.name == "list" and not c.type.frozen and c.kind == "regular"]
        times = ask_source(lambda: times_of(cassandra.raw, table))
        self._tells_lists = all(f"MAXWRITETIME({quoted(name)})" in times for name in self._lists)
        others = (c.name for c in table.columns if c.kind in ("regular", "expiry"))
        self._rows = TimestampedRows(table, [*self._keys, *others], times)
        self._where = " AND ".join(f"{quoted(k)} = ?" for k in self._keys)
        self._select = None if lazy else self._prepared_select()
        self._select_in: PreparedStatement | None = None
        self._partitions = PartitionDeletes(cassandra.session, table)
        self._updates: dict[tuple[str, ...], PreparedStatement] = {}
        self._inserts: dict[tuple[tuple[str, ...], bool], PreparedStatement] = {}
        self._in_flight = WritesInFlight()

    @property
    def _session(self) -> Session:
        return self._cassandra.session

    def _prepared_select(self) -> PreparedStatement:
        return prepared(self._cassandra.raw, self._rows.select(self._where))

    @cached_property
    def _delete(self) -> PreparedStatement:
        # Prepared on first use: it fails for counters, and where timestamps are forbidden, but rows can still be read.
        return self._session.prepare(f"{delete(self._table)} USING TIMESTAMP ? WHERE {self._where}")

    def write(self, mutation: Mutation, version: int) -> tuple[Outcome, str]:
        """Send a mutation once, with its version as timestamp; returns the outcome, and the error's text."""
        try:
            self._session.execute(self._bound(mutation, version), timeout=self._timeout, execution_profile=WRITE_PROFILE)
        except FAILURES as error:
            return _outcome(error), explain(error)
        return "written", ""

    def write_many(self, writes: Sequence[tuple[Mutation, int]]) -> list[tuple[Outcome, str, float]]:
        """As `write`, many at once, each with its version; in their order what `write` returns, and each one's seconds."""
        return [_ended(*each) for each in [self._sent(mutation, version) for mutation, version in writes]]

    def _sent(self, mutation: Mutation, version: int) -> tuple[TimedRequest, ResponseFuture | Exception]:
        request = TimedRequest(self._cassandra.slots)
        try:
            bound = self._bound(mutation, version)
            future = self._session.execute_async(bound, timeout=self._timeout, execution_profile=WRITE_PROFILE)
        except BaseException as error:
            request.end()
            if isinstance(error, FAILURES):
                return request, error
            raise
        future.add_callbacks(request.end, request.end)
        return request, future

    def increment(self, key: Key, amounts: Mapping[str, int]) -> tuple[Outcome, str]:
        """Add to counters, once: no timestamp is possible, and no repetition; returns the outcome, and the error's text."""
        try:
            bound = BoundStatement(self._update(tuple(amounts)))
        except FAILURES as error:
            return "refused", explain(error)
        bound.values = [*map(INT64.pack, amounts.values()), *key.cells]
        try:
            self._session.execute(bound, timeout=self._timeout, execution_profile=WRITE_PROFILE)
        except FAILURES as error:
            return _outcome(error), explain(error)
        return "written", ""

    def try_write(self, put: Mutation) -> tuple[Outcome, str]:
        """Find out whether the source takes a row like this, leaving none; returns the outcome, and the error's text.

        It is written and deleted in one mutation, so nobody can read it at any moment; and that mutation is older than any
        other, so it deletes nothing if there is such a row after all.
        """
        batch = BatchStatement(BatchType.UNLOGGED)  # of one partition: one mutation, applied as a whole
        for mutation in (put, Mutation("delete", put.key, {})):
            batch.add(self._bound(mutation, OLDEST))
        try:
            self._session.execute(batch, timeout=self._timeout, execution_profile=WRITE_PROFILE)
        except FAILURES as error:
            return _outcome(error), explain(error)
        return "written", ""

    def write_again(self, replay: Replay) -> tuple[Outcome, str]:
        """Send a write again that may have arrived, or may still arrive, so that it takes effect only once (rule 15b).

        A list that has arrived is left alone; any other is sent with a slightly later timestamp. Once no later timestamp is
        left, the attempt before must be so old that it can no longer arrive (rule 17's window).
        """
        mutation, version = replay.mutation, replay.version
        lists = [name for name in self._lists if mutation.cells.get(name) is not None]
        if not lists:
            return self.write(mutation, version)
        try:
            arrived = {name for name in lists if self._has_arrived(replay, name)}
        except FAILURES as error:
            return "unsure", explain(error)
        except SourceUnavailable as error:
            return "unsure", str(error)
        if arrived != set(lists) and not has_room(replay.attempt) and replay.waited < UNREPEATABLE_WINDOW_SECONDS:
            return "unsure", f"a list was sent {replay.attempt} times without an answer, last a moment ago; it waits"
        cells = {name: cell for name, cell in mutation.cells.items() if name not in arrived}
        at = version if arrived == set(lists) else again(version, replay.attempt)
        return self.write(Mutation(mutation.kind, mutation.key, cells), at)

    def _has_arrived(self, replay: Replay, name: str) -> bool:
        """Whether a list of this write, or a later one, is there.

        If the source does not report when lists were written, none counts as arrived while a timestamp is left that hides
        the attempts before. Attempts share the last timestamp: from then on, a list of equal content counts as arrived.
        """
        key = replay.mutation.key
        if self._tells_lists:
            return self._list_time(key, name) >= replay.version
        return not has_room(replay.attempt) and (self.read(key).cells or {}).get(name) == replay.mutation.cells[name]

    def _list_time(self, key: Key, name: str) -> int:
        """The newest timestamp of a list's elements, 0 if there are none."""
        # By its key, the same list once for each row of a partition if it is static: the first will do.
        asked = f"SELECT MAXWRITETIME({quoted(name)}) FROM {self._name} WHERE {self._where} LIMIT 1"
        bound = BoundStatement(prepared(self._cassandra.raw, asked))
        bound.values = list(key.cells)
        result = self._cassandra.raw.execute(bound, timeout=self._timeout, execution_profile=RAW_PROFILE)
        page = result.current_rows[0]
        cells = read_cells(page.data, page.offset, 1)[0] if page.count else [None]
        return INT64.unpack(cells[0])[0] if cells[0] else 0

    def send(self, mutation: Mutation, version: int, done: Callable[[Outcome, str], None]) -> bool:
        """As `write`, without waiting: `done` gets the outcome, in a thread of the driver.

        Returns False and sends nothing if too many writes are in progress; a sick source gets one at a time.
        """
        if not self._in_flight.begin():
            return False

        def end(outcome: Outcome, error: str) -> None:
            self._in_flight.end(outcome)
            done(outcome, error)

        try:
            future = self._session.execute_async(
                self._bound(mutation, version), timeout=self._timeout, execution_profile=WRITE_PROFILE
            )
        except FAILURES as error:
            end("unsure", explain(error))
            return True
        future.add_callbacks(lambda _: end("written", ""), lambda error: end(_outcome(error), explain(error)))
        return True

    def read(self, key: Key) -> Read:
        """The row at quorum, with its newest timestamp. Raises SourceUnavailable."""
        return self._read_at_once([key])[0]

    def _read_at_once(self, keys: Sequence[Key]) -> list[Read]:
        """The rows of these keys, with a request each."""
        asked = []
        self._select = self._select or self._prepared_select()
        for key in keys:
            bound = BoundStatement(self._select)
            bound.values = list(key.cells)
            asked.append(self._asked(bound))
        return [next(self._reads(future), ABSENT) for future in asked]

    def _asked(self, bound: BoundStatement) -> ResponseFuture:
        """The request of a read, sent. Raises SourceUnavailable."""
        profile = self._read_profile
        return ask_source(lambda: self._cassandra.raw.execute_async(bound, timeout=self._timeout, execution_profile=profile))

    def read_many(self, keys: Sequence[Key]) -> list[Read]:
        """The rows of these keys, in their order, with one request if the table allows. Raises SourceUnavailable.

        It does if the key is one column whose values have one form each, and reads are not serial, which take one partition
        at a time. Of 1.0 and 1.00 in one IN, Cassandra returns only one (observed on 5.0.6), though they are two partitions.
        """
        if len(keys) == 1 or not self._in_one or self._read_profile == SERIAL_PROFILE:
            return self._read_at_once(keys)
        if self._select_in is None:
            self._select_in = prepared(self._cassandra.raw, self._rows.select(f"{quoted(self._keys[0])} IN ?"))
        bound = BoundStatement(self._select_in)
        cells = [key.cells[0] or b"" for key in keys]
        bound.values = [b"".join([INT32.pack(len(cells)), *(INT32.pack(len(c)) + c for c in cells)])]
        bound.fetch_size = len(keys) + 1  # rows may be large, and all are wanted
        found = {(read.cells or {})[self._keys[0]]: read for read in self._reads(self._asked(bound))}
        return [found.get(cell, ABSENT) for cell in cells]

    def _reads(self, asked: ResponseFuture) -> Iterator[Read]:
        try:
            result = asked.result()
            yield from self._rows.reads(result.current_rows[0])
            while result.has_more_pages:
                result.fetch_next_page()
                yield from self._rows.reads(result.current_rows[0])
        except FAILURES as error:
            raise SourceUnavailable(explain(error)) from None

    def _bound(self, mutation: Mutation, version: int) -> BoundStatement | BatchStatement:
        stamp = INT64.pack(version)
        if mutation.kind == "delete_partition":
            return self._partitions.delete(mutation, stamp)
        moment = expiry_of(mutation.cells)
        seconds = 0 if moment is None else seconds_left(moment)  # 0: never, whatever the table's default is
        if mutation.kind == "delete" or (moment is not None and seconds <= 0):
            bound = BoundStatement(self._delete)
            bound.values = [stamp, *mutation.key.cells]
            return bound
        # An update, too, goes as INSERT of the given columns: it sets the row marker (rule 4).
        cells = {name: cell for name, cell in mutation.cells.items() if name != EXPIRY_NAME}
        with_ttl = len(cells) < len(mutation.cells)
        bound = BoundStatement(self._insert(cells, with_ttl))
        bound.values = [*mutation.key.cells, *cells.values(), stamp, *([INT32.pack(seconds)] if with_ttl else [])]
        return bound

    def _insert(self, cells: Mapping[str, bytes | None], with_ttl: bool) -> PreparedStatement:
        names = tuple(cells)
        if (names, with_ttl) not in self._inserts:
            columns = ", ".join(map(quoted, [*self._keys, *names]))
            marks = ", ".join("?" * (len(self._keys) + len(names)))
            text = f"INSERT INTO {self._name} ({columns}) VALUES ({marks}) USING TIMESTAMP ?"
            self._inserts[names, with_ttl] = self._session.prepare(f"{text} AND TTL ?" if with_ttl else text)
        return self._inserts[names, with_ttl]

    def _update(self, counters: tuple[str, ...]) -> PreparedStatement:
        if counters not in self._updates:
            added = ", ".join(f"{quoted(name)} = {quoted(name)} + ?" for name in counters)
            self._updates[counters] = self._session.prepare(f"UPDATE {self._name} SET {added} WHERE {self._where}")
        return self._updates[counters]


def _ended(request: TimedRequest, sent: ResponseFuture | Exception) -> tuple[Outcome, str, float]:
    try:
        if isinstance(sent, Exception):
            raise sent
        sent.result()
    except FAILURES as error:
        return _outcome(error), explain(error), request.end()
    return "written", "", request.end()


def _outcome(error: Exception) -> Outcome:
    return "refused" if isinstance(error, _REFUSALS) else "unsure"


def prepared(session: Session, text: str) -> PreparedStatement:
    """A prepared statement. Raises SourceUnavailable."""
    return ask_source(lambda: session.prepare(text))


def ask_source(question: Callable[[], T]) -> T:
    """What `question` returns, which asks the source. Raises SourceUnavailable."""
    try:
        return question()
    except FAILURES as error:
        raise SourceUnavailable(explain(error)) from None
