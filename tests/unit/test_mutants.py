"""The mutants of `make rules`: the code that each replaces is there, once, and so is the test that must notice."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS = runpy.run_path(str(ROOT / "tests/rules/mutants.py"))["MUTANTS"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.rule}: {m.without}")
def test_what_is_taken_out_is_there(mutant: Any) -> None:
    """Would break: `make rules`, at its first run after somebody has moved a line, hours after the change."""
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old
    tests = (ROOT / mutant.tests.split("::")[0]).read_text(encoding="utf-8")
    words = [word for word in mutant.test.replace("(", " ").replace(")", " ").split() if word not in ("and", "or", "not")]
    assert any(word in tests for word in words)
