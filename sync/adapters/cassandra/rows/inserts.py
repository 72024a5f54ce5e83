"""Rows that are written only where there are none: `INSERT … IF NOT EXISTS`, a lightweight transaction.

Cassandra allows no timestamp for it: the row gets that of the node that coordinates it, by the node's own clock in whole
milliseconds. If an earlier delete had a later timestamp, it hides the row, though Cassandra answers that it was applied; and
the row hides a later write whose timestamp is earlier (both observed on 5.0.6). So that very node's clock is read first. The
transaction is sent once the clock has passed all that is known of the key, and answered once this host's clock has passed
the node's.
"""

from __future__ import annotations

import time
from uuid import UUID

from cassandra import InvalidRequest, Unauthorized
from cassandra.pool import Host
from cassandra.protocol import SyntaxException
from cassandra.query import BoundStatement, PreparedStatement

from sync.adapters.cassandra.connection.connect import LIGHTWEIGHT_PROFILE, Cassandra, explain
from sync.adapters.cassandra.connection.pages import named, quoted
from sync.adapters.cassandra.connection.routing import send_to
from sync.adapters.cassandra.rows.rows import FAILURES
from sync.core.encode.base import INT32, read_cells
from sync.core.expiry import EXPIRY_NAME, expiry_of, seconds_left
from sync.core.mutations import InsertOutcome, Key, Mutation
from sync.core.rows import SourceTable

MAX_WAIT_SECONDS = 2.0
"""The largest difference of clocks that is waited for."""
_REFUSALS = (InvalidRequest, Unauthorized, SyntaxException)
"""Not Unavailable: Cassandra may answer that when it commits what its replicas have accepted (StorageProxy.commitPaxos)."""
_UUID_OF_1970 = 0x01B21DD213814000
_APPLIED = b"\x01"


class Inserts:
    """Inserts into one table, each sent once. Safe to use from many threads."""

    def __init__(self, cassandra: Cassandra, table: SourceTable, timeout: float) -> None:
        self._cassandra, self._table, self._timeout = cassandra, table, timeout
        self._statements: dict[str, PreparedStatement] = {}

    def insert(self, put: Mutation, above: int) -> tuple[InsertOutcome, str]:
        """Write a row if there is none with its key, with a timestamp above `above`; the outcome, and the error's text."""
        try:
            bound = self._bound(put)
            asked = time.time_ns() // 1000
            node, clock = self._clock_for(put.key)
        except FAILURES as error:
            return "refused", explain(error)
        # The node read its clock after it was asked, so it is no more than this ahead, however late the answer came.
        behind, ahead = (above - clock + 1000) / 1e6, (clock + 1000 - asked) / 1e6
        if max(behind, ahead) > MAX_WAIT_SECONDS:
            return "refused", _reason(node, behind, ahead)
        time.sleep(max(0.0, behind))
        try:
            result = self._cassandra.raw.execute(
                bound, timeout=self._timeout, execution_profile=LIGHTWEIGHT_PROFILE, host=node
            )
        except FAILURES as error:
            return "refused" if isinstance(error, _REFUSALS) else "unsure", explain(error)
        page = result.current_rows[0]
        if read_cells(page.data, page.offset, 1)[0][0] != _APPLIED:
            return "exists", ""
        time.sleep(max(0.0, ahead))
        return "written", ""

    def _clock_for(self, key: Key) -> tuple[Host, int]:
        """A node that has the key, or coordinates for those that do, and its clock in microseconds."""
        bound = self._prepared("SELECT now() FROM system.local").bind(())
        send_to(bound, self._table.keyspace, key.token)
        future = self._cassandra.session.execute_async(bound, timeout=self._timeout)
        now: UUID = future.result().one()[0]
        return future.coordinator_host, (now.time - _UUID_OF_1970) // 10_000 * 1000

    def _bound(self, put: Mutation) -> BoundStatement:
        cells, moment = dict(put.cells), expiry_of(put.cells)
        ttl = [] if EXPIRY_NAME not in cells else [INT32.pack(0 if moment is None else max(1, seconds_left(moment)))]
        cells.pop(EXPIRY_NAME, None)
        names = [*(c.name for c in self._table.primary_key), *cells]
        columns, marks = ", ".join(map(quoted, names)), ", ".join("?" * len(names))
        text = f"INSERT INTO {named(self._table)} ({columns}) VALUES ({marks}) IF NOT EXISTS{' USING TTL ?' if ttl else ''}"
        bound = BoundStatement(self._prepared(text))
        bound.values = [*put.key.cells, *cells.values(), *ttl]
        return bound

    def _prepared(self, text: str) -> PreparedStatement:
        if text not in self._statements:
            self._statements[text] = self._cassandra.session.prepare(text)
        return self._statements[text]


def _reason(node: Host, behind: float, ahead: float) -> str:
    """Why the clocks forbid an insert, and what to do."""
    if behind > ahead:
        why = f"{behind:.1f} s behind the timestamps of this key's writes, and an earlier delete may hide the row"
    else:
        why = f"{ahead:.1f} s ahead of this host's, and the row would hide later writes"
    return f"the clock of Cassandra's node {node.address} is {why}: correct the clocks, or use put"
