"""Every file of named SQL is read as it was meant: a comment's second line that looks like a header cuts a statement in two."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import sync.adapters.postgres
from sync.adapters.postgres.connection.queries import _HEADER, queries

ROOT = Path(sync.adapters.postgres.__file__).parent
FILES = sorted(f"{path.parent.parent.name}/{path.stem}" for path in ROOT.glob("*/sql/*.sql"))


@pytest.mark.parametrize("file", FILES)
def test_every_name_has_one_statement(file: str) -> None:
    room, name = file.split("/")
    names = Counter(_HEADER.findall((ROOT / room / "sql" / f"{name}.sql").read_text(encoding="utf-8")))
    assert not [each for each, count in names.items() if count > 1]
    empty = [each for each, text in queries(file).items() if all(line.startswith("--") for line in text.splitlines())]
    assert not empty, f"{file}: {empty}"
