"""`sync cutover` and `sync rollback`: gates, then the switch, then how long writes waited."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sync.adapters.postgres.cutover.gates import GateFacts
from sync.adapters.postgres.schema.source_schema import remember
from sync.core.cutover.gates import Gate
from sync.errors import SyncError
from sync.flows.cutover import CutoverResult, Limits, Switch
from sync.ports import SwitchKind
from sync.wiring.backfill.worker import worker_name
from sync.wiring.cutover.gates import Site, unproved
from sync.wiring.dual_write.worker import open_drains

_TELL_SECONDS = 1.0
"""How much time writers have to report how long their writes waited."""


@dataclass(frozen=True, slots=True)
class CutoverSummary:
    """The result of a switch, and how long writes waited for it, in milliseconds."""

    result: CutoverResult
    waits: list[float]


def switch(
    site: Site, kind: SwitchKind, judged: int, passed: list[Gate], say: Callable[[str], None], waived: str = ""
) -> CutoverSummary:
    """Switch from the epoch that was judged; all gates are green. `waived` says what is not proved, and goes into the audit.

    Raises GateRefused, with nothing changed, if a writer or an intent is in the way.
    """
    tuning = site.config.cutover
    GateFacts(site.connection).retry()
    remember(site.connection, (table.source for table in site.tables))
    # A writer answers with its next heartbeat; one that was just too late has time for another one.
    ready = 2 * site.config.dual_write.heartbeat_seconds + 1
    write = site.config.capture.write_timeout_seconds
    limits = Limits(ready, tuning.max_drain_seconds, tuning.max_pause_seconds, write)
    names, still = [table.name for table in site.tables], unproved(site, site.authority.current(), bool(waived))
    figures = {**_figures(passed), **({"waived": waived} if waived else {})}
    site.authority.audit(f"{kind} begun", figures)
    try:
        with open_drains(site.settings, site.config, names) as drains:

            def drain(stopped: Callable[[], bool]) -> int:
                return sum(each.run(worker_name(), stopped) for each in drains.values())

            result = Switch(site.authority, drain, limits, say, still).run(kind, judged, figures)
    except SyncError as error:
        site.authority.audit(f"{kind} abandoned", {"reason": str(error)})
        raise
    return CutoverSummary(result, _waits(site, result.switch))


def _figures(passed: list[Gate]) -> dict[str, Any]:
    return {"gates": {gate.name: gate.figure for gate in passed}}


def _waits(site: Site, number: int) -> list[float]:
    """How long writes waited, as far as writers report it in time."""
    time.sleep(_TELL_SECONDS)
    return sorted(ms for told in site.authority.waits(number).values() for ms in told)
