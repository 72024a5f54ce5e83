"""What every feed makes of its events: which keys changed, and when. No value is taken from an event (decision 0031)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChangedKey:
    """A key that may have changed, or a whole partition.

    `table`: the source table's name, as in the catalogue. `partition`: the raw CQL bytes of each partition key column, in
    the key's order. `clustering`: those of each clustering column, or None where the event does not tell all of them (the
    delete of a partition or a range, static columns, something that the reader does not understand): the whole partition is
    rechecked. `timestamp`: the greatest write time that the event tells, in µs since 1970; None if it tells none.
    `happened_at`: when it happened at the source, in seconds since 1970 by the feed's host: the key is not read before the
    write timeout has passed since then.
    """

    table: str
    partition: tuple[bytes, ...]
    clustering: tuple[bytes, ...] | None
    timestamp: int | None
    happened_at: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that are lost: of one table, or of all (`table` None). `until`: the latest moment, in seconds since 1970, at
    which what is lost can have been written. `why` names the cause, in one line that is shown to the user."""

    table: str | None
    until: float
    why: str


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Events up to a place in a feed: recorded in one transaction with that place, or not at all.

    `position`: the feed's own mark of the place behind the last event, opaque to everybody else. `told_until`: everything
    that the source told before this moment (seconds since 1970, the feed's host's clock) is in this batch or an earlier one;
    it rises while the source is silent, too.
    """

    changes: tuple[ChangedKey, ...]
    gaps: tuple[Gap, ...]
    position: str
    told_until: float
