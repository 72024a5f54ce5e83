"""A mutation: updates of one partition key in one or several tables of a keyspace."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from sync.core.capture.commitlog.descriptor import Damaged
from sync.core.capture.commitlog.rows import LEAST, NotUnderstood, Rows, read_rows, vint
from sync.core.capture.commitlog.tables import LogTable, Tables

_ID = 16


@dataclass(frozen=True, slots=True)
class Update:
    """What a mutation does to a partition of a table. `whole`: the greatest timestamp of what changes more than `rows`; None
    if nothing does. It is LEAST where the update was not understood."""

    table: LogTable
    key: bytes
    rows: Rows
    whole: int | None


@dataclass(frozen=True, slots=True)
class Mutation:
    """The updates of watched tables. `unknown`: the id of a table that is not known, after which nothing can be read.
    `strange`: an update was not understood. Both may come from a schema that is out of date; `updates` hold all that can have
    changed."""

    updates: list[Update]
    unknown: bytes | None = None
    strange: bool = False


_NOTHING = Mutation([])


def read_mutation(data: bytes, tables: Tables, watched: Set[bytes]) -> Mutation:
    """What a mutation does to the tables whose ids are in `watched`. What cannot be read changes the whole partition.

    Raises Damaged if not even the partition key can be read.
    """
    if data[0] == 1 and data[1 : 1 + _ID] not in watched:  # most mutations of a node with other tables
        return _NOTHING if data[1 : 1 + _ID] in tables else Mutation([], data[1 : 1 + _ID])
    try:
        count, at = vint(data, 0)
        return _updates(data, at, count, tables, watched)
    except IndexError:
        raise Damaged("a mutation ends before its partition key") from None


def _updates(data: bytes, at: int, count: int, tables: Tables, watched: Set[bytes]) -> Mutation:
    found: list[Update] = []
    while count:
        begin = at
        identity = data[at : at + _ID]
        size, at = vint(data, at + _ID)
        key = data[at : at + size]
        if len(key) < size:
            raise IndexError
        at += size
        table = tables.get(identity)
        if table is None:
            return Mutation(found + _rest(data, begin, key, tables, watched), identity)
        try:
            rows, whole, at = read_rows(data, at, table)
            count -= 1
            if at > len(data) or (not count and at != len(data)):
                raise NotUnderstood("an update does not end where its mutation does")
        except (NotUnderstood, IndexError):
            # The updates before this one were read as well, but not by what proves them: the end. They count as unread, too.
            return Mutation(_rest(data, 0, key, tables, watched), strange=True)
        if identity in watched:
            found.append(Update(table, key, rows, whole))
    return Mutation(found)


def _rest(data: bytes, begin: int, key: bytes, tables: Tables, watched: Set[bytes]) -> list[Update]:
    """The partition in each watched table whose id is somewhere in the bytes: all updates of a mutation have one key."""
    return [Update(tables[identity], key, [], LEAST) for identity in watched if data.find(identity, begin) >= 0]
