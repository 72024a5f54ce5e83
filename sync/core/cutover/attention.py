"""What of a migration's status somebody should look at now: for `sync status --check`, which a scheduler runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sync.core.words import counted

OLD_INTENT_SECONDS = 900
"""Workers settle an intent in seconds; one that could not be settled for so long needs somebody."""


def attention(status: Mapping[str, Any], writer_lease_seconds: float, max_skew_seconds: float) -> list[str]:
    """A line for each thing, with what to do; none while all is well. `status` is what `sync status --json` prints.

    Gates that are red because the migration is not that far are no reason.
    """
    return [
        *_unknown(status),
        *_gates(status),
        *(line for table in status["tables"] for line in _copy(table)),
        *(line for check in status["drift_under_way"] for line in _pass(check)),
        *_intents(status),
        *(line for writer in status["writers"] for line in _writer(writer, writer_lease_seconds, max_skew_seconds)),
        *_differences(status),
    ]


def is_silent(writer: Mapping[str, Any], lease_seconds: float) -> bool:
    """Whether a writer, as `sync writers --json` lists it, is active and has been without a heartbeat for the lease."""
    return bool(writer["state"] == "active" and writer["heartbeat_age_seconds"] > lease_seconds)


def _unknown(status: Mapping[str, Any]) -> Iterator[str]:
    if status["gates_error"]:
        yield f"the gates could not be evaluated: {status['gates_error']}"
    if status["workers"] is None:
        yield "Redis does not answer: workers are notified late, and nobody knows how many run"


def _gates(status: Mapping[str, Any]) -> Iterator[str]:
    """Those that are red at no time of a migration while all is well."""
    for gate in status["gates"]:
        if gate["name"] in ("followers", "SQL writers") and not gate["green"]:
            yield f"{gate['name']}: {gate['figure']}: {gate['remedy']}"


def _copy(table: Mapping[str, Any]) -> Iterator[str]:
    yield from _ranges(f"{table['table']}: the copy", table, "sync backfill tries again")


def _pass(check: Mapping[str, Any]) -> Iterator[str]:
    yield from _ranges(f"{check['table']}: the drift pass", check, "sync drift-report tries again")


def _ranges(what: str, found: Mapping[str, Any], remedy: str) -> Iterator[str]:
    error = f": {found['error']}" if found["error"] else ""
    if failed := found["ranges"]["failed"]:
        yield f"{what} has {counted(failed, 'failed range')}{error}: {remedy}"
    elif error:
        yield f"{what} waits{error}"


def _intents(status: Mapping[str, Any]) -> Iterator[str]:
    intents = status["intents"]
    if intents["spooled"]:
        yield f"{counted(intents['spooled'], 'write')} not recorded in Postgres yet: sync writers"
    if intents["open"] and status["workers"] == 0:
        yield f"{counted(intents['open'], 'intent')}, and no worker runs: sync worker"
    if intents["stuck"]:
        yield f"{counted(intents['stuck'], 'intent')} could not be reconciled so far: sync intents"
    elif (intents["oldest_age_seconds"] or 0) > OLD_INTENT_SECONDS:
        yield f"an intent is {intents['oldest_age_seconds'] / 60:.0f} min old: sync intents"


def _writer(writer: Mapping[str, Any], lease: float, max_skew: float) -> Iterator[str]:
    name = writer["id"]
    if writer["state"] == "unclean":
        yield f"writer {name} ended without signing off, or was fenced: sync drift-report --repair clears it"
    elif is_silent(writer, lease):
        age = writer["heartbeat_age_seconds"]
        yield f"writer {name} is without a heartbeat for {age:.0f} s: if it has ended, sync writers --fence {name}"
    if abs(writer["clock_skew_us"] or 0) > max_skew * 1e6:
        yield f"writer {name}: its clock is {writer['clock_skew_us'] / 1e6:+.1f} s off Postgres's: correct it"


def _differences(status: Mapping[str, Any]) -> Iterator[str]:
    last, shadow = status["last_drift"], status["shadow_reads"]
    if last and not last["clean"] and not last["repaired"]:
        yield f"drift pass {last['pass']}: {counted(last['findings'], 'finding')}: sync drift-report --repair"
    if shadow["since_repair"]:
        differed = counted(shadow["since_repair"], "key")
        yield f"shadow reads: {differed} differed since the last repair: sync drift-report --repair"
    if rejected := sum(status["rejects"].values()):
        yield f"{counted(rejected, 'rejected row')}: sync rejects"
