"""The notes of an ABC tune (Essen, O'Neill, Aird, Ryan): a plain tokenizer, a hundred times faster than a full parser.

It reads what sounds: pitches under the key and the accidentals of the bar, lengths, ties, the top note of a chord, tuplets,
broken rhythm, the first voice. It leaves out words, ornaments, chord symbols, slurs and grace notes; repeats stay folded.
"""

from __future__ import annotations

import re

from sync.demo.melody import Note

_TUNE = re.compile(r"^[ \t]*X:[ \t]*(\d+)", re.MULTILINE)
_FIELD = re.compile(r"([A-Zw]):(?![|:])[ \t]*(.*)")  # "A:|" at the start of a line is a note and a bar line, not a field
_COMMENT = re.compile(r"%.*")
_BROKEN_CHORD = re.compile(r"(\[[^\]\[|:\n]*)\n")  # some books wrap a line inside a chord
_LENGTH = r"\d*/*\d*"
_PITCH = re.compile(rf"([_^=]*)([A-Ga-g])([,']*)({_LENGTH})")
_TOKEN = re.compile(
    rf"""
      (?P<skip>"[^"]*"?|![^!]*!|\{{[^}}]*\}}?)
    | \[(?P<inline>[A-Za-z]:[^\]]*)\]
    | \((?P<tuplet>\d(?::\d?){{0,2}})
    | (?P<bar>::|:?\|[\]|:]*|\[\||\[(?=\d))
    | \[(?P<chord>[^\]|]*\]{_LENGTH})
    | (?P<note>[_^=]*[A-Ga-g][,']*{_LENGTH})
    | (?P<rest>[zx]{_LENGTH})
    | (?P<tie>-)
    | (?P<broken><+|>+)
    """,
    re.VERBOSE,
)
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SHARP_ORDER = "FCGDAEB"
_SHARPS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "HP": 0, "Hp": 2}
_MODES = {"mix": -1, "dor": -2, "m": -3, "min": -3, "aeo": -3, "phr": -4, "lyd": 1}
_KEY = re.compile(r"(HP|Hp|[A-Ga-g])([#b]?)[ \t]*([A-Za-z]{0,3})")
_CLEFS = {"-8va": 1, "bass": 2}  # octaves that a part sounds below its notes
# (p: p notes in the time of q, if the tune does not give q; 5, 7 and 9 depend on the metre.
_TUPLET_TIME = {1: 1, 2: 3, 3: 2, 4: 3, 6: 2, 8: 3}


