"""From a page of CQL rows to rows of binary COPY: by functions generated for each table, or one by one with what is wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import md5

from sync.core import expiry
from sync.core.encode import encoder_for
from sync.core.encode.base import INT16, INT32, INT64, NULL, Encoder, Reject, join_cells, read_cells, with_length
from sync.core.encode.pages import PageDigest, PageEncoder, PageHashes, digest_function, encode_function, hash_function
from sync.core.encode.row_times import RowTimes
from sync.core.key_forms import key_encoder
from sync.core.rows import ColumnPair, TableMap

TOKEN_COLUMN, VERSION_COLUMN = "_sync_token", "_sync_version"
COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER = b"\xff\xff"
ENCODE_ERRORS = (Reject, struct.error, IndexError, OverflowError, ValueError)
"""What a bad cell raises in the fast path; the slow path then says which one, and why."""


@dataclass(frozen=True, slots=True)
class Issue:
    """A value that was not carried as it is: the column, why, and what was done: reject (the row), strip-nul or null."""

    column: str
    reason: str
    action: str


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """One row by the slow path: `encoded` is None where it is rejected; `key` are its raw CQL key cells.

    `expiry` is what follows its canonical bytes in a table whose rows expire; `hashed`: what a comparison keeps of it.
    """

    token: int
    key: tuple[bytes | None, ...]
    encoded: bytes | None
    issues: tuple[Issue, ...]
    expiry: bytes = b""
    moment: bytes = b""

    @property
    def canonical(self) -> bytes:
        """The row's canonical bytes: without the column count and the token before them, expiry and version after them."""
        return (self.encoded or b"")[2 + 12 : -12 - len(self.expiry)]

    @property
    def hashed(self) -> bytes:
        """What a comparison keeps of the row: the hash of its canonical bytes, and when it expires, if rows do."""
        return md5(self.canonical).digest() + self.moment


