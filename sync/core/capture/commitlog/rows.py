"""The rows of an update: which clustering keys, with which greatest timestamp. Values are passed over.

A mutation is at most some megabytes, in memory as a whole; what lies outside of it ends the reading with IndexError. Written
for speed: a node makes tens of thousands of mutations a second.
"""

from __future__ import annotations

from sync.core.capture.commitlog.tables import COMPLEX, UNKNOWN, LogTable

LEAST = -(1 << 63)
"""A timestamp below all others."""
_GREATEST = (1 << 63) - 1
_EPOCH = 1_442_880_000_000_000
"""From which the least timestamp of an update is counted, in µs since 1970."""
_END, _MARKER, _TIMESTAMP, _TTL, _DELETION, _ALL_COLUMNS, _COMPLEX_DELETION, _EXTENDED = (1 << bit for bit in range(8))
_EMPTY, _HAS_PARTITION_DELETION, _HAS_STATIC, _HAS_ESTIMATE = 1, 4, 8, 16
_DELETED, _EXPIRING, _NO_VALUE, _ROW_TIMESTAMP, _ROW_TTL = 1, 2, 4, 8, 16
_BOUNDARIES = (2, 5)
_MANY_COLUMNS = 64
_EXTRA = bytes(next((bit for bit in range(8) if not byte << bit & 0x80), 8) for byte in range(256))

Rows = list[tuple[tuple[bytes, ...], int]]
"""Clustering keys, with the greatest timestamp of each row (LEAST: it has none)."""


class NotUnderstood(ValueError):
    """The rows of an update cannot be read with what is known of its table; the text says why."""


def vint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned integer of Cassandra's variable length, and the place behind it."""
    first = data[at]
    if first < 0x80:
        return first, at + 1
    extra = _EXTRA[first]
    end = at + 1 + extra
    data[end - 1]  # or IndexError
    return (first & 0xFF >> extra) << 8 * extra | int.from_bytes(data[at + 1 : end], "big"), end


def _time(base: int, data: bytes, at: int) -> tuple[int, int]:
    """A timestamp, stored as its distance from the update's least one, modulo 2⁶⁴."""
    distance, at = vint(data, at)
    time = base + distance
    return (time if time <= _GREATEST else _signed(time)), at


def _signed(number: int) -> int:
    number &= (1 << 64) - 1
    return number if number <= _GREATEST else number - (1 << 64)


def read_rows(data: bytes, at: int, table: LogTable) -> tuple[Rows, int | None, int]:
    """What follows an update's partition key: its rows; the greatest timestamp of what changes more than rows (the
    partition's or a range's deletion, static columns), None if nothing does; the place behind it.

    Raises NotUnderstood, or IndexError where the bytes end too early.
    """
    flags = data[at]
    at += 1
    if flags & _EMPTY:
        return [], LEAST, at
    base, at = vint(data, at)
    base = _signed(base + _EPOCH)
    _, at = vint(data, at)
    _, at = vint(data, at)
    statics: tuple[int, ...] = ()
    if flags & _HAS_STATIC:
        statics, at = _columns(data, at, table)
    regulars, at = _columns(data, at, table)
    whole: int | None = None
    if flags & _HAS_PARTITION_DELETION:
        whole, at = _time(base, data, at)
        _, at = vint(data, at)
    if flags & _HAS_STATIC:
        time, at = _row(data, at + 2, data[at], statics, base)
        whole = time if whole is None else max(whole, time)
    if flags & _HAS_ESTIMATE:
        _, at = vint(data, at)
    return _unfiltered(data, at, table, regulars, base, whole)


def _unfiltered(
    data: bytes, at: int, table: LogTable, columns: tuple[int, ...], base: int, whole: int | None
) -> tuple[Rows, int | None, int]:
    rows: Rows = []
    clustering = table.clustering
    while True:
        flags = data[at]
        at += 1
        if flags & _END:
            return rows, whole, at
        if flags & _EXTENDED:
            at += 1
        if flags & _MARKER:
            time, at = _range_end(data, at, clustering, base)
            whole = time if whole is None else max(whole, time)
            continue
        cells, at = _clustering(data, at, clustering) if clustering else ((), at)
        time, at = _row(data, at, flags, columns, base)
        if cells is None:
            whole = time if whole is None else max(whole, time)
        else:
            rows.append((cells, time))


def _columns(data: bytes, at: int, table: LogTable) -> tuple[tuple[int, ...], int]:
    """The lengths of the columns that an update lists by their names."""
    block, lengths = table.last
    if data.startswith(block, at):  # a list tells its own end: none is the beginning of another
        return lengths, at + len(block)
    begin = at
    count, at = vint(data, at)
    names = []
    for _ in range(count):
        size, at = vint(data, at)
        names.append(data[at : at + size])
        at += size
    try:
        lengths = tuple(map(table.columns.__getitem__, names))
    except KeyError:
        raise NotUnderstood(f"a column that {table.keyspace}.{table.name} does not have") from None
    table.last = (data[begin:at], lengths)
    return lengths, at


