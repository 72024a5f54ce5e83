"""Secrets and planted values in what tests' processes print, and in log lines, are noticed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import SECRET
from support.leaks import LEAKS

pytestmark = pytest.mark.leaks
SAYS = f"import sys; print('a {SECRET[:3]}' + '{SECRET[3:]} b', file=sys.{{}})"


def test_what_a_process_prints(tmp_path: Path) -> None:
    """Would break: the rule for all tests looks at nothing."""
    for stream in ("stdout", "stderr"):
        subprocess.run([sys.executable, "-c", SAYS.format(stream)], capture_output=True, check=True)
        (found,) = LEAKS.look()
        assert SECRET not in found
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", SAYS.format("stderr")], stderr=log, check=True)
        assert [one.endswith(": stderr") for one in LEAKS.look()] == [True]
        subprocess.run([sys.executable, "-c", "print('all is well')"], stdout=log, check=True)
    assert LEAKS.look() == []


def test_what_goes_to_the_tests_own_output(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """Would break: a writer's process, whose stderr is this process's, is looked at by nobody."""
    (tmp_path / "conftest.py").write_text("from support import leaks\nfrom support.leaks import *\nleaks.watch()\n")
    (tmp_path / "test_it.py").write_text(
        f"import subprocess, sys\ndef test_one(): subprocess.run([sys.executable, '-c', {SAYS.format('stderr')!r}])\n"
        "def test_two(): ...\n"
    )
    env = {**os.environ, "PYTHONPATH": str(pytestconfig.rootpath / "tests"), "PYTEST_ADDOPTS": ""}  # this run's own
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "2 passed, 1 error" in done.stdout, done.stdout
    assert "was printed by ['what pytest captured in call of test_one']" in done.stdout


def test_a_password_of_its_environment() -> None:
    """Would break: only made-up passwords are looked for."""
    code, env = "import os; print(os.environ['POSTGRES_PASSWORD'])", {"POSTGRES_PASSWORD": "generated-word"}
    subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert len(LEAKS.look()) == 1


def test_what_a_log_line_says() -> None:
    """Would break: a store's log is looked at by nobody."""
    log = logging.getLogger("sync.somewhere")
    log.warning("all is well")
    assert LEAKS.look() == []
    log.warning("it was %s", f"{SECRET}-private")
    assert len(LEAKS.look()) == 2, "as text and as JSON"
    try:
        raise ValueError(f"{SECRET}-private")
    except ValueError:
        log.exception("it failed")
    (found,) = LEAKS.look()
    assert "(Formatter)" in found, "JSON has no exception's text"
