"""What the flows need of the outside, named by role. The adapters fulfil it; `wiring` brings both together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from sync.core.mutations import Key, Mutation
from sync.core.ring import TokenRange
from sync.core.rows import Page
from sync.core.throttle import Throttled


@dataclass(frozen=True, slots=True)
class Lease:
    """A range that this worker holds: `todo` is what is left of it, `rate` this worker's share of the rows per second.

    `position`: the source's mark of the place in `todo` behind what is loaded, in a partition, maybe; `throttled`: to note.
    """

    range_id: int
    run_id: int
    table: str
    whole: TokenRange
    todo: TokenRange | None
    floor: int
    attempts: int
    rate: float | None
    owner: str
    position: bytes | None = None
    throttled: Throttled | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Pages that are loaded in one transaction; `last`: it ends the range.

    `done_to`: then every row up to this token is loaded; `position`: and all before this place, maybe within a partition.
    """

    pages: tuple[Page, ...]
    done_to: int
    last: bool
    position: bytes | None = None

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

    def reclaim(self, runs: list[int], owner: str) -> None:
        """Free what this very owner still holds, because it lost its connection: that is no attempt, and no death."""

    def renew(self, lease: Lease) -> Lease | None:
        """Prolong the lease, with its present share of the rate; None where the run is to stop. Raises LeaseLost."""

    def release_range(self, lease: Lease) -> None:
        """Release a range in the middle; its checkpoint stays."""

    def discard_position(self, lease: Lease) -> None:
        """Release a range whose place within a partition is not known to the source any more: it goes on at the start."""

    def wait(self, lease: Lease, error: str) -> None:
        """Release a range because a server is temporarily unavailable, and say so; that is no attempt."""

    def fail(self, lease: Lease, error: str) -> None:
        """Record a failed attempt; after the last one the range is failed."""

    def split(self, lease: Lease, middle: int, error: str) -> None:
        """Make two ranges of what is left, both pending."""


class Source(Protocol):
    """Reads a table by token range."""

    def pages(self, tokens: TokenRange, page_rows: int | None = None, position: bytes | None = None) -> Iterator[Page]:
        """The pages, in token order, none of more rows, from `position` on. Raises SourceTimeout and SourceUnavailable."""


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
    may_create_temporary: bool
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
    throttled: Throttled | None = None


MAX_LOCKS = 64
"""A transaction holds the locks of so many keys, and of their partitions: Postgres has some 6,400 for all sessions."""
CHANGES_AT_ONCE = 5000  # keys that SQL has changed: so many become rechecks in one statement

Primary = Literal["astra", "postgres"]
EpochState = Literal["open", "closing", "closed"]
SwitchKind = Literal["cutover", "rollback"]


@dataclass(frozen=True, slots=True)
class Epoch:
    """A numbered period with one primary; `closing_seconds` is for how much longer it may be closing."""

    epoch: int
    primary: Primary
    state: EpochState
    floor: int
    since: datetime
    closing_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NotReady:
    """A writer that stands in the way of a switch, and how many seconds ago it was heard of."""

    writer: str
    why: str
    heartbeat_age: float


@dataclass(frozen=True, slots=True)
class Intent:
    """An intent that this process opened."""

    id: int
    version: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Replay:
    """A write that is sent again, as nobody knows whether it arrived: its number, and seconds since the last attempt."""

    mutation: Mutation
    version: int
    attempt: int
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class PendingKey:
    """What a reconcile begins with: the intents it may remove, those it must replay, and what the target knew then.

    `deletes`: the last write of the whole row may be a delete; `looks`: none is a write; `put`: cells of the newest put.
    """

    intents: tuple[int, ...]
    replay: tuple[Replay, ...]
    newest: int
    row_version: int | None
    tombstone: int | None
    deletes: bool = True
    looks: bool = False
    put: Mapping[str, bytes | None] | None = None


@dataclass(frozen=True, slots=True)
class PendingResend:
    """What a reconcile towards the source begins with: the intents it may remove, the version, the row's canonical bytes."""

    intents: tuple[int, ...]
    version: int
    row: bytes | None


