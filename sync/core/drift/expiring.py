"""Rows that expire while they are compared: the two sides let one go at slightly different moments, which is no finding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sync.core.drift.verdicts import SourceRow, TargetRow
from sync.core.expiry import TOLERANCE_MS


@dataclass(frozen=True, slots=True)
class Span:
    """When a key was read, from the first look to the last: ms since 1970, by this host's clock."""

    begin: int
    end: int

    def _is_expired(self, moment: int | None) -> bool:
        return moment is not None and moment < self.begin - TOLERANCE_MS

    def _is_near(self, moment: int | None) -> bool:
        return moment is not None and self.begin - TOLERANCE_MS <= moment <= self.end + TOLERANCE_MS

    def visible(self, row: TargetRow) -> TargetRow:
        """What readers see of the target's row: nothing, once it has expired."""
        return replace(row, row=None) if self._is_expired(row.expiry) else row

    def verdict(self, before: TargetRow, source: SourceRow, after: TargetRow) -> Literal["gone", "in flight"] | None:
        """The verdict on a key of which a side's row is about to expire, or has just expired; None for any other.

        It is gone if neither side holds a row that stays; else it is read again, once the moment has passed.
        """
        rows = [(r.row is not None, r.expiry) for r in (before, after)] + [(source.there, source.expiry)]
        there = [moment for is_there, moment in rows if is_there]
        if source.error or not any(map(self._is_near, there)):
            return None
        return "gone" if all(self._is_near(m) or self._is_expired(m) for m in there) else "in flight"