class RowEncoder:
    """Encodes the rows of one table. `columns` is what to select (after the token), `copy_columns` what to COPY into.

    `compared` are the pairs of a row's canonical bytes: all but its expiry, which the two sides round in their own ways.
    `times`: write times stand between a row's token and its columns.
    """

    def __init__(self, table: TableMap, version: int, times: RowTimes | None = None) -> None:
        found = [(pair, _encoder(pair)) for pair in table.pairs]
        keys, rest = found[: len(table.keys)], found[len(table.keys) :]
        # Columns that are copied as they are come side by side, so that one slice takes them all.
        rest.sort(key=lambda f: (f[0].source.kind == "expiry", not f[1].same, f[1].prefix is None))
        ordered = keys + rest
        self.pairs: tuple[ColumnPair, ...] = tuple(p for p, _ in ordered)
        self.encoders: tuple[Encoder, ...] = tuple(e for _, e in ordered)
        self.key_count = len(keys)
        self.expires = expiry.expires(table.source)
        self.compared = self.pairs[: len(self.pairs) - self.expires]
        self.hash_width = 16 + 8 * self.expires
        self.columns = tuple(p.source.name for p in self.pairs)
        self.copy_columns = (TOKEN_COLUMN, *(p.target.name for p in self.pairs), VERSION_COLUMN)
        self._count = INT16.pack(len(self.copy_columns))
        self._version = INT32.pack(8) + INT64.pack(version)
        self.times = times

    # Each is made when it is first called: that takes longer than a small table's rows, and no flow needs all three.
    @cached_property
    def encode_page(self) -> PageEncoder:
        """The rows of a page as COPY takes them."""
        return encode_function(self.encoders, self._count, self._version, self.times.skip if self.times else None)

    @cached_property
    def digest_page(self) -> PageDigest:
        """The digest of a page's rows."""
        return digest_function(self.encoders[: len(self.compared)])

    @cached_property
    def hash_page(self) -> PageHashes:
        """The hashes of a page's rows, with their keys and tokens."""
        times = self.times.count if self.times else 0
        return hash_function(self.encoders[: len(self.compared)], self.key_count, self.expires, times)

    def canonical_key(self, key: tuple[bytes | None, ...]) -> bytes:
        """The canonical bytes of a key from its raw CQL cells. Raises Reject."""
        cells = zip(self.encoders, key, strict=False)
        return b"".join([NULL if cell is None else with_length(encode_cell(encoder, cell)) for encoder, cell in cells])

    def check_page(self, data: bytes, at: int, count: int) -> Iterator[CheckedRow]:
        """The rows one by one, with what is wrong with each."""
        times = self.times.count if self.times else 0
        for _ in range(count):
            cells, at = read_cells(data, at, 1 + times + len(self.encoders))
            yield self._check(cells[:1] + cells[1 + times :])

    def check_cells(self, cells: Mapping[str, bytes | None]) -> tuple[dict[str, bytes | None], list[Issue]]:
        """The target cells by source column, and what is wrong with them; the row is refused where an issue says `reject`."""
        issues: list[Issue] = []
        made = {}
        for pair, encoder in zip(self.pairs, self.encoders, strict=True):
            cell = _check_cell(pair, encoder, cells.get(pair.source.name), issues)
            made[pair.source.name] = None if cell == NULL else cell[4:]
        return made, issues

    def canonical_row(self, cells: Mapping[str, bytes | None]) -> bytes | None:
        """The canonical bytes of a row from its cells by source column; None where the target cannot hold it."""
        made, issues = self.check_cells(cells)
        if any(issue.action == "reject" for issue in issues):
            return None
        return join_cells(made[pair.source.name] for pair in self.compared)

    def different_columns(self, left: bytes, right: bytes) -> list[str]:
        """The source columns whose cells differ between two rows' canonical bytes."""
        cells = (read_cells(row, 0, len(self.compared))[0] for row in (left, right))
        return [pair.source.name for pair, a, b in zip(self.compared, *cells, strict=True) if a != b]

    def lacks(self, left: bytes, right: bytes) -> bool:
        """Whether the left one of two rows differs only by nulls where the right one has values."""
        cells = (read_cells(row, 0, len(self.compared))[0] for row in (left, right))
        return all(a is None or a == b for a, b in zip(*cells, strict=True))

    def _check(self, cells: list[bytes | None]) -> CheckedRow:
        token = INT64.unpack(cells[0] or b"")[0]
        issues: list[Issue] = []
        parts = [self._count, INT32.pack(8), cells[0] or b""]
        for pair, encoder, cell in zip(self.pairs, self.encoders, cells[1:], strict=True):
            parts.append(_check_cell(pair, encoder, cell, issues))
        ends, moment = (parts[-1], expiry.packed(cells[-1])) if self.expires else (b"", b"")
        parts.append(self._version)
        rejected = any(i.action == "reject" for i in issues)
        key = tuple(cells[1 : 1 + self.key_count])
        return CheckedRow(token, key, None if rejected else b"".join(parts), tuple(issues), ends, moment)


def _encoder(pair: ColumnPair) -> Encoder:
    if pair.source.is_key:
        return key_encoder(pair.source, pair.target.type)
    return encoder_for(pair.source.type, pair.target.type)


def _check_cell(pair: ColumnPair, encoder: Encoder, cell: bytes | None, issues: list[Issue]) -> bytes:
    if cell is None or (not cell and encoder.empty_is_null):
        return _null(pair, issues)
    try:
        return with_length(encode_cell(encoder, cell))
    except Reject as reject:
        reason = str(reject)
    if pair.on_reject == "strip-nul":
        try:
            stripped = encode_cell(encoder_for(encoder.cql, encoder.pg, strip_nul=True), cell)
        except Reject as reject:
            reason = str(reject)  # it was not (only) the NUL
        else:
            issues.append(Issue(pair.source.name, reason, "strip-nul"))
            return with_length(stripped)
    to_null = pair.on_reject == "null" and not pair.target.not_null
    issues.append(Issue(pair.source.name, reason, "null" if to_null else "reject"))
    return NULL


def _null(pair: ColumnPair, issues: list[Issue]) -> bytes:
    if pair.target.not_null:
        issues.append(Issue(pair.source.name, f"null, which {pair.target.name} does not accept", "reject"))
    return NULL


def encode_cell(encoder: Encoder, cell: bytes) -> bytes:
    """The encoded cell. Raises Reject for whatever is wrong with it."""
    try:
        return encoder.encode(cell)
    except Reject:
        raise
    except (struct.error, IndexError, OverflowError, ValueError):
        raise Reject(f"{len(cell)} bytes that are not a {encoder.cql}") from None
