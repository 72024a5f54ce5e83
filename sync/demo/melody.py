from collections.abc import Iterable
from typing import NamedTuple


class Note(NamedTuple):
    onset: float
    pitch: int
    length: float


def skyline(notes: Iterable[Note]) -> list[Note]:
    top: list[Note] = []
    for note in sorted(notes, key=lambda n: (n.onset, -n.pitch)):
        covered = top and note.pitch <= top[-1].pitch and note.onset < top[-1].onset + top[-1].length - 1e-6
        if not covered and not (top and note.onset == top[-1].onset):
            top.append(note)
    return top
