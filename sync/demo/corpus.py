"""Real input: the 15,112 entries of the music21 corpus as rows for songs, metadata, genres and embeddings.

Nothing is tidied up: titles in a broken encoding, composers that are an empty string, entries without anything but their
file are what a migration meets. Every value is the same in every run, so that two runs can be compared row by row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

from sync.demo import melody
from sync.demo.corpus_pieces import CorpusError, Facts, Piece, pieces

__all__ = ["Corpus", "CorpusError", "Embedding", "Genre", "Song", "SongMetadata", "load"]


class Song(TypedDict):
    id: UUID
    title: str | None
    artist: str | None
    album: str | None
    genre: str
    year: int | None
    duration: float | None  # in quarter notes: a score has no seconds
    created_at: datetime
    updated_at: datetime


class SongMetadata(TypedDict):
    song_id: UUID
    data: dict[str, str]


class Genre(TypedDict):
    name: str
    description: str
    song_count: int


class Embedding(TypedDict):
    song_id: UUID
    model: str
    embedding: list[float]
    created_at: datetime


@dataclass(frozen=True)
class Corpus:
    songs: list[Song]
    metadata: list[SongMetadata]
    genres: list[Genre]
    embeddings: list[Embedding]
    without_embedding: Mapping[str, int]  # why → songs; with the embeddings they add up to the songs

    def tables(self) -> dict[str, Sequence[Mapping[str, Any]]]:
        return {
            "genres": self.genres,
            "songs": self.songs,
            "metadata": self.metadata,
            "embeddings": self.embeddings,
        }


def load(limit: int | None = None) -> Corpus:
    """All pieces, or the first `limit` in the order of their ids, which mixes the collections."""
    songs: list[Song] = []
    metadata: list[SongMetadata] = []
    embeddings: list[Embedding] = []
    without: Counter[str] = Counter()
    for piece in pieces(limit):
        song = _song(piece)
        songs.append(song)
        metadata.append({"song_id": song["id"], "data": _data(piece)})
        vector = melody.vector(piece.notes)
        if vector is None:
            without[_why_silent(piece)] += 1
        else:
            embeddings.append(_embedding(song, vector))
    return Corpus(songs, metadata, _genres(songs), embeddings, dict(without))


class _Collection(NamedTuple):
    album: str
    genre: str
    origin: str | None = None
    year: int | None = None


# By the start of the path; years and origins are those of the printed books.
_COLLECTIONS = {
    "essenFolksong/": _Collection("Essen folk song collection", "folk song"),
    "oneills1850/": _Collection("O'Neill's Music of Ireland", "tune", "Ireland", 1903),
    "airdsAirs/": _Collection("Aird's Selection of Airs", "air"),
    "ryansMammoth/": _Collection("Ryan's Mammoth Collection", "tune", None, 1883),
    "miscFolk/northumbrian": _Collection("Northumbrian Minstrelsy", "tune", "Northumbria", 1882),
    "miscFolk/americanfife": _Collection("Colonial and Civil War American Fife Music", "march", "United States"),
    "nottingham-dataset/": _Collection("Nottingham Music Database", "tune"),
    "palestrina/": _Collection("Palestrina: Masses", "mass"),
    "trecento/": _Collection("Polyphonic Music of the Fourteenth Century", "trecento"),
    "bach/": _Collection("Bach", "baroque"),
    "monteverdi/": _Collection("Monteverdi: Madrigals", "madrigal"),
    "josquin/": _Collection("Josquin", "renaissance"),
}
_OTHERS = _Collection("music21 corpus", "art music")

_YEAR = re.compile(r"\((1[3-9]\d\d)\)")  # "Missa L'homme arme (1570)"
_EPOCH = datetime(2019, 1, 1, tzinfo=UTC)
_FIVE_YEARS, _A_YEAR = 5 * 365 * 86_400_000, 365 * 86_400_000  # in ms, which is what Cassandra keeps
# Facts about the machine that made the index, and what has a column of its own.
_LEFT_OUT = {"software", "filePath", "corpusFilePath", "sourcePath", "ambitus", "scoreQuarterLength"}


def _collection(path: str) -> _Collection:
    return next((found for start, found in _COLLECTIONS.items() if path.startswith(start)), _OTHERS)


def _song(piece: Piece) -> Song:
    collection = _collection(piece.path)
    album = piece.first("parentTitle") or collection.album
    year = _YEAR.search(album)
    length = piece.facts.get("scoreQuarterLength")
    created, updated = _times(piece.id)
    return {
        "id": piece.id,
        "title": piece.first("title", "movementName"),
        "artist": _artist(piece, collection),
        "album": album,
        "genre": _genre(piece, collection),
        "year": int(year[1]) if year else collection.year,
        "duration": float(length[0]) if length else None,
        "created_at": created,
        "updated_at": updated,
    }


def _artist(piece: Piece, collection: _Collection) -> str | None:
    """Who composed it, or where it was sung; the entry of a book has neither."""
    known = piece.first("composer", "localeOfComposition")
    return known if known is not None or not piece.facts else collection.origin


def _times(song_id: UUID) -> tuple[datetime, datetime]:
    """When the row was made and last changed, to the millisecond; derived from the id, since no source says it."""
    created = _EPOCH + timedelta(milliseconds=song_id.int % _FIVE_YEARS)
    return created, created + timedelta(milliseconds=(song_id.int >> 64) % _A_YEAR)


def _genre(piece: Piece, collection: _Collection) -> str:
    """The first word or two of what the source says ("Ballade, Habgier, Mord" is a ballade), or what its collection holds."""
    said = piece.first("rhythm", "humdrum:AGN") or ""
    return re.split(r"[,;:(/]", said)[0].strip(' "?.[]-').lower() or collection.genre


def _data(piece: Piece) -> dict[str, str]:
    known: Facts = {name: values for name, values in piece.facts.items() if name not in _LEFT_OUT}
    data = {name: "; ".join(_text(value) for value in values) for name, values in known.items() if values != [[]]}
    data["file"] = piece.path
    if "ambitus" in piece.facts:
        data["ambitus"] = str(piece.facts["ambitus"][0].semitones)
    if (origin := _collection(piece.path).origin) and piece.facts:
        data["origin"] = origin
    return data


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _why_silent(piece: Piece) -> str:
    if not piece.facts:
        return "a book of tunes, not a tune"
    if piece.path.endswith(".rntxt"):
        return "an analysis: chords, no notes"
    return "one note only" if piece.notes else "no notes of a pitch"


def _embedding(song: Song, vector: list[float]) -> Embedding:
    return {
        "song_id": song["id"],
        "model": melody.MODEL,
        "embedding": vector,
        "created_at": song["updated_at"],
    }


def _genres(songs: list[Song]) -> list[Genre]:
    albums: dict[str, Counter[str]] = {}
    for song in songs:
        albums.setdefault(song["genre"], Counter())[song["album"] or ""] += 1
    return [
        {
            "name": name,
            "description": f"{counts.total()} pieces, {counts.most_common(1)[0][1]} from {counts.most_common(1)[0][0]}",
            "song_count": counts.total(),
        }
        for name, counts in sorted(albums.items())
    ]
