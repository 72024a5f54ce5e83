"""Rows of the benchmark as CQL cells: the same for the same table and number, whatever the process that makes them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

DIMENSION = 512
BLOCK = 1000  # rows of one seed: processes share the work by blocks
Cells = list[bytes | None]

_EPOCH_2015 = 1_420_070_400_000
_TEN_YEARS = 315_360_000_000
_YEAR_ONE = -62_135_596_800_000
_GENRES = ("rock", "jazz", "folk", "hip hop", "classical", "electronic", "country & western", "música popular brasileira")
_MODELS = ("clap-htsat-fused-v1", "musicnn-msd-512")
_KEYS = ("key", "mode", "tempo", "time_signature", "label", "country", "language", "recorded_at", "mood", "isrc")
_TEXT = (
    "the of and a in love night you me heart blue dance time day light fire rain river moon street summer home girl boy "
    "dream world long road city song wind sky sun golden silver broken little wild sweet lonely midnight winter morning "
    "shadow angel thunder paper velvet electric garden mountain ocean harbour station letter mirror window été cœur "
    "corazón Straße København Сон 夜 東京 naïve café"
)
_WORDS = _TEXT.split()


def songs(block: int, count: int = BLOCK) -> Iterator[Cells]:
    """Rows of `songs`: id, title, artist, album, genre, description, duration, year, attributes, created_at, updated_at."""
    rng = np.random.default_rng((1, block))
    ids, words = _uuids(rng), rng.integers(0, len(_WORDS), (BLOCK, 40)).tolist()
    lengths = rng.integers(2, 6, (BLOCK, 4)).tolist()
    durations, years = rng.uniform(45, 900, BLOCK).tolist(), rng.integers(1950, 2026, BLOCK).tolist()
    created = (_EPOCH_2015 + rng.integers(0, _TEN_YEARS, BLOCK)).tolist()
    later = rng.integers(0, 10**9, BLOCK).tolist()
    for i in range(count):
        w, n = words[i], lengths[i]
        yield [
            ids[i],
            _text(w[0 : n[0]], block * BLOCK + i),
            _text(w[5 : 5 + n[1]]),
            _text(w[10 : 10 + n[2]]),
            _GENRES[w[39] % len(_GENRES)].encode(),
            _text(w[15 : 20 + n[3] * 3]),
            struct.pack(">d", durations[i]),
            struct.pack(">i", years[i]),
            _map(w, 2 + n[0] + n[1] - 4),
            struct.pack(">q", created[i]),
            struct.pack(">q", created[i] + later[i]),
        ]


def embeddings(block: int, count: int = BLOCK) -> Iterator[Cells]:
    """Rows of `embeddings`: song_id, model, embedding, created_at; unit vectors, as models give them."""
    rng = np.random.default_rng((2, block))
    ids = _uuids(np.random.default_rng((1, block)))  # the songs' own
    vectors = rng.standard_normal((BLOCK, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    wire = vectors.astype(">f4")
    created = (_EPOCH_2015 + rng.integers(0, _TEN_YEARS, BLOCK)).tolist()
    for i in range(count):
        yield [ids[i], _MODELS[i % 2].encode(), wire[i].tobytes(), struct.pack(">q", created[i])]


def dirty(make: Callable[[int, int], Iterator[Cells]]) -> Callable[[int, int], Iterator[Cells]]:
    """The same with one row in fifty odd: nulls, empty texts, NUL, NaN, a year 1, backslashes, empty map."""

    def rows(block: int, count: int = BLOCK) -> Iterator[Cells]:
        for number, cells in enumerate(make(block, count)):
            if number % 50 == 0:
                column, cell = _odd(len(cells), number // 50)
                cells[column] = cell
            yield cells

    return rows


def _odd(width: int, turn: int) -> tuple[int, bytes | None]:
    year_1 = struct.pack(">q", _YEAR_ONE)
    in_songs = ((1, b""), (2, b"nul \x00 inside"), (3, b"C:\\new\\table"), (8, None), (9, year_1), (4, None))
    nan = struct.pack(">f", float("nan")) * DIMENSION
    in_embeddings = ((1, b""), (2, None), (2, nan), (1, b"back\\slash"), (3, None), (3, year_1))
    odd: tuple[tuple[int, bytes | None], ...] = in_embeddings if width == 4 else in_songs
    return odd[turn % len(odd)]


def _uuids(rng: Any) -> list[bytes]:
    raw = rng.integers(0, 256, (BLOCK, 16), dtype=np.uint8)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    return [r.tobytes() for r in raw]


def _text(words: list[int], number: int | None = None) -> bytes:
    text = " ".join(_WORDS[w] for w in words)
    if number is not None:
        text += f" no. {number}"
    return text.ljust(10, ".")[:120].encode()


def _map(words: list[int], count: int) -> bytes:
    first = words[38] % len(_KEYS)
    keys = sorted(_KEYS[(first + i) % len(_KEYS)] for i in range(min(count, 6)))
    parts = [struct.pack(">i", len(keys))]
    for key, word in zip(keys, words, strict=False):
        for text in (key, _WORDS[word] if word % 3 else str(word * 7)):
            data = text.encode()
            parts.append(struct.pack(">i", len(data)) + data)
    return b"".join(parts)
