"""What a check of a range found: figures, and the keys that differ."""

from __future__ import annotations

from dataclasses import dataclass, field

from sync.core.drift.compare import Comparison
from sync.core.drift.verdicts import Verdict
from sync.core.mutations import Key
from sync.core.ring import TokenRange

MAX_TRIES = 3
"""So often a range that cannot be read is tried before it is unknown."""


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """A key's verdict, with the columns that differ and both versions.

    Where it is the same although columns differ, the target has kept in these what the source let expire.
    """

    key: Key
    verdict: Verdict
    columns: tuple[str, ...] = ()
    source_version: int = 0
    target_version: int | None = None
    error: str = ""
    repaired: bool = False
    held: bool = False
    settled_after: float = 0.0

    @property
    def evidence(self) -> tuple[object, ...]:
        """What must be found twice for a finding."""
        return self.verdict, self.columns, self.source_version, self.target_version


@dataclass(slots=True)
class RangeResult:
    """The verdict on one range; `kept` are the first findings, and keys whose state could not be told.

    `kept_columns` are rows that are the same but for columns that expired in the source and that the target keeps.
    """

    tokens: TokenRange
    rows: Comparison = field(default_factory=Comparison)
    kept: list[KeyVerdict] = field(default_factory=list)
    repaired: int = 0
    seconds: float = 0.0
    settled: int = 0
    slowest_settled: float = 0.0
    kept_columns: int = 0
    error: str = ""

    @property
    def verdict(self) -> str:
        """`unknown` where anything is not proved, `different` where findings are, else `same`."""
        if self.rows.unknown or self.rows.in_flight or self.error:
            return "different" if self.rows.differing else "unknown"
        return "same" if self.rows.clean else "different"
