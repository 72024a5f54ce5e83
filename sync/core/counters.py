"""Counters: what may be added to them, and how far those of two rows are apart (rule “counters”)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sync.core.encode.base import INT64
from sync.core.rows import SourceTable, has_counters
from sync.errors import WriteRefused

SEND_WITHIN_SECONDS = 10
"""An increment that makes the source equal is sent at most so long after its claim, or not at all."""
_HALF, _WHOLE = 2**63, 2**64


@dataclass(frozen=True, slots=True)
class CounterClaim:
    """A key's intents, claimed for one attempt to make the source's counters equal to Postgres's.

    `attempts`: each intent with the number of the attempt; `row`: Postgres's canonical bytes; `version`: that of the newest
    intent; `unsure`: an earlier attempt was not acknowledged; `waits`: one may still arrive, and nothing was claimed.
    """

    attempts: tuple[tuple[int, int], ...]
    row: bytes | None
    version: int
    unsure: bool = False
    waits: bool = False


def refuse_counters(table: SourceTable) -> None:
    """Raise WriteRefused for a table of counters, which can only be incremented."""
    if has_counters(table):
        raise WriteRefused(
            f"{table.name} is a table of counters, which Cassandra cannot set, and cannot reliably delete: use "
            f'increment("{table.name}", key, {{column: amount}})'
        )


def checked_amounts(table: SourceTable, amounts: Mapping[str, int]) -> dict[str, int]:
    """The amounts. Raises WriteRefused if one is no bigint, or is not for a counter of this table."""
    counters = {c.name for c in table.columns if c.type.name == "counter" and c.kind != "static"}
    for name in amounts:
        if name not in counters:
            there = ", ".join(sorted(counters)) or "the table has none"
            raise WriteRefused(f"{table.name}: {name} is not a counter; counters: {there}")
    return bigints(table.name, amounts)


def bigints(table: str, amounts: Mapping[str, int]) -> dict[str, int]:
    """The amounts, if each is an integer of 64 bits, and there is one. Raises WriteRefused."""
    if not amounts:
        raise WriteRefused(f"{table}: an increment without columns")
    for name, amount in amounts.items():
        if not isinstance(amount, int) or isinstance(amount, bool):
            raise WriteRefused(f"{table}: {name} is incremented by an int, not by this {type(amount).__name__}")
        if not -_HALF <= amount < _HALF:
            raise WriteRefused(f"{table}: {name}: {amount} is beyond 64 bits")
    return dict(amounts)


def counter_cells(amounts: Mapping[str, int]) -> dict[str, bytes]:
    """The amounts as raw CQL cells."""
    return {name: INT64.pack(amount) for name, amount in amounts.items()}


def to_add(held: Mapping[str, bytes | None], wanted: Mapping[str, bytes | None]) -> dict[str, int]:
    """What to add to a row's counters, as raw cells, so that they become the wanted ones; empty where they are equal.

    A counter that is null, and is wanted to be 0, is incremented by 0. Sums wrap at 64 bits, as Cassandra's do. Raises
    ValueError for a number that is wanted to be null.
    """
    added = {}
    for name, cell in wanted.items():
        have = held.get(name)
        if cell is None and have is not None:
            raise ValueError(f"{name} is {INT64.unpack(have)[0]} in the source and null in Postgres")
        if cell is not None and cell != have:
            difference = INT64.unpack(cell)[0] - (INT64.unpack(have)[0] if have else 0)
            added[name] = (difference + _HALF) % _WHOLE - _HALF
    return added
