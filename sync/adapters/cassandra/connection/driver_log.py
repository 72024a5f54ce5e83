"""The driver's log: errors that are raised are not also logged, nor is an unreachable node logged at every retry."""

from __future__ import annotations

import logging
import time

_RAISED = ("cluster", "connection", "datastax.cloud")
_AGAIN_SECONDS = 600.0


class _Throttle(logging.Filter):
    """Passes the same message about the same node once in ten minutes."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple) or not record.args:
            return True
        what, now = (str(record.msg), str(record.args[0])), time.monotonic()
        if now - self._said.get(what, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return False
        self._said[what] = now
        return True


_THROTTLE = _Throttle()


def quiet_driver() -> None:
    """Quiet the driver's log in this process; may be called again."""
    for name in _RAISED:
        # These also log what the driver raises, with a traceback; the error that we make of it is one line.
        logging.getLogger(f"cassandra.{name}").setLevel(logging.CRITICAL)
    for name in ("pool", "protocol"):  # the latter logs a server's warnings, a guardrail's with every page
        logging.getLogger(f"cassandra.{name}").addFilter(_THROTTLE)
