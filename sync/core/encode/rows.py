"""From a page of CQL rows to rows of binary COPY: a function generated for each table, and a slow one that explains errors.

A source row is the token, then the columns in the order of `RowEncoder.pairs`; a target row is an int16 count of columns, the
token, the same columns, and the version. Runs of cells whose bytes do not change are copied in one slice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5

from sync.core import expiry
from sync.core.encode import encoder_for
from sync.core.encode.base import INT16, INT32, INT64, NULL, Encoder, Reject, join_cells, read_cells, with_length
from sync.core.key_forms import key_encoder
from sync.core.rows import ColumnPair, TableMap

TOKEN_COLUMN, VERSION_COLUMN = "_sync_token", "_sync_version"
COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER = b"\xff\xff"
ENCODE_ERRORS = (Reject, struct.error, IndexError, OverflowError, ValueError)
"""What a bad cell raises in the fast path; the slow path then says which one, and why."""

PageEncoder = Callable[[bytes, int, int], list[bytes]]
"""(data, offset, rows) → pieces of COPY data."""
PageDigest = Callable[[bytes, int, int], tuple[int, int, int]]
"""(data, offset, rows) → count of rows, sums of the upper and of the lower halves of their hashes."""
PageHashes = Callable[[bytes, int, int], tuple[list[bytes], list[bytes], list[bytes], int]]
"""(data, offset, rows) → the rows' hashes, raw keys with their cells' lengths, and tokens; and where the last row ends."""


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
    """

    def __init__(self, table: TableMap, version: int) -> None:
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
        compared = self.encoders[: len(self.compared)]
        self.digest_page = _generate_digest(compared)
        self.hash_page = _generate_hashes(compared, self.key_count, self.expires)
        self.encode_page = _generate(self.encoders, self._count, self._version)

    def canonical_key(self, key: tuple[bytes | None, ...]) -> bytes:
        """The canonical bytes of a key from its raw CQL cells. Raises Reject."""
        cells = zip(self.encoders, key, strict=False)
        return b"".join([NULL if cell is None else with_length(encode_cell(encoder, cell)) for encoder, cell in cells])

    def check_page(self, data: bytes, at: int, count: int) -> Iterator[CheckedRow]:
        """The rows one by one, with what is wrong with each."""
        for _ in range(count):
            cells, at = read_cells(data, at, 1 + len(self.encoders))
            yield self._check(cells)

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


def _generate(encoders: tuple[Encoder, ...], count: bytes, version: bytes) -> PageEncoder:
    """The fast path.

    It is written out for the table's columns because a loop over columns costs more than the work itself. It checks
    nothing that Postgres's input functions check.
    """
    names: dict[str, object] = {"COUNT": count, "VERSION": version}
    before = [
        "def make(data, at, rows):",
        " out = []; add = out.append",
        " for _ in range(rows):",
        "  start = at",
        "  add(COUNT)",
    ]
    made = _compiled([*before, *_skip(8), *_columns(encoders, names), "  add(VERSION)", " return out"], names)
    encode: PageEncoder = made  # type: ignore[assignment]
    return encode


def _generate_digest(encoders: tuple[Encoder, ...]) -> PageDigest:
    """The digest of a page: the same walk, with the canonical bytes of each row hashed instead of sent."""
    names: dict[str, object] = {"md5": md5, "halves": struct.Struct(">QQ").unpack}
    before = ["def make(data, at, rows):", " high = low = 0", " for _ in range(rows):", *_skip(8)]
    row = ["  start = at; out = []; add = out.append", *_columns(encoders, names)]
    after = ["  a, b = halves(md5(b''.join(out)).digest())", "  high += a; low += b", " return rows, high, low"]
    digest: PageDigest = _compiled([*before, *row, *after], names)  # type: ignore[assignment]
    return digest


