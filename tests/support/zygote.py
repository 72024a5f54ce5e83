"""Runs commands in forks of a process that has everything imported: a real process each, without a second of imports.

Reads orders from stdin, a line of JSON each: `argv`, `env`, `cwd`, `out`, `err`; answers each with its exit code.
"""

from __future__ import annotations

import atexit
import json
import os
import pkgutil
import sys
import traceback
from typing import Any

import sync.commands
from sync import failpoints
from sync.__main__ import run
from sync.cli import import_command


def main() -> None:
    """Serve until stdin ends; each order is a fork."""
    for found in pkgutil.iter_modules(sync.commands.__path__):
        import_command(found.name)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            command(json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def command(order: dict[str, Any]) -> None:
    """Become the command."""
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, order["out"], os.O_WRONLY), (2, order["err"], os.O_WRONLY)):
        os.dup2(os.open(path, flags), number)
    os.environ.clear()
    os.environ.update(order["env"])
    failpoints._PLAN.update(failpoints.planned(order["env"].get("SYNC_FAILPOINTS", "")))
    os.chdir(order["cwd"])
    sys.argv = ["sync", *order["argv"]]
    code = 1
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    finally:
        if sys.exception():
            traceback.print_exc()
        # Skips the interpreter's own shutdown, which takes ten times as long as most commands.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
