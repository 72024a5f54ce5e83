"""The verdict on one key in which both sides seemed to differ: what was read of it, and what follows from that.

A key is read three times: the target, the source, the target again. If the target's state is unchanged and there is no intent
at either end, no write through a store happened in between: then a difference is real.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sync.core.expiry import is_same_moment

Verdict = Literal["same", "gone", "missing", "extra", "different", "kept", "rejected", "in flight", "unknown"]
FINDINGS: tuple[Verdict, ...] = ("missing", "extra", "different")
STILL: tuple[Verdict, ...] = (*FINDINGS, "kept")
"""What must be found twice in a row, with nothing changed in between."""
UNSETTLED: tuple[Verdict, ...] = ("in flight", "unknown")


@dataclass(frozen=True, slots=True)
class TargetRow:
    """What the target holds of a key, in one snapshot: the row's canonical bytes, its version, its tombstone's version.

    `refused`: None if no reject is recorded; True if Postgres itself refused the row, False if its value was rejected before.
    `expiry`: when the row expires, ms since 1970.
    """

    row: bytes | None = None
    version: int | None = None
    tombstone: int | None = None
    intents: bool = False
    refused: bool | None = None
    expiry: int | None = None

    @property
    def state(self) -> tuple[bytes | None, int | None, int | None]:
        """What every write through a store changes."""
        return self.row, self.version, self.tombstone


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What the source holds of a key; `row` is None if there is none, or if the target could not hold it."""

    there: bool = False
    row: bytes | None = None
    version: int = 0
    error: str = ""
    expiry: int | None = None

    def is_like(self, target: TargetRow) -> bool:
        """Whether the target's row is equal, and expires at the same moment."""
        return self.row is not None and self.row == target.row and is_same_moment(self.expiry, target.expiry)


def judge(before: TargetRow, source: SourceRow, after: TargetRow, keeps: bool = False) -> Verdict:
    """The verdict on a key that was read in the target, in the source, and in the target again.

    `keeps`: what expires in the source stays in the target. A row there without a version was not written by sync:
    it is extra.
    """
    if source.error:
        return "unknown"
    if source.is_like(before) or source.is_like(after):
        return "same"  # both sides were equal at some moment; an intent covers what came later
    if not source.there and None in (before.row, after.row):
        return "gone"
    if before.intents or after.intents or before.state != after.state:
        return "in flight"
    return _settled(source, after, keeps)


def _settled(source: SourceRow, target: TargetRow, keeps: bool) -> Verdict:
    if not source.there:
        return "kept" if keeps and target.version else "extra"
    if target.row is not None:
        return "different"
    # A row that the target can hold by now is missing, whatever was recorded about its values before.
    on_record = target.refused is not None if source.row is None else bool(target.refused)
    return "rejected" if on_record else "missing"
