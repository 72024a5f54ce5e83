"""Named places where a test ends or delays the process: `SYNC_FAILPOINTS="backfill.before_commit=kill:3"`.

`kill:n` sends SIGKILL at the n-th passage; `sleep:s` waits that many seconds at each. Unset, a failpoint costs one test.
"""

from __future__ import annotations

import os
import signal
import time

_PLAN: dict[str, str] = dict(
    entry.split("=", 1) for entry in os.environ.get("SYNC_FAILPOINTS", "").split(",") if "=" in entry
)
_passed: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Do here what SYNC_FAILPOINTS says of this place, if anything."""
    if not _PLAN or name not in _PLAN:
        return
    action, _, argument = _PLAN[name].partition(":")
    _passed[name] = _passed.get(name, 0) + 1
    if action == "sleep":
        time.sleep(float(argument))
    elif action == "kill" and _passed[name] == int(argument or 1):
        os.kill(os.getpid(), signal.SIGKILL)
