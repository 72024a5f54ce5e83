"""Gathers the pages for the site: README.md becomes its front page, docs/ what is below it; links follow.

`python docs/make_site.py` fills `.site/pages` again; `zensical build` makes `.site/html` of it: `make docs` does both.
A link to a file of the repository that is no page leads to a copy of it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / ".site" / "pages"
_TOP = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[\w-]+)?\))")
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def place(source: str) -> str:
    """Where a file of the repository is in the site."""
    if source in _TOP:
        return _TOP[source]
    return source.removeprefix("docs/") if source.startswith("docs/") else f"repository/{source}"


def with_links(text: str, source: str) -> tuple[str, set[str]]:
    """A page's text with the site's links, and the repository's files that it links to."""
    linked: set[str] = set()

    def link(match: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", match[2]):
            return match[0]
        target = os.path.normpath(Path(source).parent / match[2])
        target = f"{target}/README.md" if (ROOT / target).is_dir() else target
        linked.add(target)
        return match[1] + os.path.relpath(place(target), Path(place(source)).parent) + match[3]

    parts = _CODE.split(text)  # code at the odd places
    return "".join(part if i % 2 else _LINK.sub(link, part) for i, part in enumerate(parts)), linked


def indented(text: str) -> str:
    """What belongs to an item of a list is indented by four, as the generator needs it; GitHub takes less."""
    lines, fence, more = [], False, 0
    for line in text.splitlines():
        column = len(line) - len(line.lstrip())
        if not fence:
            more = 4 - column if column in (2, 3) else 0
        lines.append(" " * more + line if line else line)
        fence ^= line.lstrip().startswith("```")
    return "\n".join(lines) + "\n"


def sources() -> list[str]:
    """The pages: those of the repository's top, and all of docs/."""
    return sorted([*_TOP, *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))])


def main() -> None:
    """Fill the folder again."""
    shutil.rmtree(TARGET, ignore_errors=True)
    waiting, done = sources(), set[str]()
    while waiting:
        source = waiting.pop()
        done.add(source)
        target = TARGET / place(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.endswith(".md"):
            text, linked = with_links((ROOT / source).read_text(encoding="utf-8"), source)
            target.write_text(indented(text), encoding="utf-8")
            waiting += [name for name in linked - done if name not in waiting and (ROOT / name).is_file()]
        else:
            shutil.copy(ROOT / source, target)
    sys.stdout.write(f"{len(done)} files in {TARGET.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
