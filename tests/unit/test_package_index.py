"""Each package's docstring is its index: a line a module, and no line for what is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for path in (ROOT / "sync").rglob("__init__.py"))
_LINE = re.compile(r"^(\w+/?) {2,}(\S.*)$", re.MULTILINE)


def listed(docstring: str) -> list[str]:
    """What an index names: modules, and packages followed by a slash."""
    return [name for name, _ in _LINE.findall(docstring)]


def there(package: Path) -> set[str]:
    """The same for what the folder holds."""
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    return modules | {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_docstring_is_the_index(package: Path) -> None:
    """Would break: a module that nobody finds, or one that was moved and is still listed."""
    names = listed(ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) or "")
    assert len(names) == len(set(names))
    assert set(names) == there(package)


def test_an_index_that_is_wrong_is_found(tmp_path: Path) -> None:
    """Would break: the test above compares nothing."""
    (tmp_path / "inner").mkdir()
    for name in ("__init__.py", "one.py", "inner/__init__.py"):
        (tmp_path / name).write_text("")
    assert there(tmp_path) == {"one", "inner/"}
    assert listed("What it is.\n\nPart\n\none     does one  thing\ninner/  more\na line of prose") == ["one", "inner/"]
