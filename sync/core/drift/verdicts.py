"""The verdict on one key of which both sides seemed to differ: what was read of it, and what follows from that.

A key is read three times: the target, the source, the target again. Where the target's version stands still and no intent is
there at either end, no write through the wrapper happened in between: what differs then, differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["same", "gone", "missing", "extra", "different", "kept", "rejected", "in flight", "unknown"]
FINDINGS: tuple[Verdict, ...] = ("missing", "extra", "different")
STILL: tuple[Verdict, ...] = (*FINDINGS, "kept")
"""What must be found twice, while nothing moves."""
UNSETTLED: tuple[Verdict, ...] = ("in flight", "unknown")


@dataclass(frozen=True, slots=True)
class TargetRow:
    """What the target holds of a key, in one snapshot: the row's canonical bytes, its version, its tombstone's version.

    `refused`: None where no reject is recorded; True where Postgres itself refused the row, False where a value was.
    """

    row: bytes | None = None
    version: int | None = None
    tombstone: int | None = None
    intents: bool = False
    refused: bool | None = None

    @property
    def state(self) -> tuple[bytes | None, int | None, int | None]:
        """What every write through the wrapper changes."""
        return self.row, self.version, self.tombstone


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What the source holds of a key; `row` is None where there is none, or where the target could not hold it."""

    there: bool = False
    row: bytes | None = None
    version: int = 0
    error: str = ""


def judge(before: TargetRow, source: SourceRow, after: TargetRow, keeps: bool = False) -> Verdict:
    """The verdict on a key that was read in the target, in the source, and in the target again.

    `keeps`: what expires in the source stays in the target. A row there without a version is nobody's copy, and is extra.
    """
    if source.error:
        return "unknown"
    if source.row is not None and source.row in (before.row, after.row):
        return "same"  # both sides met at some moment; an intent that is there will see to what came later
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
    # A row that the target could hold by now is missing, whatever was recorded of its values once.
    on_record = target.refused is not None if source.row is None else bool(target.refused)
    return "rejected" if on_record else "missing"
