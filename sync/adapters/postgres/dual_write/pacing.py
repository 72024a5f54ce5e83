"""How soon a writer reads the epoch again: the longer writes have waited for a switch, the later, within bounds."""

from __future__ import annotations

import time

CALM_SECONDS = 0.25
_SOONEST_SECONDS, _LATEST_SECONDS, _SHARE_OF_WAIT = 0.01, 0.05, 0.1


class Pacing:
    """A tenth of the time that writes have waited. Announcing a switch makes no write wait; closing the epoch does."""

    def __init__(self) -> None:
        self._closed_since: float | None = None

    def seconds(self, is_open: bool) -> float:
        """How many seconds to wait before the epoch is read again."""
        if is_open:
            self._closed_since = None
            return CALM_SECONDS
        self._closed_since = self._closed_since or time.monotonic()
        waited = time.monotonic() - self._closed_since
        return min(max(waited * _SHARE_OF_WAIT, _SOONEST_SECONDS), _LATEST_SECONDS)
