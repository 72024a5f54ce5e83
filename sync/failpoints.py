"""Named places where a test ends or delays the process: `SYNC_FAILPOINTS="backfill.before_commit=kill:3"`.

`kill:n` sends SIGKILL at the n-th passage, `stop:n` SIGSTOP; `sleep:s` waits that many seconds at each. Unset, a failpoint
costs one test.
"""

from __future__ import annotations

import os
import signal
import time


def planned(text: str) -> dict[str, str]:
    """What SYNC_FAILPOINTS says, by place."""
    return dict(entry.split("=", 1) for entry in text.split(",") if "=" in entry)


_PLAN = planned(os.environ.get("SYNC_FAILPOINTS", ""))
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
    elif action == "stop" and _passed[name] == int(argument or 1):
        os.kill(os.getpid(), signal.SIGSTOP)
