"""What the flows need of the outside, named by role. The adapters fulfil it; `wiring` brings both together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from sync.core.ring import TokenRange
from sync.core.rows import Page


@dataclass(frozen=True, slots=True)
class Lease:
    """A range that this worker holds: `todo` is what is left of it, `rate` this worker's share of the rows per second."""

    range_id: int
    run_id: int
    table: str
    whole: TokenRange
    todo: TokenRange | None
    floor: int
    attempts: int
    rate: float | None
    owner: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Pages that are loaded in one transaction.

    `done_to`: with it, every row up to this token is loaded; `last`: it ends the range.
    """

    pages: tuple[Page, ...]
    done_to: int
    last: bool

    @property
    def rows(self) -> int:
        return sum(p.count for p in self.pages)

    @property
    def bytes(self) -> int:
        return sum(p.size for p in self.pages)


class Ranges(Protocol):
    """The ledger of ranges, in the target's database."""

    def claim(self, run_ids: list[int], owner: str) -> Lease | None:
        """The next range to copy, leased to this owner; None where there is none."""

    def give_back(self, lease: Lease) -> None:
        """Let go of a range in the middle; its checkpoint stays."""

    def fail(self, lease: Lease, error: str) -> None:
        """Record a failed attempt; after the last one the range is failed."""

    def split(self, lease: Lease, middle: int, error: str) -> None:
        """Make two ranges of what is left, both pending."""


class Source(Protocol):
    """Reads a table by token range."""

    def pages(self, tokens: TokenRange) -> Iterator[Page]:
        """The pages of a range, in token order. Raises SourceTimeout and SourceUnavailable."""


class Target(Protocol):
    """Takes a table's rows."""

    def load(self, lease: Lease, batch: Batch) -> bool:
        """Load a batch and its checkpoint in one transaction; whether to go on. Raises LeaseLost and TargetUnavailable."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server's version and what this role may do there."""

    version: str
    user: str
    encoding: str
    may_create_schema: bool
    may_create_tables: bool
    vector_version: str | None
    vector_available: str | None
    superuser: bool
    vector_trusted: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the newest or running backfill of one table stands."""

    table: str
    total: int
    done: int
    running: int
    failed: int
    rows_read: int
    rows_written: int
    rows_stale: int
    rows_rejected: int
    bytes_read: int
    abandoned: int
    error: str | None
    seconds: float
