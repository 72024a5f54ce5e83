"""The melody of a score: the highest part of a **kern file, the first part of a MusicXML file."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from sync.demo.melody import Note

_RECIP = re.compile(r"(\d+)(?:%(\d+))?(\.*)")
_KERN_PITCH = re.compile(r"([a-g]+|[A-G]+)(#+|-+)?")
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def kern(text: str) -> list[Note]:
    """The rightmost **kern spine that is not silent: humdrum writes the lowest part first."""
    lines = [line.split("\t") for line in text.splitlines() if line and line[0] not in "!="]
    kinds = next((cells for cells in lines if cells[0].startswith("**")), [])
    candidates = (_spine(lines, i) for i in range(len(kinds) - 1, -1, -1) if kinds[i] == "**kern")
    return next(filter(None, candidates), [])


def _spine(lines: list[list[str]], wanted: int) -> list[Note]:
    found: list[Note] = []
    spines: list[int] = []
    ends: list[float] = []
    for cells in lines:
        if cells[0].startswith("**"):
            spines, ends = list(range(len(cells))), [0.0] * len(cells)
        elif cells[0][0] == "*":
            spines, ends = _paths(cells, spines, ends)
        else:
            for column, cell in enumerate(cells):
                if spines[column] == wanted and cell != ".":
                    ends[column] = _kern_cell(cell, ends[column], found)
    return found


def _paths(cells: list[str], spines: list[int], ends: list[float]) -> tuple[list[int], list[float]]:
    """Spines after a line of path marks: *^ splits one in two, neighbouring *v of one spine join again."""
    kept: list[tuple[int, float]] = []
    joining = False
    for cell, spine, end in zip(cells, spines, ends, strict=True):
        join = cell == "*v"
        if not (join and joining and kept[-1][0] == spine) and cell != "*-":
            kept += [(spine, end)] * (2 if cell == "*^" else 1)
        joining = join
    return [spine for spine, _ in kept], [end for _, end in kept]


def _kern_cell(cell: str, onset: float, found: list[Note]) -> float:
    """Append the notes of one cell; returns when the cell ends."""
    end = onset
    for part in cell.split(" "):
        length = _RECIP.search(part)
        if "q" in part or length is None:  # a grace note takes no time
            continue
        quarters = _quarters(*length.groups())
        end = max(end, onset + quarters)
        pitch = _KERN_PITCH.search(part)
        if pitch and "r" not in part:
            _add(found, Note(onset, _kern_pitch(pitch), quarters), tied="_" in part or "]" in part)
    return end


def _quarters(recip: str, numerator: str | None, dots: str) -> float:
    whole = 2.0 ** len(recip) if not recip.strip("0") else int(numerator or 1) / int(recip)
    return 4 * whole * (2 - 0.5 ** len(dots))


def _kern_pitch(match: re.Match[str]) -> int:
    letters, accidental = match[1], match[2] or ""
    octave = 4 + len(letters) if letters.islower() else 5 - len(letters)
    return 12 * octave + _SEMITONES[letters[0].upper()] + accidental.count("#") - accidental.count("-")


def _add(found: list[Note], note: Note, tied: bool) -> None:
    """A tied note lengthens the one before it."""
    if tied:
        for i in range(len(found) - 1, max(len(found) - 12, -1), -1):
            before = found[i]
            if before.pitch == note.pitch and abs(before.onset + before.length - note.onset) < 1e-6:
                found[i] = before._replace(length=before.length + note.length)
                return
    found.append(note)


def musicxml(path: Path) -> list[Note]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as plain:
            return _first_part(plain)
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if not n.startswith("META-INF") and n.endswith(("xml", "musicxml")))
        with archive.open(name) as packed:
            return _first_part(packed)


def _first_part(source: IO[bytes]) -> list[Note]:
    reader = _Part()
    for _, element in ElementTree.iterparse(source, events=("end",)):
        if element.tag == "measure":
            reader.measure(element)
            element.clear()
        elif element.tag == "part":
            if reader.notes:
                break  # the other parts need not even be read
            reader = _Part()
    return reader.notes


class _Part:
    """State while reading one part: the unit of time and where the measure began."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self._divisions = 1.0
        self._now = 0.0
        self._onset = 0.0

    def measure(self, measure: ElementTree.Element) -> None:
        furthest = self._now
        for child in measure:
            if child.tag == "attributes":
                self._divisions = float(child.findtext("divisions") or self._divisions)
            elif child.tag == "note":
                self._note(child)
            elif child.tag in ("backup", "forward"):
                self._now += self._quarters(child) * (-1 if child.tag == "backup" else 1)
            furthest = max(furthest, self._now)
        self._now = furthest

    def _quarters(self, element: ElementTree.Element) -> float:
        return float(element.findtext("duration") or 0) / self._divisions

    def _note(self, note: ElementTree.Element) -> None:
        if note.find("grace") is not None or note.find("cue") is not None:
            return
        length = self._quarters(note)
        if note.find("chord") is None:
            self._onset = self._now
            self._now += length
        step = note.findtext("pitch/step")
        if step and note.findtext("staff") in (None, "1"):  # the right hand of a keyboard part
            semitones = _SEMITONES[step] + round(float(note.findtext("pitch/alter") or 0))
            pitch = 12 * (int(note.findtext("pitch/octave") or 4) + 1) + semitones
            tied = any(tie.get("type") == "stop" for tie in note.findall("tie"))
            _add(self.notes, Note(self._onset, pitch, length), tied)
