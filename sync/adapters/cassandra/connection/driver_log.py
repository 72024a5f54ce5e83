"""The driver's log: what is raised is not logged as well, and an unreachable node is logged once, not at every retry."""

from __future__ import annotations

import logging
import time

_RAISED = ("cluster", "connection", "datastax.cloud")
_AGAIN_SECONDS = 600.0


class _Throttle(logging.Filter):
    """One line in ten minutes for what the driver says of a node."""

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
    """For this process; may be called again."""
    for name in _RAISED:
        # These log what the driver raises as well, with a traceback; the error that is made of it is one line.
        logging.getLogger(f"cassandra.{name}").setLevel(logging.CRITICAL)
    for name in ("pool", "protocol"):  # the latter tells a server's warnings, a guardrail's with every page
        logging.getLogger(f"cassandra.{name}").addFilter(_THROTTLE)
