"""Plugins of tests (`pytest_plugins = …`) are global in a run: a fixture's name belongs to one of them."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"


def fixtures(source: str) -> Iterator[str]:
    """The names of a module's fixtures."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
                if ast.unparse(call.func) == "pytest.fixture":
                    names = [ast.literal_eval(each.value) for each in call.keywords if each.arg == "name"]
                    yield names[0] if names else node.name


def said_twice(sources: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Names of fixtures that several modules define, with these modules."""
    found = defaultdict(list)
    for module, source in sources:
        for name in fixtures(source):
            found[name].append(module)
    return {name: modules for name, modules in found.items() if len(modules) > 1}


def test_a_fixture_is_in_one_plugin() -> None:
    """Would break: which of two a test gets depends on what else is collected; alone it passes, in the whole run it fails."""
    assert said_twice((path.name, path.read_text("utf-8")) for path in sorted(SUPPORT.glob("*.py"))) == {}


def test_a_fixture_of_two_plugins_is_found() -> None:
    """Would break: the test above compares nothing."""
    one = "import pytest\n\n@pytest.fixture(scope='module', name='home')\ndef _home():\n    pass\n"
    two = "import pytest\n\n@pytest.fixture\ndef home():\n    pass\n\n@pytest.fixture\ndef other():\n    pass\n"
    assert said_twice([("one", one), ("two", two)]) == {"home": ["one", "two"]}
