"""Pages, messages, docstrings and comments say what is meant in plain English: phrases that readers stumbled over stay out."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What not to write, and what to write instead. Each is a regular expression; names in code have no blanks: they do not match.
INSTEAD = {
    r"\b(?:the|a|its) flip\b|\bflips\b(?! a)|\bflipping\b": "cut-over; switches",
    r"\bbehind (?:its |the )?gates\b": "after checks",
    r"\bobey(?:s|ed)?\b": "follow; interpret",
    r"\bgoes on (?:with it )?where it was stopped\b": "resumes",
    r"\bdoorbells?\b|\brung for\b|\brings? for (?:workers|what)\b|\bring(?:s|ing)? again\b|\bwill ring\b": "notifies",
    r"\blook(?:s|ed)? at again\b": "read again",
    r"\bcounts (?:before|first)\b": "takes precedence",
    r"\bno command acts on it\b": "no command uses it",
    r"\bmade good\b": "fixed",
    r"\bat leisure\b": "when convenient",
    r"^To know$": "Problems",
    r"\b(?:missing|owner's|lacks?|against|these|of the) rights\b": "privileges",
    r"\blets? go of\b": "release",
    r"\bnobody is there to\b": "not a terminal; pass --yes",
    r"\b(?:so|that) long silent\b|\bsilent for so long\b": "without a heartbeat for",
    r"\bsays since when\b": "names the time",
    r"\bwhat was planted\b": "fault injection",
    r"\bNot its old bytes have\b": "these values come back with different bytes",
    r"\bData API of your own\b": "self-hosted Data API",
    r"\bwants (?:it anew|two)\b": "requires two new passes",
    r"\bhow manieth\b": "attempt number",
    r"\bstands? against\b": "blocks; blocker",
    r"\bkept aside\b": "buffered",
    r"\b(?:indexes|what) (?:are|is|was) taken away\b|\bindexes taken away\b|\btaking away indexes\b": "dropped and rebuilt",
    r"\bit hung up\b": "it closed the connection",
    r"\bTurning it\b": "Tuning",
    r"\bis no (?:column|URL|number|string|vector|path|writer of)\b": "is not a",
    r"\bit may be written\b": "it may have been written",
    r"\btakes? (?:no null|none of them)\b": "does not accept null",
    r"\bGo on with\b": "Resume with",
    r"\bwhat is copied stays\b": "the copied rows stay",
    r"\bwas begun with another\b": "was started with a different",
    r"\bhand it back\b": "return it",
    r"\bas (?:it stands|they stand)\b": "as it is; unchanged",
    r"\banew\b(?!`)": "again; restart",
    r"\b(?:whereof|thereby|lest)\b": "plain English",
    r"\btime-outs?\b": "timeout",
    r"\bdisturbs the proof\b": "invalidates the proof",
    r"\bhas no answer\b": "does not answer",
    r"\b(?:what|that) the source has not\b": "does not have",
}
BANNED = re.compile("|".join(f"(?:{phrase})" for phrase in INSTEAD), re.MULTILINE)
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "docs" / "reference" / "meanings.toml",
    ROOT / "sync.toml.example",
]
CODE = [path for folder in ("sync", "workers", "docs", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
SQL = [path for folder in ("sync", "migrations") for path in (ROOT / folder).rglob("*.sql")]


def of_python(text: str) -> Iterator[tuple[int, str]]:
    """The comments and the strings of a module that are more than one word, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name in ("COMMENT", "STRING", "FSTRING_MIDDLE") and " " in token.string:
            yield token.start[0], token.string


def of_sql(text: str) -> Iterator[tuple[int, str]]:
    """The comments of an SQL file, without the names of statements, each with its line."""
    for number, line in enumerate(text.splitlines(), 1):
        if "--" in line:
            yield number, re.sub(r"^-- \w+: ", "", line.partition("--")[2])


def banned(parts: Iterator[tuple[int, str]]) -> list[str]:
    """The banned phrases in these texts, each with its line."""
    return [f"{line}: {found[0]}" for line, text in parts for found in BANNED.finditer(text)]


@pytest.mark.parametrize("path", [*PAGES, *CODE, *SQL], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_phrase_that_readers_stumbled_over(path: Path) -> None:
    """Would break: a phrase that had to be explained comes back. The cure: the words of INSTEAD, or of docs/glossary.md."""
    text = path.read_text(encoding="utf-8")
    parts = {".py": of_python, ".sql": of_sql}.get(path.suffix, lambda text: iter(enumerate(text.splitlines(), 1)))
    assert banned(parts(text)) == []


@pytest.mark.parametrize(
    "phrase", ["the epoch after the flip", "it rings for workers", "a table with missing rights", "To know", "begin anew"]
)
def test_the_phrases_are_found(phrase: str) -> None:
    """Would break: a list of phrases that finds none of them, or only those of pages."""
    assert banned(iter([(1, phrase)])) and banned(
        of_python(f'x = f"{phrase} {{x}}"  # y\n') if phrase != "To know" else iter([(1, phrase)])
    )
