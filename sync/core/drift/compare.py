"""Comparing two sides of a range by key and hash: what is missing, extra or different, and that the numbers add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sync.core.drift.digest import is_equal

MAX_FINDINGS = 1000
"""How many findings are kept with their keys; all are counted (invariant 7)."""
FIGURES = ("source", "target", "same", "missing", "extra", "different", "kept", "in_flight", "rejected", "unknown")
Kind = Literal["missing", "extra", "different", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One key that differs; `key` is its canonical bytes."""

    kind: Kind
    key: bytes


@dataclass(slots=True)
class Comparison:
    """Rows of a range or table: source = same + different + missing + in flight + rejected + unknown (invariant 5).

    A key in flight or unknown counts as a row of the source, since nothing says that it is not one. `kept` are rows that
    only the target has: they expired in the source, and are to stay.
    """

    source: int = 0
    target: int = 0
    same: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    kept: int = 0
    in_flight: int = 0
    rejected: int = 0
    unknown: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether both sides are equal, as far as the target can hold the rows."""
        return not (self.missing or self.extra or self.different or self.in_flight or self.unknown)

    @property
    def differing(self) -> int:
        """How many keys are known to differ."""
        return self.missing + self.extra + self.different

    def figures(self) -> dict[str, int]:
        """The counts by name, as the report has them."""
        return {name: getattr(self, name) for name in FIGURES}

    def add(self, other: Comparison) -> None:
        """Add another range's figures to these."""
        for name in FIGURES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.findings += other.findings[: max(0, MAX_FINDINGS - len(self.findings))]

    def check(self) -> None:
        """Raise AssertionError unless every row read is accounted for."""
        told = self.same + self.different + self.missing + self.in_flight + self.rejected + self.unknown
        assert self.source == told, f"{self.source} source rows, {told} accounted for"
        least = self.same + self.different + self.extra + self.kept
        most = least + self.in_flight + self.unknown
        assert least <= self.target <= most, f"{self.target} target rows, {least} accounted for"


def compare(
    source: Mapping[bytes, bytes], target: Mapping[bytes, bytes], rejected: int = 0, keeps: bool = False
) -> Comparison:
    """Compare hashes by key; `rejected` source rows have no hash, since the target cannot hold them.

    `keeps`: rows that only the target has are those that expired in the source.
    """
    found = Comparison(source=len(source) + rejected, target=len(target), rejected=rejected)
    for key, hashed in source.items():
        if key not in target:
            found.missing += 1
            found.findings.append(Finding("missing", key))
        elif not is_equal(target[key], hashed):
            found.different += 1
            found.findings.append(Finding("different", key))
        else:
            found.same += 1
    only_there = target.keys() - source.keys()
    if keeps:
        found.kept, only_there = len(only_there), set()
    for key in only_there:
        found.extra += 1
        found.findings.append(Finding("extra", key))
    found.check()
    return found
