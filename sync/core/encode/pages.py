"""Functions that walk a page of CQL rows, generated for a table's columns: they encode, or hash, each row.

A source row is the token, then the columns in the order of `RowEncoder.pairs`; a target row is an int16 count of columns, the
token, the same columns, and the version. Runs of cells whose bytes do not change are copied in one slice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from hashlib import md5

from sync.core import expiry
from sync.core.encode.base import INT32, NULL, Encoder

PageEncoder = Callable[[bytes, int, int], list[bytes]]
"""(data, offset, rows) → pieces of COPY data."""
PageDigest = Callable[[bytes, int, int], tuple[int, int, int]]
"""(data, offset, rows) → count of rows, sums of the upper and of the lower halves of their hashes."""
PageHashes = Callable[[bytes, int, int], tuple[list[bytes], list[bytes], list[bytes], int]]
"""(data, offset, rows) → the rows' hashes, raw keys with their cells' lengths, and tokens; and where the last row ends."""


def encode_function(
    encoders: tuple[Encoder, ...], count: bytes, version: bytes, skip: Callable[[bytes, int], int] | None = None
) -> PageEncoder:
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
    passing = ["  add(data[start:at]); start = at = skip(data, at)"] if skip else []
    names["skip"] = skip
    made = _compiled([*before, *_skip(8), *passing, *_columns(encoders, names), "  add(VERSION)", " return out"], names)
    encode: PageEncoder = made  # type: ignore[assignment]
    return encode


def digest_function(encoders: tuple[Encoder, ...]) -> PageDigest:
    """The digest of a page: the same walk, with the canonical bytes of each row hashed instead of sent."""
    names: dict[str, object] = {"md5": md5, "halves": struct.Struct(">QQ").unpack}
    before = ["def make(data, at, rows):", " high = low = 0", " for _ in range(rows):", *_skip(8)]
    row = ["  start = at; out = []; add = out.append", *_columns(encoders, names)]
    after = ["  a, b = halves(md5(b''.join(out)).digest())", "  high += a; low += b", " return rows, high, low"]
    digest: PageDigest = _compiled([*before, *row, *after], names)  # type: ignore[assignment]
    return digest


def hash_function(encoders: tuple[Encoder, ...], keys: int, expires: bool, times: int = 0) -> PageHashes:
    """The hashes of a page's rows, each with its key as it is in the page: what a comparison keeps of a row.

    `times` cells between the token and the columns are passed over.
    """
    names: dict[str, object] = {"md5": md5, "packed": expiry.packed}
    before = [
        "def make(data, at, rows):",
        " hashes = []; keep = hashes.append; keys = []; note = keys.append; tokens = []; place = tokens.append",
        " for _ in range(rows):",
        *_skip(8),
        "  place(data[at - 8:at])",
        *_skip(8) * times,
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