def _generate_hashes(encoders: tuple[Encoder, ...], keys: int, expires: bool) -> PageHashes:
    """The hashes of a page's rows, each with its key as it is in the page: what a comparison keeps of a row."""
    names: dict[str, object] = {"md5": md5, "packed": expiry.packed}
    before = [
        "def make(data, at, rows):",
        " hashes = []; keep = hashes.append; keys = []; note = keys.append; tokens = []; place = tokens.append",
        " for _ in range(rows):",
        *_skip(8),
        "  place(data[at - 8:at])",
        "  start = key = at; out = []; add = out.append",
    ]
    row = _columns(encoders, names, {keys - 1: "  note(data[key:at])"})
    if expires:
        moment = "packed(data[at - n:at] if n >= 0 else None)"
        ends = ["  n = unpack(data, at)[0]; at += 4 + max(n, 0)", f"  keep(md5(b''.join(out)).digest() + {moment})"]
    else:
        ends = ["  keep(md5(b''.join(out)).digest())"]
    after = [*ends, " return hashes, keys, tokens, at"]
    hashes: PageHashes = _compiled([*before, *row, *after], names)  # type: ignore[assignment]
    return hashes


def _columns(encoders: tuple[Encoder, ...], names: dict[str, object], behind: Mapping[int, str] | None = None) -> list[str]:
    """The lines that pass over a row's columns from `start` and `add` their encoded cells, and the names they use.

    `behind`: what else is to be done after a column, by its number.
    """
    lines: list[str] = []
    in_run = True
    for i, encoder in enumerate(encoders):
        if encoder.same or encoder.prefix is not None:
            lines += [] if in_run else ["  start = at"]
            in_run = True
            lines += _same(encoder) if encoder.same else _prefixed(i, encoder, names)
        else:
            lines += ["  add(data[start:at])"] if in_run else []
            in_run = False
            lines += _encoded(i, encoder, names)
        lines += [behind[i]] if behind and i in behind else []
    return [*lines, "  add(data[start:at])"] if in_run else lines


def _compiled(lines: list[str], names: dict[str, object]) -> object:
    names |= {"NULL": NULL, "unpack": INT32.unpack_from, "pack": INT32.pack}
    exec("\n".join(lines), names)
    return names["make"]


def _same(encoder: Encoder) -> list[str]:
    if encoder.cql.name != "boolean":
        return _skip(encoder.width)
    # Postgres takes any byte but 0 for true, as Cassandra does, but sends 1: the canonical byte is 1.
    return ["  if data[at + 3] == 1 < data[at + 4]: raise ValueError('a boolean byte beyond 1')", *_skip(encoder.width)]


def _skip(width: int | None) -> list[str]:
    """Pass over one cell; where the width is known, one byte of its length tells it from a null."""
    general = "(unpack(data, at)[0] + 4 if data[at] < 128 else 4)"
    if width is None or width > 127:
        return [f"  at += {general}"]
    return [f"  at += {width + 4} if data[at + 3] == {width} and not data[at + 2] else {general}"]


def _prefixed(i: int, encoder: Encoder, names: dict[str, object]) -> list[str]:
    prefix, width = encoder.prefix or b"", encoder.width or 0
    names[f"P{i}"] = INT32.pack(len(prefix) + width) + prefix
    return [
        "  n = unpack(data, at)[0]",
        f"  if n == {width}: add(data[start:at]); add(P{i}); start = at + 4; at = start + n",
        "  elif n < 0: at += 4",
        "  else: raise ValueError('a cell of the wrong width')",
    ]


def _encoded(i: int, encoder: Encoder, names: dict[str, object]) -> list[str]:
    names[f"E{i}"] = encoder.encode
    present = "n > 0" if encoder.empty_is_null else "n >= 0"
    return [
        "  n = unpack(data, at)[0]; at += 4",
        f"  if {present}: cell = E{i}(data[at:at + n]); at += n; add(pack(len(cell))); add(cell)",
        "  else: add(NULL)",
    ]
