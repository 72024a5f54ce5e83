"""What a worker process paces its streams with, as sync.toml and the run say."""

from __future__ import annotations

from sync.adapters.postgres.backfill.range_ledger import RangeLedger
from sync.flows.pacing import Throttle
from sync.settings import Config


def throttle_of(config: Config, ledger: RangeLedger, runs: list[int]) -> Throttle | None:
    """What the streams of this process measure; None where sync.toml has no limit. It begins where the last process was."""
    tuning = config.throttle
    if tuning.source_latency_ms is None and tuning.target_latency_ms is None:
        return None
    source, target = (ms / 1000 if ms else None for ms in (tuning.source_latency_ms, tuning.target_latency_ms))
    return Throttle({"source": source, "target": target}, ledger.last_throttled(runs))
