"""docs/reference/ is what docs/make_reference.py makes of the models, the parser and the docstrings as they are."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MAKER = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
PAGES: dict[str, str] = MAKER["pages"]()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_what_the_program_says(name: str) -> None:
    """Would break: a default, an option or a method differs between the reference and the program (`make docs`)."""
    assert (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8") == PAGES[name]


def test_no_other_page_is_there() -> None:
    """Would break: a page that nothing keeps true."""
    assert {path.name for path in (ROOT / "docs" / "reference").glob("*.md")} == set(PAGES)


@pytest.mark.parametrize("section", ["cutover", "environment", "exit_codes"])
def test_a_meaning_of_nothing_is_an_error(section: str) -> None:
    """Would break: the meaning of a setting that was renamed stays, and the new name has none."""
    meanings: Any = MAKER["Meanings"]()
    meanings._data[section]["gone"] = {"0": "done"} if section == "exit_codes" else "what is no more"
    meanings._left.add((section, "gone"))
    with pytest.raises(ValueError, match="gone"):
        MAKER["settings_page"](meanings)
        MAKER["commands_page"](meanings)
        meanings.check()


def test_a_setting_without_a_meaning_is_an_error() -> None:
    """Would break: the reference lists a new setting without an explanation."""
    meanings: Any = MAKER["Meanings"]()
    del meanings._data["drift"]["tries"]
    with pytest.raises(KeyError, match="tries"):
        MAKER["settings_page"](meanings)