Outcome = Literal["written", "refused", "unsure"]


@dataclass(frozen=True, slots=True)
class Read:
    """A row as it was read: None where there is none; `version` is the newest timestamp seen, 0 where there is none."""

    cells: dict[str, bytes | None] | None
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A write that was made without an intent, at this version: the primary acknowledged it, or it is not known."""

    mutation: Mutation
    version: int
    state: Literal["finished", "unsure"]


class TableJournal(Protocol):
    """Intents and guarded writes of one table (rules 1 to 15). Every method may raise TargetUnavailable."""

    @property
    def table(self) -> str: ...
    def open(self, mutation: Mutation, above: int = 0) -> Intent: ...
    def record(self, written: Sequence[Written]) -> None: ...
    def write(self, mutation: Mutation, intent: Intent) -> bool: ...
    def mark(self, intents: Sequence[Intent], state: Literal["finished", "unsure"], error: str) -> set[int]: ...
    def withdraw(self, *intents: Intent) -> bool: ...
    def remove(self, intents: Sequence[Intent]) -> None: ...


class TableReverse(Protocol):
    """Writes and intents of one table where Postgres is primary. Every method may raise TargetUnavailable."""

    @property
    def table(self) -> str: ...
    def write(self, mutation: Mutation) -> Intent | None: ...
    def insert(self, put: Mutation) -> Intent | None: ...
    def increment(self, key: Key, amounts: Mapping[str, bytes]) -> Intent: ...
    def change(self, key: Key, make: Callable[[bytes], Mutation]) -> tuple[Mutation, Intent] | None: ...
    def announce(self, key: Key) -> Intent: ...


class TableResendSteps(Protocol):
    """The two transactions of a reconcile towards the source. Both may raise TargetUnavailable."""

    def pick(self, keys: Sequence[Key], /, *, quickly: bool = False) -> dict[Key, PendingResend]: ...
    def remove(self, intents: Sequence[int]) -> None: ...


class TableReconcileSteps(Protocol):
    """The two transactions of a reconcile, for many keys at once. All may raise TargetUnavailable.

    TargetBusy or TargetRefused are for one key's sake; `quickly`: a lock that is held is not waited for.
    """

    def pick(self, keys: Sequence[Key], /, *, quickly: bool = False) -> dict[Key, PendingKey]: ...
    def apply(self, settled: Sequence[tuple[Key, PendingKey, Read]], /, *, quickly: bool = False) -> list[Key]: ...
    def apply_locked(self, key: Key, look: Callable[[Key, PendingKey], Read]) -> None: ...


class PrimaryRows(Protocol):
    """Single rows of one table in the source."""

    def write(self, mutation: Mutation, version: int) -> tuple[Outcome, str]: ...
    def write_many(self, writes: Sequence[tuple[Mutation, int]]) -> list[tuple[Outcome, str, float]]: ...
    def write_again(self, replay: Replay) -> tuple[Outcome, str]: ...
    def read(self, key: Key) -> Read: ...
    def read_many(self, keys: Sequence[Key]) -> list[Read]: ...


class SecondaryRows(Protocol):
    """The source as the side that follows."""

    def write(self, mutation: Mutation, version: int) -> tuple[Outcome, str]: ...
    def write_many(self, writes: Sequence[tuple[Mutation, int]]) -> list[tuple[Outcome, str, float]]: ...
    def send(self, mutation: Mutation, version: int, done: Callable[[Outcome, str], None]) -> bool: ...


class AnyRows(PrimaryRows, SecondaryRows, Protocol):
    """Rows of the source, whichever side it is."""

    def increment(self, key: Key, amounts: Mapping[str, int]) -> tuple[Outcome, str]: ...


class KeyReconciler(Protocol):
    """Makes the side that follows equal for some keys; how many. `failed` hears of those that could not be."""

    def keys(self, keys: Iterable[Key], failed: Callable[[Key, str], None]) -> int: ...
