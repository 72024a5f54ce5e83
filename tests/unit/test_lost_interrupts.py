"""Ctrl-C ends a command wherever it meets it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal, sys, time
from sync import cli

class Late:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the handler raises somewhere here, where Python can only print what is raised
            pass

def waits(argv):
    Late()
    time.sleep(60)
    return 0

cli._main = waits
try:
    sys.exit(cli.main([]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_that_meets_a_destructor_is_not_lost() -> None:
    """Would break: Ctrl-C prints a traceback of a driver's, and the command goes on."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_other_errors_in_destructors_are_told() -> None:
    """Would break: a fault is hidden with them."""
    program = (
        "from sync import cli\nclass Late:\n    def __del__(self): 1 / 0\n"
        "def ends(argv):\n    Late()\n    return 0\ncli._main = ends\ncli.main([])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert "ZeroDivisionError" in done.stderr
