"""The code's budget, by ast: short files, short functions."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("sync", "workers") for path in (ROOT / folder).rglob("*.py"))
MAX_LINES_OF_A_FILE, MAX_LINES_OF_A_FUNCTION, USUAL_LINES, SHARE = 300, 60, 20, 0.9


def _functions() -> dict[str, int]:
    """Every function and method with its lines, from `def` to its end."""
    found = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                found[name] = (node.end_lineno or node.lineno) - node.lineno + 1
    return found


def test_files_are_short() -> None:
    """Would break: a module that does two things."""
    lines = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert len(lines) > 50
    assert not {name: count for name, count in lines.items() if count > MAX_LINES_OF_A_FILE}


def test_no_function_is_long() -> None:
    """Would break: a function that nobody reads to its end."""
    assert not {name: count for name, count in _functions().items() if count > MAX_LINES_OF_A_FUNCTION}


def test_nine_functions_in_ten_are_short() -> None:
    """Would break: length that creeps in everywhere."""
    functions = _functions()
    longer = {name: count for name, count in functions.items() if count > USUAL_LINES}
    assert len(longer) <= (1 - SHARE) * len(functions), f"{len(longer)} of {len(functions)}: {longer}"
