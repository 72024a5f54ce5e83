"""The real input: our tokenizers against music21's own parser, vectors that mean something, rows that add up."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import music21
import numpy as np
import pytest
from music21 import abcFormat, converter, harmony, stream
from music21.abcFormat import translate

from sync.demo import corpus_abc, corpus_scores, melody
from sync.demo.corpus import Corpus, load
from sync.demo.melody import Note, skyline

ROOT = Path(music21.__file__).parent / "corpus"
HEADER = "X:1\nM:4/4\nL:1/8\n"


def pitches(notes: list[Note]) -> list[int]:
    return [note.pitch for note in notes]


def lengths(notes: list[Note]) -> list[float]:
    return [note.length for note in notes]


# --- ABC ---


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("C", [65, 67, 71]),
        ("G", [66, 67, 71]),
        ("Gm", [65, 67, 70]),
        ("GM", [65, 67, 70]),
        ("A Dorian", [66, 67, 71]),
        ("Dmix % one sharp", [66, 67, 71]),
        ("Bb", [65, 67, 70]),
        ("H", [65, 67, 71]),  # not a key of ABC: nothing is altered
        ("C -8va", [53, 55, 59]),
    ],
)
def test_abc_key(key: str, expected: list[int]) -> None:
    assert pitches(corpus_abc.notes(f"{HEADER}K:{key}\nFGB|")) == expected


def test_abc_accidental_holds_to_the_bar_line() -> None:
    assert pitches(corpus_abc.notes(HEADER + "K:C\n^FF=F^^F__f|F")) == [66, 66, 65, 67, 75, 65]


@pytest.mark.parametrize(
    ("music", "expected"),
    [
        ("C C2 C/ C// C3/2 C/4", [0.5, 1, 0.25, 0.125, 0.75, 0.125]),
        ("(3CDE F", [1 / 3, 1 / 3, 1 / 3, 0.5]),
        ("(5:4:2CD E", [0.4, 0.4, 0.5]),
        ("C>D E<F G>>A", [0.75, 0.25, 0.25, 0.75, 0.875, 0.125]),
        ("(C>)(D", [0.75, 0.25]),  # a slur between the sign and the note
        ("C-|C C-D", [1, 0.5, 0.5]),  # between two pitches it is a slur, not a tie
        ("[L:1/4]C", [1]),
        ("[CEG]2 [C2E2]", [1, 1]),
    ],
)
def test_abc_lengths(music: str, expected: list[float]) -> None:
    assert lengths(corpus_abc.notes(f"{HEADER}K:C\n{music}")) == pytest.approx(expected)


def test_abc_leaves_out_what_does_not_sound() -> None:
    music = '"Am"C !fermata!D {ge}E HF "<4"G z2 ~A | % C C C\nw: a b c\nP:A\n[CE\nG] :|[2 c\\'
    notes = corpus_abc.notes(f"{HEADER}K:C\n{music}")
    assert pitches(notes) == [60, 62, 64, 65, 67, 69, 67, 72]
    assert notes[5].onset == 3.5


def test_abc_first_voice_only() -> None:
    assert pitches(corpus_abc.notes(HEADER + "K:C\n[V:1] CD|\n[V:2] EF|\n[V:1] GA|")) == [60, 62, 67, 69]


def test_abc_book() -> None:
    book = "% a book\nX:0007\nT: Eins \nT:Zwei\nK:C\nCD:|\nA:|\n\nX: 12\nT:\nK:G\nG"
    tunes = corpus_abc.tunes(book)
    assert list(tunes) == ["7", "12"]
    assert corpus_abc.fields(tunes["7"]) == {"X": ["0007"], "T": ["Eins", "Zwei"], "K": ["C"]}
    assert pitches(corpus_abc.notes(tunes["7"])) == [60, 62, 69]


# --- scores ---


def test_kern_splits_ties_and_grace_notes() -> None:
    rows = ["**kern *kern".replace(" *", "\t**"), "4C\t[4c#", "*\t*^", "4D\t4c#]\t4ee-", "*\t*v\t*v", "=2\t=2", "8CC\tqb"]
    rows += ["8r\t4.BB 4.d", "*-\t*-"]
    assert corpus_scores.kern("\n".join(rows)) == [
        Note(0, 61, 2),
        Note(1, 75, 1),
        Note(2, 47, 1.5),
        Note(2, 62, 1.5),
    ]


def test_kern_top_part_silent() -> None:
    assert pitches(corpus_scores.kern("**kern\t**silbe\t**kern\n0c\tla\t0r\n*-\t*-\t*-")) == [60]


def test_musicxml(tmp_path: Path) -> None:
    def note(step: str, more: str = "") -> str:
        return f"<note>{more}<pitch><step>{step}</step><octave>4</octave></pitch><duration>2</duration></note>"

    measure = (
        "<measure><attributes><divisions>2</divisions></attributes>"
        + note("C")
        + note("E", "<chord/>")
        + note("G", "<grace/>")
        + "<backup><duration>2</duration></backup><forward><duration>2</duration></forward>"
        + "<note><rest/><duration>1</duration></note></measure>"
    )
    silent = "<part><measure><note><unpitched/><duration>2</duration></note></measure></part>"
    file = tmp_path / "x.xml"
    file.write_text(f"<score-partwise>{silent}<part>{measure}{measure}</part><part/></score-partwise>", "utf-8")
    notes = corpus_scores.musicxml(file)
    assert notes == [Note(0, 60, 1), Note(0, 64, 1), Note(1.5, 60, 1), Note(1.5, 64, 1)]
    assert pitches(skyline(notes)) == [64, 64]


# --- against music21's own parser, on a random sample ---


def parsed(part: Any) -> list[Note]:
    """The notes of music21's part, ties joined and grace notes left out as we do it."""
    found: list[Note] = []
    for element in part.flatten().notes:
        if isinstance(element, harmony.ChordSymbol) or element.duration.isGrace:
            continue
        for pitch in element.pitches:
            tie = element.getTie(pitch) if element.isChord else element.tie
            note = Note(float(element.offset), pitch.midi, float(element.quarterLength))
            corpus_scores._add(found, note, tied=tie is not None and tie.type in ("stop", "continue"))
    return skyline(found)


