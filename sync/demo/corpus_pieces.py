"""The pieces music21 ships: what its index says about each, and the notes, read from the files by our own tokenizers."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from sync.demo import corpus_abc, corpus_scores
from sync.demo.melody import Note, skyline
from sync.errors import SyncError

_NAMESPACE = uuid5(NAMESPACE_URL, "https://github.com/cuthbertLab/music21/tree/master/music21/corpus")
# Fields of an ABC header that music21's index leaves out.
_ABC_FACTS = {
    "R": "rhythm",
    "S": "source",
    "B": "book",
    "N": "note",
    "H": "history",
    "Z": "transcription",
    "K": "key",
    "M": "metre",
    "L": "unitLength",
    "Q": "tempo",
}

Facts = Mapping[str, list[Any]]


class CorpusError(SyncError):
    """The pieces that music21 ships cannot be read."""


@dataclass(frozen=True)
class Piece:
    path: str  # below music21's corpus folder
    number: str | None  # of a tune in its book
    facts: Facts  # in the index's own words; none: the entry is the book itself
    notes: list[Note]

    @property
    def id(self) -> UUID:
        return _id(self.path, self.number)

    def first(self, *names: str) -> str | None:
        """The first known of these facts, as it is: an empty string is a value."""
        return next((str(self.facts[name][0]) for name in names if self.facts.get(name)), None)


def pieces(limit: int | None = None) -> Iterator[Piece]:
    """All pieces, or some, in the order of their ids, so that any number of them is a mixture of the collections."""
    root, index = _index()
    books: dict[str, dict[str, str]] = {}
    for _, path, number, metadata in sorted(index, key=lambda entry: entry[0])[:limit]:
        facts = _facts(metadata)
        notes: list[Note] = []
        if path.endswith(".abc") and facts:
            tune = _tune(root, path, number, books)
            notes = corpus_abc.notes(tune)
            facts |= {_ABC_FACTS[k]: v for k, v in corpus_abc.fields(tune).items() if k in _ABC_FACTS}
        elif facts:
            notes = skyline(_score(root / path))
        yield Piece(path, number, facts, notes)


def _id(path: str, number: str | None) -> UUID:
    return uuid5(_NAMESPACE, f"{path}#{number or ''}")


def _index() -> tuple[Path, list[tuple[UUID, str, str | None, Any]]]:
    """music21's folder of pieces, and (id, path, number, metadata) of each."""
    try:
        # By name: music21 is needed by the demo only, and a type checker that follows the import reads all of it.
        corpora = importlib.import_module("music21.corpus.corpora")
    except ModuleNotFoundError as error:
        raise CorpusError("music21 is not installed: pip install '.[local]'") from error
    root = Path(str(corpora.__file__)).parent
    index = [
        (_id(entry.sourcePath.as_posix(), entry.number), entry.sourcePath.as_posix(), entry.number, entry.metadata)
        for entry in corpora.CoreCorpus().metadataBundle[:]
    ]
    if not index:
        raise CorpusError(f"the index of music21 in {root} is empty: install music21 again")
    return root, index


def _facts(metadata: Any) -> dict[str, list[Any]]:
    """Name → values; the entry of a whole book has none."""
    facts: dict[str, list[Any]] = {}
    for name, value in metadata.all(returnSorted=False) if metadata else ():
        if value is not None:
            facts.setdefault(name, []).append(value)
    return facts


def _tune(root: Path, path: str, number: str | None, books: dict[str, dict[str, str]]) -> str:
    if path not in books:
        books[path] = corpus_abc.tunes((root / path).read_text("utf-8"))
    # A book of one tune is indexed without a number, whatever the book itself says.
    return books[path][number] if number else next(iter(books[path].values()))


def _score(path: Path) -> list[Note]:
    if path.suffix == ".krn":
        return corpus_scores.kern(path.read_text("latin-1"))
    if path.suffix == ".rntxt":  # an analysis: names of chords, no notes
        return []
    return corpus_scores.musicxml(path)
