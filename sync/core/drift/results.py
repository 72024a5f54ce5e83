"""What a check of a range found: figures, and the keys that differ."""

from __future__ import annotations

from dataclasses import dataclass, field

from sync.core.drift.compare import Comparison
from sync.core.drift.verdicts import Verdict
from sync.core.mutations import Key
from sync.core.ring import TokenRange

MAX_TRIES = 3
"""How often a range that cannot be read is tried before it is unknown."""


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """A key's verdict, with the columns that differ and both versions.

    If it is `same` although columns differ, the target keeps values in these that have expired in the source.
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
        """What must be found unchanged a second time to be a finding."""
        return self.verdict, self.columns, self.source_version, self.target_version


@dataclass(slots=True)
class RangeResult:
    """The verdict on one range; `kept` are the first findings, and keys whose state is unknown.

    `kept_columns` counts rows that are equal except for columns that expired in the source and that the target keeps.
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
        """`different` if there are findings, else `unknown` if anything is not proved, else `same`."""
        if self.rows.unknown or self.rows.in_flight or self.error:
            return "different" if self.rows.differing else "unknown"
        return "same" if self.rows.clean else "different"
