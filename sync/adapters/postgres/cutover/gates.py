"""The facts in Postgres that the gates of a cut-over judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.connection.queries import queries
from sync.adapters.postgres.connection.refusals import target_errors
from sync.adapters.postgres.cutover.writers import list_writers
from sync.core.cutover.gates import BackfillFact, IntentFacts, ShadowFacts, WriterFact
from sync.core.cutover.proof import CLEAN_PASSES, Pass, ProofBounds, TableProof, proofs
from sync.ports import Epoch

_SQL = {name: text.encode() for name, text in queries("cutover/gates").items()}


class GateFacts:
    """Facts over one autocommit connection. Every method raises TargetUnavailable if that breaks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def intents(self, told: bool = True) -> IntentFacts:
        """The intents that are left: how many, how many failed, the oldest one's age, an error; also what was `told`.

        At the end of a migration that no longer counts: SQL goes on writing, and nothing is sent to the source any more.
        """
        count, failing, oldest, error = self._rows("intents", told=told)[0]
        return IntentFacts(count, failing, oldest, " ".join(error.split()))

    def shadow(self, tables: Sequence[str]) -> ShadowFacts:
        """What shadow reads have compared, and found in these tables since each one's last clean pass."""
        ((compared,),) = self._rows("compared")
        found = self._rows("shadow", tables=list(tables))
        differing = {str(table): int(count) for table, count, _ in found if count}
        return ShadowFacts(compared, differing, {str(table): int(count) for table, _, count in found if count})

    def retry(self) -> None:
        """Let intents that failed before be retried at once."""
        with target_errors():
            self._connection.execute(_SQL["retry"])

    def copied(self, tables: Sequence[str]) -> list[BackfillFact]:
        """The progress of the newest backfill of each of these tables."""
        ledger = RangeLedger(self._connection, 1)  # it leases nothing here
        with target_errors():
            progress = ledger.progress(ledger.latest())
        found = {p.table: BackfillFact(p.table, p.done, p.total, p.failed) for p in progress}
        return [found.get(table, BackfillFact(table, 0, 0, 0)) for table in tables]

    def passes(self) -> list[Pass]:
        """The last drift passes over each table, the newest first: as many as a proof takes."""
        return [Pass(*row) for row in self._rows("passes", most=CLEAN_PASSES)]

    def disturbed(self, gaps: bool = True) -> dict[str, tuple[datetime, str]]:
        """By table, when and how a difference without an intent could last have arisen; "" stands for any table.

        By a write that was recorded late, a fenced writer, a write that could not be repeated, an intent that was given up;
        and by `gaps` in feeds of changes by others; all before a feed of a node or of Pulsar was first followed is one.
        """
        return {str(table): (at, str(why)) for table, at, why in self._rows("disturbed", gaps=gaps)}

    def bounds(self, epoch: Epoch, gaps: bool = True) -> ProofBounds:
        """The epoch and the disturbances after which a pass must have begun to prove anything."""
        return ProofBounds(epoch.epoch, epoch.since, self.disturbed(gaps))

    def proofs(self, shapes: Mapping[str, str], epoch: Epoch, data_center: str) -> list[TableProof]:
        """The proof of each table; `shapes` are the tables' present shapes."""
        return proofs(self.passes(), shapes, self.bounds(epoch), data_center)

    def writers(self) -> list[WriterFact]:
        """Writers that have not signed off."""
        with target_errors():
            found = list_writers(self._connection)
        return [WriterFact(w["id"], w["state"], w["epoch"], w["unrecorded"], w["heartbeat_age_seconds"]) for w in found]

    def bad_indexes(self, tables: Sequence[str]) -> list[str]:
        """Indexes that are still to be built, and invalid ones of these tables."""
        return [str(row[0]) for row in self._rows("bad_indexes", tables=list(tables))]

    def open_runs(self) -> int:
        """Copies and checks that are not finished."""
        return int(self._rows("open_runs")[0][0])

    def _rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        with target_errors():
            return self._connection.execute(_SQL[query], values).fetchall()
