"""A melody as 64 numbers, near (by cosine) to those of tunes that sound alike.

24 numbers say how the tune opens (its pitch, taken at even steps of time, above or below its mean), 32 which steps follow
each other in it (a histogram of three intervals in a row, hashed), 8 its rhythm (how much longer or shorter each note is
than the one before). None of them changes if a tune is transposed, or written in halved or doubled note values.
Weights and sizes were chosen by how often a tune's nearest neighbour carries its title.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MODEL = "interval-rhythm-64"
DIMENSIONS = 64

_OPENING, _STEPS, _RHYTHM = 24, 32, 8
_RHYTHM_WEIGHT = 0.7
_OCTAVE = 12  # a wider leap counts as an octave
_INTERVALS = 2 * _OCTAVE + 1
_SHORTEST = 1 / 64  # of a quarter: some scores hold notes without length
_RATIO_EDGES = (-1.75, -1.2, -0.8, -0.3, 0.3, 0.8, 1.2)  # of log2: 1/4, 1/3, 1/2, 2/3, the same, 3/2, 2, longer

Floats = NDArray[np.float64]


class Note(NamedTuple):
    onset: float  # in quarter notes
    pitch: int  # MIDI: middle C is 60
    length: float


def skyline(notes: Iterable[Note]) -> list[Note]:
    """The topmost line: notes of a lower voice under a sounding note are left out."""
    top: list[Note] = []
    free = float("-inf")  # when the newest note of the line ends
    for note in sorted(notes, key=lambda note: (note.onset, -note.pitch)):
        if top and (note.onset == top[-1].onset or (note.pitch <= top[-1].pitch and note.onset < free - 1e-6)):
            continue
        top.append(note)
        free = note.onset + note.length
    return top


def vector(notes: Sequence[Note]) -> list[float] | None:
    """The unit vector of a melody, each number exact in 32 bits; None if too short to have one."""
    if len(notes) < 2:
        return None
    onset, pitch, length = np.array(notes, dtype=np.float64).T
    length = np.maximum(length, _SHORTEST)
    parts = (_opening(onset, pitch, length), _steps(pitch), _RHYTHM_WEIGHT * _rhythm(length))
    whole = _unit(np.concatenate(parts)).astype(np.float32)
    numbers: list[float] = whole.tolist()
    return numbers if whole.any() else None


def _unit(values: Floats) -> Floats:
    norm = float(np.sqrt(values @ values))
    return values / norm if norm else values


def _opening(onset: Floats, pitch: Floats, length: Floats) -> Floats:
    # The median length is the beat a listener feels in most tunes; the mean moves with every long last note.
    times = onset[0] + np.arange(_OPENING) * np.median(length) + 1e-6
    sounding = np.searchsorted(onset, times, side="right") - 1
    return _unit(pitch[sounding] - np.average(pitch, weights=length))


def _hash_table() -> tuple[NDArray[Any], Floats]:
    """Bucket and sign of every three intervals; the sign makes collisions cancel out instead of adding up."""
    code = np.arange(_INTERVALS**3, dtype=np.uint64) + np.uint64(1)
    code = (code * np.uint64(0x9E3779B97F4A7C15)) ^ (code * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(29))
    return (code >> np.uint64(59)).astype(np.intp), np.where(code >> np.uint64(40) & np.uint64(1), 1.0, -1.0)


_BUCKET, _SIGN = _hash_table()


def _steps(pitch: Floats) -> Floats:
    interval = np.clip(np.diff(pitch), -_OCTAVE, _OCTAVE).astype(np.intp) + _OCTAVE
    codes = (interval[:-2] * _INTERVALS + interval[1:-1]) * _INTERVALS + interval[2:]
    seen, times = np.unique(codes, return_counts=True)
    # The root keeps one often repeated figure from hiding the rest.
    folded = np.bincount(_BUCKET[seen], weights=_SIGN[seen] * np.sqrt(times), minlength=_STEPS)
    return _unit(np.sign(folded) * np.sqrt(np.abs(folded)))


def _rhythm(length: Floats) -> Floats:
    kinds = np.digitize(np.log2(length[1:] / length[:-1]), _RATIO_EDGES)
    return _unit(np.sqrt(np.bincount(kinds, minlength=_RHYTHM)))