def parsed_abc(tune: str) -> list[Note]:
    # Accidentals hold to the bar line since ABC 2.0; and music21 loses a note under a fermata (H), its own fault.
    lines = [x if re.match(r"[A-Zw]:", x) else re.sub(r"H(?=[_^=]*[A-Ga-g])", "", x) for x in tune.splitlines()]
    handler = abcFormat.ABCFile(abcVersion=(2, 1, 0)).readstr("\n".join(lines))
    score = stream.Score()
    translate.abcToStreamScore(handler, score)
    return parsed(score.parts[0])


@pytest.mark.parametrize("collection", ["essenFolksong", "oneills1850", "airdsAirs", "ryansMammoth"])
def test_abc_as_music21_reads_it(collection: str) -> None:
    files = sorted((ROOT / collection).glob("*.abc"))
    tunes = [tune for file in files for tune in corpus_abc.tunes(file.read_text("utf-8")).values()]
    sample = random.Random(5).sample(tunes, 15)
    same = [pitches(corpus_abc.notes(tune)) == pitches(parsed_abc(tune)) for tune in sample]
    assert sum(same) >= 14  # it also loses a note that stands before "::", and knows no inline voices


@pytest.mark.parametrize(("pattern", "size"), [("palestrina/*.krn", 3), ("bach/bwv*.mxl", 5), ("trecento/*.xml", 1)])
def test_scores_as_music21_reads_them(pattern: str, size: int) -> None:
    smallest = sorted(ROOT.glob(pattern), key=lambda path: (path.stat().st_size, path))
    for file in random.Random(5).sample(smallest[: len(smallest) // 4], size):
        notes = corpus_scores.kern(file.read_text("latin-1")) if file.suffix == ".krn" else corpus_scores.musicxml(file)
        part = converter.parse(file, forceSource=True).parts[0]
        assert pitches(skyline(notes)) == pitches(parsed(part)), file


# --- vectors ---

TUNE = [Note(i / 2, pitch, 0.5) for i, pitch in enumerate([60, 62, 64, 65, 67, 67, 64, 60, 62, 59, 60])]


def test_vector_is_a_unit_vector_of_floats() -> None:
    vector = melody.vector(TUNE)
    assert vector is not None
    assert len(vector) == melody.DIMENSIONS
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert np.array(vector, dtype=np.float32).tolist() == vector


@pytest.mark.parametrize(("up", "slower"), [(5, 1), (-12, 1), (0, 2), (7, 0.5)])
def test_vector_of_a_tune_in_another_key_or_note_values(up: int, slower: float) -> None:
    moved = [Note(n.onset * slower + 4, n.pitch + up, n.length * slower) for n in TUNE]
    assert melody.vector(moved) == pytest.approx(melody.vector(TUNE), abs=1e-6)


def test_vector_of_almost_nothing() -> None:
    assert melody.vector([]) is None
    assert melody.vector(TUNE[:1]) is None
    two = melody.vector([Note(0, 60, 1), Note(1, 60, 0)])  # the same note twice, once without length
    assert two is not None
    assert np.linalg.norm(two) == pytest.approx(1)


# --- rows ---


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load()


@pytest.mark.slow
def test_every_piece_has_its_rows(corpus: Corpus) -> None:
    """Nothing is dropped: a piece without notes keeps its song, and is counted."""
    ids = [song["id"] for song in corpus.songs]
    assert len(set(ids)) == len(ids) >= 15_000
    assert [row["song_id"] for row in corpus.metadata] == ids
    assert len(corpus.embeddings) + sum(corpus.without_embedding.values()) == len(ids)
    assert len(corpus.embeddings) > 0.98 * len(ids)
    assert {row["song_id"] for row in corpus.embeddings} <= set(ids)


@pytest.mark.slow
def test_genres_add_up(corpus: Corpus) -> None:
    assert Counter(song["genre"] for song in corpus.songs) == {g["name"]: g["song_count"] for g in corpus.genres}


@pytest.mark.slow
def test_vectors_are_finite_and_of_length_one(corpus: Corpus) -> None:
    matrix = np.array([row["embedding"] for row in corpus.embeddings])
    assert matrix.shape == (len(corpus.embeddings), melody.DIMENSIONS)
    assert np.abs(np.linalg.norm(matrix, axis=1) - 1).max() < 1e-6


@pytest.mark.slow
def test_times_are_what_cassandra_can_keep(corpus: Corpus) -> None:
    for song in corpus.songs:
        assert song["created_at"] <= song["updated_at"]
        assert song["created_at"].microsecond % 1000 == song["updated_at"].microsecond % 1000 == 0


@pytest.mark.slow
def test_oddities_stay(corpus: Corpus) -> None:
    titles = [song["title"] for song in corpus.songs]
    assert titles.count(None) == corpus.without_embedding["a book of tunes, not a tune"]
    assert "Ich hab die Nacht getr\x84umet" in titles  # an umlaut of a DOS code page
    assert any(song["artist"] == "" for song in corpus.songs)


@pytest.mark.slow
def test_a_part_is_the_beginning_of_the_whole(corpus: Corpus) -> None:
    part = load(150)
    assert part.songs == corpus.songs[:150]
    assert part.metadata == corpus.metadata[:150]
    assert part.embeddings == corpus.embeddings[: len(part.embeddings)]


@pytest.mark.slow
def test_the_nearest_tune_is_the_same_tune_under_another_name(corpus: Corpus) -> None:
    """Aird's "Rural Felicity" (1780s) is what O'Neill and Ryan call "Haste to the Wedding"."""
    title = {song["id"]: (song["title"] or "").lower() for song in corpus.songs}
    names = [title[row["song_id"]] for row in corpus.embeddings]
    matrix = np.array([row["embedding"] for row in corpus.embeddings])
    near = np.argsort(-(matrix @ matrix[names.index("haste to the wedding")]))
    assert {names[i] for i in near[:3]} == {"haste to the wedding", "haste to the wedding -- jig", "rural felicity"}
