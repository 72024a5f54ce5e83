"""docs/make_site.py: the site's pages are the repository's, with links that lead to the same places."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MAKER: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "make_site.py"))


def test_links_follow_the_pages() -> None:
    """Would break: the front page's links into docs/, or a page's link back to it, lead nowhere."""
    text, linked = MAKER["with_links"]("[a](docs/drift.md#repair) [b](https://x.test/) `[c](docs/types.md)`", "README.md")
    assert text == "[a](drift.md#repair) [b](https://x.test/) `[c](docs/types.md)`"
    assert linked == {"docs/drift.md"}
    text, _ = MAKER["with_links"]("[a](../README.md#limits) [b](rules.md) [c](../docker-compose.yml)", "docs/guide.md")
    assert text == "[a](index.md#limits) [b](rules.md) [c](repository/docker-compose.yml)"


def test_every_link_of_every_page_has_its_file() -> None:
    """Would break: a page of the site links to one that is not in it."""
    for source in MAKER["sources"]():
        _, linked = MAKER["with_links"]((ROOT / source).read_text(encoding="utf-8"), source)
        assert [target for target in linked if not (ROOT / target).is_file()] == [], source


def test_what_belongs_to_an_item_stays_in_it() -> None:
    """Would break: a numbered list that begins again after a block of code, in the site alone."""
    given = "1. One:\n   ```sh\n   make docs\n     deeper\n   ```\n\n2. Two\n\n```text\n  as it is\n```\n"
    wanted = "1. One:\n    ```sh\n    make docs\n      deeper\n    ```\n\n2. Two\n\n```text\n  as it is\n```\n"
    assert MAKER["indented"](given) == wanted