def _clustering(data: bytes, at: int, lengths: tuple[int, ...]) -> tuple[tuple[bytes, ...] | None, int]:
    """The values of a clustering key or of a bound's part of it; None if one is null, which no row that CQL shows has."""
    cells: list[bytes] = []
    absent = False
    for number, length in enumerate(lengths):
        if not number & 31:
            header, at = vint(data, at)
        kind = header >> 2 * (number & 31) & 3 if header else 0
        if kind:
            absent = absent or kind > 1
            cells.append(b"")
            continue
        if length < 0:
            if length == UNKNOWN:
                raise NotUnderstood("a clustering column of a type that is not known")
            length, at = vint(data, at)
        cells.append(data[at : at + length])
        at += length
    return (None if absent else tuple(cells)), at


def _range_end(data: bytes, at: int, clustering: tuple[int, ...], base: int) -> tuple[int, int]:
    kind, size = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
    at += 3
    if size > len(clustering):
        raise NotUnderstood("a range over more columns than the clustering key has")
    _, at = _clustering(data, at, clustering[:size])
    time, at = _time(base, data, at)
    _, at = vint(data, at)
    if kind in _BOUNDARIES:
        second, at = _time(base, data, at)
        _, at = vint(data, at)
        time = max(time, second)
    return time, at


def _row(data: bytes, at: int, flags: int, columns: tuple[int, ...], base: int) -> tuple[int, int]:
    """The greatest timestamp of a row behind its clustering key, and the place behind the row."""
    greatest = LEAST
    if flags & _TIMESTAMP:
        greatest, at = _time(base, data, at)
        if flags & _TTL:
            _, at = vint(data, at)
            _, at = vint(data, at)
    if flags & _DELETION:
        time, at = _time(base, data, at)
        greatest = max(greatest, time)
        _, at = vint(data, at)
    if not flags & _ALL_COLUMNS:
        columns, at = _subset(data, at, columns)
    for length in columns:
        if length == COMPLEX:
            time, at = _complex(data, at, flags, base)
        else:
            time, at = _cell(data, at, length, base)
        if time > greatest:
            greatest = time
    return greatest, at


def _subset(data: bytes, at: int, columns: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Those of an update's columns that a row has."""
    absent, at = vint(data, at)
    count = len(columns)
    if not absent:
        return columns, at
    if count >= _MANY_COLUMNS:
        return _large_subset(data, at, columns, absent)
    if absent >> count:
        raise NotUnderstood("a row lacks columns that its update does not have")
    return tuple(length for number, length in enumerate(columns) if not absent >> number & 1), at


def _large_subset(data: bytes, at: int, columns: tuple[int, ...], absent: int) -> tuple[tuple[int, ...], int]:
    """Of many columns the fewer are listed: those that are there, or those that are not."""
    there = len(columns) - absent
    if there < 0:
        raise NotUnderstood("a row lacks more columns than its update has")
    listed = []
    few = there < len(columns) // 2
    for _ in range(there if few else absent):
        number, at = vint(data, at)
        listed.append(number)
    if few:
        return tuple(columns[number] for number in listed), at
    without = set(listed)
    return tuple(length for number, length in enumerate(columns) if number not in without), at


def _cell(data: bytes, at: int, length: int, base: int) -> tuple[int, int]:
    """A simple column's cell; LEAST if it has its row's timestamp."""
    flags = data[at]
    at += 1
    time = LEAST
    if not flags & _ROW_TIMESTAMP:
        if data[at]:
            time, at = _time(base, data, at)
        else:
            time = base
            at += 1
    if flags & (_DELETED | _EXPIRING) and not flags & _ROW_TTL:
        _, at = vint(data, at)
        if flags & _EXPIRING:
            _, at = vint(data, at)
    if not flags & _NO_VALUE:
        if length < 0:
            if length == UNKNOWN:
                raise NotUnderstood("a column of a type that is not known")
            length = data[at]
            if length < 0x80:
                at += 1
            else:
                length, at = vint(data, at)
        at += length
    return time, at


def _complex(data: bytes, at: int, row_flags: int, base: int) -> tuple[int, int]:
    """The cells of a collection or a UDT that is not frozen: each with its path, and a length before each value."""
    greatest = LEAST
    if row_flags & _COMPLEX_DELETION:
        greatest, at = _time(base, data, at)
        _, at = vint(data, at)
    count, at = vint(data, at)
    for _ in range(count):
        flags = data[at]
        at += 1
        if not flags & _ROW_TIMESTAMP:
            time, at = _time(base, data, at)
            if time > greatest:
                greatest = time
        if flags & (_DELETED | _EXPIRING) and not flags & _ROW_TTL:
            _, at = vint(data, at)
            if flags & _EXPIRING:
                _, at = vint(data, at)
        size, at = vint(data, at)
        at += size
        if not flags & _NO_VALUE:
            size, at = vint(data, at)
            at += size
    return greatest, at
