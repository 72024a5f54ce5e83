"""The benchmark's rows are the same every time, valid, and of the size that its title says."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from benchmarks import rows
from benchmarks.dataset import TABLES
from benchmarks.expected import Verdict, decoded_rows
from benchmarks.report import Goal


@pytest.mark.parametrize("name", TABLES)
def test_a_row_depends_on_its_number_alone(name: str) -> None:
    """Loaders share the work by blocks, and the comparison makes the rows again."""
    make = TABLES[name].make
    assert list(make(3, 50)) == list(islice(make(3, 1000), 50))
    assert next(make(3, 1)) != next(make(4, 1))


def test_keys_differ() -> None:
    """A key made twice would be one row less in both databases."""
    keys = {cells[0] for block in range(5) for cells in rows.songs(block)}
    assert len(keys) == 5 * rows.BLOCK


def test_songs_decode_and_have_realistic_texts() -> None:
    """Every text is UTF-8 without NUL and at most 120 characters long; maps hold 2 to 6 entries."""
    for row in decoded_rows(TABLES["songs"], 2_000):
        texts = row[1:6]
        assert all("\0" not in text and len(text) <= 120 for text in texts)
        assert 10 <= len(texts[4]) <= 120
        assert 2 <= len(row[8].obj) <= 6
        assert row[9] <= row[10]


def test_vectors_are_finite_and_of_one_length() -> None:
    """No NaN unless asked for."""
    for row in decoded_rows(TABLES["embeddings"], 200):
        vector = row[2].to_numpy()
        assert vector.shape == (rows.DIMENSION,)
        assert np.isclose(np.linalg.norm(vector), 1, atol=1e-4)


@pytest.mark.parametrize("name", TABLES)
def test_dirty_rows_are_one_in_fifty(name: str) -> None:
    """Their keys are never changed."""
    make = TABLES[name].make
    pairs = list(zip(make(0, 1000), rows.dirty(make)(0, 1000), strict=True))
    assert sum(clean != odd for clean, odd in pairs) == 20
    assert all(clean[0] == odd[0] for clean, odd in pairs)


def test_a_verdict_names_what_is_wrong() -> None:
    """A way that loses or alters rows is reported as such."""
    assert str(Verdict(10, 0, 0, 0)) == "10 equal"
    assert str(Verdict(9, 1, 0, 2)) == "9: 1 missing, 0 extra, 2 different"


def test_a_goal_that_was_not_measured_is_not_reached() -> None:
    """A missing figure is neither reached nor missed."""
    assert Goal("songs", "", None, 3, True).reached is None
    assert Goal("songs", "", 3.1, 3, True).reached is True
    assert Goal("songs", "", 0.3, 0.25, False).reached is False
