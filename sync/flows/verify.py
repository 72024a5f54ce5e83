"""Verification after a migration: every range's digest on both sides; where they differ, every row by key.

If the source is written to meanwhile, this also shows what changed after the copy; `sync drift-report` tells that from drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any, Protocol

from sync.core.drift.compare import Comparison, compare
from sync.core.drift.digest import EMPTY, Digest, is_expiring
from sync.core.encode.rows import ENCODE_ERRORS, RowEncoder
from sync.core.ring import TokenRange
from sync.errors import SourceTimeout, SourceUnavailable
from sync.ports import Source


class Digests(Protocol):
    """The target's side of a comparison."""

    def digest(self, tokens: TokenRange) -> Digest:
        """The digest of the target's rows in a range, in one snapshot."""

    def hashes(self, tokens: TokenRange) -> Mapping[bytes, bytes]:
        """Key and hash of each of the target's rows in a range."""


@dataclass(frozen=True, slots=True)
class RangeCheck:
    """The verdict on one range: the rows' figures, and the error if it could not be read."""

    tokens: TokenRange
    rows: Comparison
    error: str = ""


@dataclass(frozen=True, slots=True)
class Checker:
    """Compares ranges of one table; `refused` are the raw keys of its recorded rejects; `keeps`: rows that expire stay."""

    source: Source
    target: Digests
    encoder: RowEncoder
    refused: frozenset[tuple[bytes | None, ...]]
    keeps: bool = False

    def check(self, tokens: TokenRange) -> RangeCheck:
        """Compare one range. A range that cannot be read is unknown, never clean (invariant 5)."""
        try:
            read = None if self.encoder.expires else self._source_digest(tokens)
            held = self.target.digest(tokens)
            if read is not None and read == held:
                return RangeCheck(tokens, Comparison(source=read.count, target=held.count, same=read.count))
            return RangeCheck(tokens, self._by_key(tokens))
        except (SourceTimeout, SourceUnavailable) as error:
            return RangeCheck(tokens, Comparison(), str(error))

    def _source_digest(self, tokens: TokenRange) -> Digest | None:
        """None if a value needs a closer look."""
        total = EMPTY
        try:
            for page in self.source.pages(tokens):
                total += Digest.of(*self.encoder.digest_page(page.data, page.offset, page.count))
        except ENCODE_ERRORS:
            return None
        return total

    def _by_key(self, tokens: TokenRange) -> Comparison:
        hashes: dict[bytes, bytes] = {}
        held = dict(self.target.hashes(tokens))
        rejected = 0
        for page in self.source.pages(tokens):
            for row in self.encoder.check_page(page.data, page.offset, page.count):
                key = None if row.encoded is None else self.encoder.canonical_key(row.key)
                # A row that only Postgres refused (a constraint of the user's) is a recorded reject, and is not there.
                if key is None or (row.key in self.refused and key not in held):
                    rejected += 1
                else:
                    hashes[key] = row.hashed
        _drop_expiring(hashes, held)
        return compare(hashes, held, rejected, self.keeps)


def _drop_expiring(source: dict[bytes, bytes], target: dict[bytes, bytes]) -> None:
    """Leave out the rows that expire while they are read: one side lets such a row go a little earlier than the other."""
    now = int(time() * 1000)
    for mine, other in ((source, target), (target, source)):
        for key in [key for key, hashed in mine.items() if is_expiring(hashed, now)]:
            if key not in other or is_expiring(other[key], now):
                mine.pop(key)
                other.pop(key, None)


@dataclass(slots=True)
class TableVerdict:
    """The sum of a table's ranges; `strays` are target rows in no range, `shown` the first findings."""

    rows: Comparison = field(default_factory=Comparison)
    ranges: int = 0
    same_ranges: int = 0
    unknown_ranges: int = 0
    strays: int = 0
    errors: list[str] = field(default_factory=list)
    shown: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every range was read and both sides are equal."""
        return self.rows.clean and not self.unknown_ranges and not self.strays

    def add(self, check: RangeCheck) -> None:
        """Add one range's verdict."""
        self.ranges += 1
        self.rows.add(check.rows)
        self.same_ranges += check.rows.clean and not check.error
        if check.error:
            self.unknown_ranges += 1
            self.errors.append(check.error)
