"""`make check`, `make test` and `make test-slow` together: every test once."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = ("check", "test", "test-slow")
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py"))
CONTENT = """import pytest

def test_quick(): ...

@pytest.mark.slow
def test_slow(): ...
"""


def arguments(target: str) -> list[str]:
    """What this target of the Makefile gives to pytest."""
    (found,) = re.findall(
        rf"^{target}:.*\n(?:\t.*\n)*?\t\$\(BIN\)/pytest (.*)\n", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    return [word for word in shlex.split(found) if word not in ("-q", "$(PARALLEL)")]


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """By target: the tests that it collects, if each of our files had a quick one and a slow one."""
    folder = tmp_path_factory.mktemp("targets")
    (folder / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for file in FILES:
        (folder / file.parent).mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(CONTENT)
    return {target: collect(folder, arguments(target)) for target in TARGETS}


def collect(folder: Path, given: list[str]) -> set[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", *given]
    bare = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins take most of the time
    done = subprocess.run([*command, "-q"], cwd=folder, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return set(re.findall(r"^(tests/\S+::\S+)$", done.stdout, re.MULTILINE))


def test_every_test_is_in_one_target(collected: dict[str, set[str]]) -> None:
    """Would break: a test that no target runs any more, or that two targets run."""
    times = Counter(test for target in TARGETS for test in collected[target])
    assert set(times) == {f"{file}::{test}" for file in FILES for test in ("test_quick", "test_slow")}
    assert set(times.values()) == {1}


def test_each_target_has_its_kind(collected: dict[str, set[str]]) -> None:
    """Would break: a slow test, or one that needs a server, is in a target that should be quick."""
    assert all(test.startswith("tests/unit/") and test.endswith("quick") for test in collected["check"])
    assert all(not test.startswith("tests/unit/") and test.endswith("quick") for test in collected["test"])
    assert all(test.endswith("slow") for test in collected["test-slow"])


def test_what_a_submission_must_pass_is_all_three() -> None:
    """Would break: a target that nothing runs before a change is accepted."""
    assert f"for target in {' '.join(TARGETS)}; do" in (ROOT / ".ci" / "run").read_text()
