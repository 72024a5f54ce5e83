"""The state of a migration as metrics: their names, what they mean, and their values in what `sync status --json` prints.

docs/metrics.md says of each when to worry, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sync.core.cutover.attention import is_silent

PHASES = ("schema", "backfill", "backfilled", "proved", "closing", "cut over")
_RANGES = ("pending", "running", "done", "failed")
_ROWS = {"read": "rows_read", "written": "rows_written", "already_there": "rows_stale", "rejected": "rows_rejected"}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its name without a counter's `_total`, its meaning in a line, and the names of its labels."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter"] = "gauge"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; `labels` are in the order of the metric's."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


UP = Metric("sync_up", "Whether a server answers: 1, or 0", ("server",))
STATE = Metric("sync_state", "Whether Postgres holds the state of a migration: 1, or 0 before `sync schema apply`")
EPOCH = Metric("sync_epoch", "The number of the epoch, one more with each switch")
PRIMARY = Metric("sync_primary", "1 for the store that is primary, 0 for the other one", ("store",))
PHASE = Metric("sync_phase", "1 for the phase in which the migration is, 0 for the others", ("phase",))
ATTENTION = Metric("sync_attention", "How many lines `sync status --check` prints")
ROWS = Metric("sync_backfill_rows", "Rows of the newest backfill, by what became of them", ("table", "outcome"), "counter")
RANGES = Metric("sync_backfill_ranges", "Token ranges of the newest backfill", ("table", "state"))
WAITING = Metric(
    "sync_backfill_waiting", "1 while a backfill has ranges left, and no worker works on any of them", ("table",)
)
SHARE = Metric(
    "sync_throttle_share",
    "The share of the time that a backfill or a pass works, while a server is too slow for it; else 1",
    ("table", "run"),
)
PASSES = Metric("sync_clean_passes", "Clean drift passes that count for the next switch", ("table",))
PASS_CLEAN = Metric("sync_pass_clean", "Whether the last drift pass was clean: 1, or 0")
PASS_AGE = Metric("sync_pass_age_seconds", "Seconds since the end of the last drift pass")
PASS_FINDINGS = Metric("sync_pass_findings", "Rows that the last drift pass found different and did not repair")
PASS_REPAIRED = Metric("sync_pass_repaired", "Rows that the last drift pass repaired")
PASS_RANGES = Metric("sync_pass_ranges", "Token ranges of a drift pass that has not ended", ("table", "state"))
INTENTS = Metric("sync_intents_open", "Intents: keys not yet known to be equal on both sides", ("table", "state"))
RECHECKS = Metric(
    "sync_rechecks_open",
    "Those of the intents that are rechecks: keys that others have changed, or a run skipped",
    ("table",),
)
OLDEST = Metric("sync_intent_oldest_seconds", "The age of the oldest intent; 0 where there is none")
STUCK = Metric("sync_intents_stuck", "Intents that could not be reconciled at the first try")
UNRECORDED = Metric(
    "sync_unrecorded_writes", "Writes that writers buffer, because Postgres was away; as of their last heartbeat"
)
REJECTS = Metric("sync_rejects", "Rows that Postgres cannot hold", ("table",))
WRITERS = Metric(
    "sync_writers", "Registered writers; silent: active, without a heartbeat for longer than their lease", ("state",)
)
HEARTBEAT = Metric("sync_writer_heartbeat_age_seconds", "Seconds since a writer's last heartbeat", ("writer",))
SKEW = Metric("sync_writer_clock_skew_seconds", "A writer's clock minus Postgres's", ("writer",))
GATE = Metric("sync_gate_green", "Whether a gate of the next switch is green: 1, or 0", ("gate",))
JUDGED = Metric("sync_gates_judged", "Whether the gates could be evaluated: 1, or 0")
BEHIND = Metric(
    "sync_follower_behind_seconds",
    "How far a feed is behind; missing while it has told nothing, and where it has ended",
    ("feed",),
)
FOLLOWED = Metric("sync_follower_followed", "Whether a process follows a feed, or it has ended: 1, or 0", ("feed",))
GAPS = Metric("sync_follower_gaps", "Gaps of a feed: events that are lost", ("feed",))
STRAYS = Metric("sync_follower_strays", "What a feed told while Postgres was primary", ("feed",), "counter")
KEYS = Metric("sync_follower_keys", "Keys that a feed has told", ("feed",), "counter")
SHADOWED = Metric("sync_shadow_reads", "Shadow reads of this epoch", ("result",))
DIFFERED = Metric("sync_shadow_differences", "Keys that differed in shadow reads since the last repair")
WORKERS = Metric("sync_workers", "RQ workers that listen to the queue")
JOBS = Metric("sync_queue_jobs", "Jobs in the queue: waiting, or failed within the last hour", ("state",))

OF_STATE = (
    EPOCH, PRIMARY, PHASE, ATTENTION, ROWS, RANGES, WAITING, SHARE, PASSES, PASS_CLEAN, PASS_AGE, PASS_FINDINGS,
    PASS_REPAIRED, PASS_RANGES, INTENTS, RECHECKS, OLDEST, STUCK, UNRECORDED, REJECTS, WRITERS, HEARTBEAT, SKEW, GATE,
    JUDGED, BEHIND, FOLLOWED, GAPS, STRAYS, KEYS, SHADOWED, DIFFERED,
)  # fmt: skip
"""What is known only while Postgres answers."""
OF_QUEUE = (WORKERS, JOBS)
METRICS = (UP, STATE, *OF_STATE, *OF_QUEUE)


def samples(status: Mapping[str, Any], lease_seconds: float, now: datetime) -> Iterator[Sample]:
    """The values of OF_STATE in a status. A metric of which there is nothing, as before the first pass, has none."""
    yield Sample(EPOCH, status["epoch"])
    for store in ("astra", "postgres"):
        yield Sample(PRIMARY, store == status["primary"], (store,))
    for phase in PHASES:
        yield Sample(PHASE, phase == status["phase"], (phase,))
    yield Sample(ATTENTION, len(status["attention"]))
    for table in status["tables"]:
        yield from _copy(table)
    for check in status["drift_under_way"]:
        yield from _ranges(PASS_RANGES, check)
        yield _share(check, "pass")
    yield from _last_pass(status["last_drift"], now)
    yield from _intents(status["intents"])
    for name, rejected in status["rejects"].items():
        yield Sample(REJECTS, rejected, (name,))
    yield from _writers(status["writers"], lease_seconds)
    for gate in status["gates"]:
        yield Sample(GATE, gate["green"], (gate["name"],))
    yield Sample(JUDGED, not status["gates_error"])
    for feed in status["feeds"]:
        yield from _feed(feed)
    for result in ("compared", "skipped", "differing"):
        yield Sample(SHADOWED, status["shadow_reads"][result], (result,))
    yield Sample(DIFFERED, status["shadow_reads"]["since_repair"])


def _copy(table: Mapping[str, Any]) -> Iterator[Sample]:
    name, ranges = table["table"], table["ranges"]
    for outcome, field in _ROWS.items():
        yield Sample(ROWS, table[field], (name, outcome))
    yield from _ranges(RANGES, table)
    yield _share(table, "backfill")
    left = ranges["total"] - ranges["done"] - ranges["failed"]
    yield Sample(WAITING, left > 0 and ranges["running"] <= table["ranges_abandoned"], (name,))
    if table["clean_passes"] is not None:
        yield Sample(PASSES, table["clean_passes"], (name,))


def _share(of: Mapping[str, Any], run: str) -> Sample:
    return Sample(SHARE, of["throttled"]["share"] if of["throttled"] else 1.0, (of["table"], run))


def _ranges(metric: Metric, of: Mapping[str, Any]) -> Iterator[Sample]:
    ranges = of["ranges"]
    known = {name: ranges[name] for name in _RANGES[1:]}
    for state, count in {"pending": ranges["total"] - sum(known.values()), **known}.items():
        yield Sample(metric, count, (of["table"], state))


def _last_pass(last: Mapping[str, Any] | None, now: datetime) -> Iterator[Sample]:
    if last is None:
        return
    yield Sample(PASS_CLEAN, last["clean"])
    yield Sample(PASS_AGE, max(0.0, (now - datetime.fromisoformat(last["finished_at"])).total_seconds()))
    yield Sample(PASS_FINDINGS, max(0, last["findings"] - last["repaired"]))
    yield Sample(PASS_REPAIRED, last["repaired"])


def _intents(intents: Mapping[str, Any]) -> Iterator[Sample]:
    for table, states in intents["tables"].items():
        for state, count in states["states"].items():
            yield Sample(INTENTS, count, (table, state))
        yield Sample(RECHECKS, states["rechecks"], (table,))
    yield Sample(OLDEST, intents["oldest_age_seconds"] or 0.0)
    yield Sample(STUCK, intents["stuck"])
    yield Sample(UNRECORDED, intents["spooled"])


def _writers(writers: Sequence[Mapping[str, Any]], lease_seconds: float) -> Iterator[Sample]:
    states = {"active": 0, "silent": 0, "unclean": 0}
    for writer in writers:
        states["silent" if is_silent(writer, lease_seconds) else writer["state"]] += 1
        yield Sample(HEARTBEAT, writer["heartbeat_age_seconds"], (writer["id"],))
        yield Sample(SKEW, (writer["clock_skew_us"] or 0) / 1e6, (writer["id"],))
    for state, count in states.items():
        yield Sample(WRITERS, count, (state,))


def _feed(feed: Mapping[str, Any]) -> Iterator[Sample]:
    labels = (feed["name"],)
    if feed["behind_seconds"] is not None:
        yield Sample(BEHIND, feed["behind_seconds"], labels)
    yield Sample(FOLLOWED, feed["followed"] or feed["ended"], labels)
    yield Sample(GAPS, feed["gaps"], labels)
    yield Sample(STRAYS, feed["strays"], labels)
    yield Sample(KEYS, feed["keys"], labels)
