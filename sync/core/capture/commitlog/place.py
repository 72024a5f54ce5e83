"""A place in the log of a node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Behind an entry: of the segment with this id, in the section whose marker is at `section` of the file (0: the first
    one, wherever it begins), `within` bytes of it, uncompressed."""

    segment: int
    section: int = 0
    within: int = 0

    def __str__(self) -> str:
        return f"{self.segment}:{self.section}:{self.within}"


def place_of(text: str) -> Place:
    """What `str` of a place gives. Raises ValueError for anything else."""
    segment, section, within = (int(number) for number in text.split(":"))
    return Place(segment, section, within)
