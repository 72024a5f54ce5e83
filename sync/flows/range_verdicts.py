"""What becomes of the keys of a range that seemed to differ: their verdicts, counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sync.core.drift.compare import MAX_FINDINGS
from sync.core.drift.range_hashes import Raw
from sync.core.drift.results import KeyVerdict, RangeResult
from sync.core.drift.verdicts import FINDINGS, UNSETTLED
from sync.core.mutations import Key
from sync.core.ring import TokenRange
from sync.flows.recheck import KeysOfBothSides, Recheck
from sync.ports import Lease


class TableKeys(KeysOfBothSides, Protocol):
    """Single keys of one table, and how they are made."""

    def of_source(self, raw: Raw) -> Key: ...
    def of_target(self, canonical: bytes, tokens: TokenRange) -> Key: ...
    def restamp(self, keys: Sequence[Key]) -> int: ...


def only_in_target(lease: Lease, keys: TableKeys, target_only: list[bytes], checked: RangeResult) -> list[Key]:
    """Keys of the target that the source does not have in the range; those of another range get their right token."""
    found: list[Key] = []
    strangers: list[Key] = []
    for canonical in target_only:
        try:
            key = keys.of_target(canonical, lease.whole)
        except ValueError as error:
            # A key that cannot be asked for in the source is not proved to be extra.
            judged = KeyVerdict(Key(lease.table, (), canonical, 0), "unknown", error=str(error), held=True)
            _count(checked, judged, False)
            continue
        (found if key.token in lease.whole else strangers).append(key)
    if strangers:
        keys.restamp(strangers)
    return found


def tally(recheck: Recheck, source_keys: list[Key], target_only: list[Key], checked: RangeResult) -> None:
    """Count the verdicts of the keys that the source's stream had, and of those that only the target had."""
    in_source = dict.fromkeys(target_only, False) | dict.fromkeys(source_keys, True)
    count = 0
    for judged in recheck.verdicts([*source_keys, *target_only]):
        assert judged.key in in_source, "a verdict on a key that was not asked for"
        count += 1
        _count(checked, judged, in_source[judged.key])
    asked = len(source_keys) + len(target_only)
    assert count == asked, f"{asked} keys to settle, {count} settled"


def _count(checked: RangeResult, judged: KeyVerdict, in_source: bool) -> None:
    rows, verdict = checked.rows, judged.verdict
    if verdict != "gone":
        name = verdict.replace(" ", "_")
        setattr(rows, name, getattr(rows, name) + 1)
    # Rows come and go while a range is read: what counts is what the source had at the verdict.
    rows.source += (verdict not in ("gone", "extra", "kept")) - in_source
    rows.target += verdict in ("same", "extra", "different", "kept") or (verdict in UNSETTLED and judged.held)
    checked.repaired += judged.repaired
    checked.kept_columns += verdict == "same" and bool(judged.columns)
    if verdict in ("same", "gone"):
        checked.settled += 1
        checked.slowest_settled = max(checked.slowest_settled, judged.settled_after)
    if verdict in (*FINDINGS, "unknown") and len(checked.kept) < MAX_FINDINGS:
        checked.kept.append(judged)
