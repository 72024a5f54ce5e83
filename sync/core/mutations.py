"""A write as it was asked for, kept in its intent so that it can be sent again with its own timestamp (rule 15b)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sync.core.ring import UNKNOWN_TOKEN

Kind = Literal["put", "update", "delete", "recheck", "delete_partition", "recheck_partition"]
InsertOutcome = Literal["written", "exists", "refused", "unsure"]
"""What became of a row that was to be written only if there is none."""


@dataclass(frozen=True, slots=True)
class Key:
    """A row's key: its raw CQL cells in key order, its canonical bytes, its token."""

    table: str
    cells: tuple[bytes, ...]
    canonical: bytes
    token: int


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What is recorded of a key: its canonical bytes, the source's own cells (packed), its token; None: not recorded."""

    canonical: bytes
    source_key: bytes | None = None
    token: int | None = None

    @classmethod
    def on_record(cls, canonical: bytes, source_key: bytes | None, mutation: bytes | None, token: int) -> KnownKey:
        """The key as an intent records it; an older intent has the source's own key only in its mutation, if at all.

        One that SQL has left knows the key as Postgres has it, and perhaps no token.
        """
        if source_key is None and mutation is not None:
            source_key = pack_key(unpack_cells(bytes(mutation))[0])
        known = None if token == UNKNOWN_TOKEN else token
        return cls(bytes(canonical), None if source_key is None else bytes(source_key), known)


@dataclass(frozen=True, slots=True)
class Mutation:
    """`put` and `update` carry the raw CQL cells to write (a put: every column), `delete` only the key.

    `recheck` is a write that somebody else's code makes: only its key is known, and it cannot be sent again (rule 17);
    `recheck_partition` is one of which only the partition is known (rule 47).
    `delete_partition` deletes rows of one partition: its key has the first columns alone, and its cells are the ends of a
    range of the next column, by operator (`>=`, `<`).
    """

    kind: Kind
    key: Key
    cells: Mapping[str, bytes | None]

    @property
    def bytes(self) -> int:
        """The bytes of its key and its values."""
        key, cells = self.key, self.cells
        return len(key.canonical) + sum(map(len, key.cells)) + sum(len(cell or b"") for cell in cells.values())


@dataclass(frozen=True, slots=True)
class PendingDelete:
    """A delete of a partition that is left to a worker, with its intent's number and its version.

    `is_acknowledged`: the primary has done it, while the source is primary; only the target's half is missing.
    """

    mutation: Mutation
    intent: int
    version: int
    is_acknowledged: bool


@dataclass(frozen=True, slots=True)
class PendingRecheck:
    """The recheck of a partition that a worker has leased: `key` has the partition key's columns alone.

    `intents`: all that stand for it; `version`: the greatest time that their events tell; `told_by`: who announced it;
    `states`: of each intent, as it was picked.
    """

    key: Key
    intents: tuple[int, ...]
    version: int
    worker: str
    told_by: str
    states: tuple[str, ...]


def pack_key(cells: Sequence[bytes | None]) -> bytes:
    """A key's raw cells as the state schema's columns `source_key` hold them."""
    return b"".join([_cell(c or b"") for c in cells])


def unpack_key(data: bytes) -> tuple[bytes, ...]:
    """The cells that `pack_key` packed; also those of canonical bytes."""
    cells, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        cells.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return tuple(cells)


def pack_cells(key: tuple[bytes, ...], cells: Mapping[str, bytes | None]) -> bytes:
    """Key cells and named cells as one string of bytes."""
    parts = [len(key).to_bytes(2, "big"), *(_cell(c) for c in key)]
    for name, cell in cells.items():
        parts += [_cell(name.encode()), _cell(cell)]
    return b"".join(parts)


def unpack_cells(data: bytes) -> tuple[tuple[bytes, ...], dict[str, bytes | None]]:
    """What `pack_cells` packed."""
    found: list[bytes | None] = []
    at = 2
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        found.append(data[at : at + length] if length >= 0 else None)
        at += max(length, 0)
    count = int.from_bytes(data[:2], "big")
    key, named = found[:count], found[count:]
    return tuple(c or b"" for c in key), {(n or b"").decode(): c for n, c in zip(named[::2], named[1::2], strict=True)}


def _cell(cell: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if cell is None else len(cell).to_bytes(4, "big") + cell