def tunes(text: str) -> dict[str, str]:
    """The tunes of a book, by their numbers in the corpus ("0001" is tune 1)."""
    starts = list(_TUNE.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    return {str(int(start[1])): text[start.start() : end] for start, end in zip(starts, ends, strict=True)}


def fields(tune: str) -> dict[str, list[str]]:
    """The header: field letter → its values, up to the key, which ends a header."""
    found: dict[str, list[str]] = {}
    for line in tune.splitlines():
        field = _FIELD.match(line.strip())
        if field and field[2].strip():
            found.setdefault(field[1], []).append(field[2].strip())
        if field and field[1] == "K":
            break
    return found


def notes(tune: str) -> list[Note]:
    reader = _Reader()
    for line in _BROKEN_CHORD.sub(r"\1", tune).splitlines():
        reader.line(_COMMENT.sub("", line))
    return reader.notes


def _length(text: str) -> float:
    """The multiplier written after a note: "3" 3, "3/2" 1.5, "/" 0.5, "//" 0.25, "3/" 1.5."""
    if "/" not in text:
        return float(text or 1)
    above, below = text.split("/", 1)
    divisor = float(below) if below.isdigit() else 2.0 ** (1 + below.count("/"))
    return float(above or 1) / (divisor or 1.0)


def _key(text: str) -> dict[str, int]:
    """Step → alteration; an unreadable key alters nothing."""
    key = _KEY.match(text)
    if key is None:
        return {}
    sharps = _SHARPS.get(key[1], _SHARPS.get(key[1].upper(), 0)) + {"#": 7, "b": -7}.get(key[2], 0)
    sharps += _MODES.get(key[3].lower(), 0)  # "GM" too is G minor: where these books write it, the tune is
    steps = _SHARP_ORDER[:sharps] if sharps > 0 else _SHARP_ORDER[::-1][:-sharps]
    return dict.fromkeys(steps, 1 if sharps > 0 else -1)


class _Reader:
    """State while reading one tune from left to right."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self._now = 0.0
        self._unit = 0.0  # of a quarter note; 0: not given yet, the metre decides
        self._metre = 1.0
        self._compound = False
        self._key: dict[str, int] = {}
        self._octaves = 5  # middle C is 60
        self._bar: dict[str, int] = {}
        self._tuplet = (0, 1.0)  # notes to come, factor
        self._broken = 1.0  # factor for the next note
        self._tied = False
        self._event = 0.0  # length of the newest note or rest
        self._resting = False
        self._first_voice: str | None = None
        self._voice: str | None = None

    def line(self, line: str) -> None:
        field = _FIELD.match(line.strip())
        if field:
            self._field(field[1], field[2].strip())
            return
        for token in _TOKEN.finditer(line):
            kind = token.lastgroup
            if kind == "inline":
                self._field(token["inline"][0], token["inline"][2:].strip())
            elif kind and kind != "skip" and self._voice == self._first_voice:
                getattr(self, "_on_" + kind)(token[kind])

    def _field(self, letter: str, value: str) -> None:
        if letter == "K":
            self._key = _key(value)
            self._octaves = 5 - next((down for clef, down in _CLEFS.items() if clef in value.lower()), 0)
        elif letter == "L" and (unit := re.match(r"(\d+)/(\d+)", value)):
            self._unit = 4 * int(unit[1]) / int(unit[2])
        elif letter == "M" and (metre := re.search(r"(\d+)/(\d+)", value)):
            self._metre = int(metre[1]) / int(metre[2])
            self._compound = int(metre[1]) % 3 == 0 and int(metre[1]) > 3
        elif letter == "V":
            self._voice = value.split()[0] if value else None
            self._first_voice = self._first_voice or self._voice

    def _on_bar(self, _: str) -> None:
        self._bar = {}

    def _on_tuplet(self, text: str) -> None:
        p, q, r = (*text.split(":"), "", "")[:3]
        time = int(q) if q else _TUPLET_TIME.get(int(p), 3 if self._compound else 2)
        self._tuplet = (int(r or p), time / (int(p) or 1))

    def _on_tie(self, _: str) -> None:
        self._tied = True

    def _on_broken(self, text: str) -> None:
        short = 0.5 ** len(text)
        before, self._broken = (2 - short, short) if text[0] == ">" else (short, 2 - short)
        change = self._event * (before - 1)
        self._now += change
        if self.notes and not self._resting:
            self.notes[-1] = self.notes[-1]._replace(length=self.notes[-1].length + change)

    def _on_rest(self, text: str) -> None:
        self._resting = True
        self._advance(_length(text[1:]))

    def _on_chord(self, text: str) -> None:
        inner, _, outer = text.rpartition("]")
        found = [self._pitch(pitch) for pitch in _PITCH.finditer(inner)]
        if found:
            self._sound(max(pitch for pitch, _ in found), found[0][1] * _length(outer))

    def _on_note(self, text: str) -> None:
        pitch = _PITCH.match(text)
        if pitch:
            self._sound(*self._pitch(pitch))

    def _pitch(self, match: re.Match[str]) -> tuple[int, float]:
        accidental, letter, octave, length = match.groups()
        step = letter.upper()
        if accidental:
            self._bar[step] = accidental.count("^") - accidental.count("_")
        alteration = self._bar.get(step, self._key.get(step, 0))
        octaves = self._octaves + letter.islower() + octave.count("'") - octave.count(",")
        return 12 * octaves + _SEMITONES[step] + alteration, _length(length)

    def _sound(self, pitch: int, length: float) -> None:
        tied, self._tied, self._resting = self._tied, False, False
        onset, last = self._now, self.notes[-1] if self.notes else None
        self._advance(length)
        if tied and last and last.pitch == pitch:
            self.notes[-1] = last._replace(length=last.length + self._event)
        else:
            self.notes.append(Note(onset, pitch, self._event))

    def _advance(self, length: float) -> None:
        if not self._unit:
            self._unit = 0.25 if self._metre < 0.75 else 0.5
        left, factor = self._tuplet
        self._event = length * self._unit * self._broken * (factor if left else 1.0)
        self._tuplet, self._broken = (max(left - 1, 0), factor), 1.0
        self._now += self._event
