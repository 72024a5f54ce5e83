"""One partition of a topic: what it sends, what of it is lost, up to when it has told everything.

The server keeps what is behind the subscription's mark. The mark stays one entry behind what is recorded: the entry recorded
last is sent again after each connect, and so shows that nothing was dropped behind it, by a TTL or a quota, for example.
"""

from __future__ import annotations

import time
from typing import Any

from sync.core.capture.feed_places import Place

_WITNESS_SECONDS = 10.0
"""How long after a connect the first message may take to come."""
_STALE_SECONDS = 60.0
"""A message that the server has, and has not sent for so long to a consumer that waits for it, is dropped."""
_GONE = "what the topic held behind the message recorded last is gone"
_MARK_SECONDS, _EMPTY_SECONDS = 0.3, 1.0
"""How often the topic's end is asked for; how long an empty topic must stay so to count as told."""
_TRIES_MS = 1


class Partition:
    """`recorded`: the place of the last message that Postgres has; None at the first start."""

    def __init__(self, pulsar: Any, consumer: Any, recorded: Place | None) -> None:
        self._pulsar, self._consumer = pulsar, consumer
        self.seen = self._expected = recorded
        self._since = time.monotonic()
        self._is_connected = True
        self._last: Any = None
        self._before_last: Any = None
        self._mark: tuple[float, float, tuple[int, int]] | None = None
        self._next_mark = 0.0
        self._told: float | None = None
        self.lost = ""

    def begin(self) -> None:
        """Look whether the topic is still the one that was read. Raises the client's errors."""
        end = place_of(self._consumer.get_last_message_id()).whole
        if self.seen is not None and end[1] >= 0 and end < self.seen.whole:
            self.lost, self.seen, self._expected = "the topic was made again since it was read", None, None

    @property
    def told_until(self) -> float | None:
        """Everything that was in the topic before this moment has been received; None before the first such moment."""
        return self._told

    @property
    def away_seconds(self) -> float:
        """How long it has been without a connection."""
        return 0.0 if self._is_connected else time.monotonic() - self._since

    def receive(self) -> Any | None:
        """The next message that is new; None if none is there. `lost` says why some are missing before it, or nothing."""
        while True:
            try:
                message = self._consumer.receive(timeout_millis=_TRIES_MS)
            except self._pulsar.Timeout:
                self._look()
                return None
            if self._is_new(message):
                return message

    def _is_new(self, message: Any) -> bool:
        place = place_of(message.message_id())
        expected, self._expected = self._expected, None
        if expected is not None:
            if place.whole > expected.whole and expected.is_followed_by(place) is not True:
                self.lost = _GONE
        elif self.seen is not None and place.whole > self.seen.whole and self.seen.is_followed_by(place) is False:
            self.lost = "messages of the topic were dropped before they were read"
        if self.seen is not None and place <= self.seen:
            return False
        if self._last is not None and place.whole > place_of(self._last).whole:
            self._before_last = self._last
        self._last, self.seen = message.message_id(), place
        return True

    def _look(self) -> None:
        """Nothing is there at the moment: what that says."""
        connected = bool(self._consumer.is_connected())
        if connected != self._is_connected:
            self._is_connected, self._since = connected, time.monotonic()
            self._expected, self._mark = self.seen, None
        if not connected:
            return
        if self._expected is not None:
            self._settle(self._expected)
        elif self._mark is None:
            if time.monotonic() >= self._next_mark:
                self._next_mark, at, asked = time.monotonic() + _MARK_SECONDS, time.time(), time.monotonic()
                end = self._end()
                self._mark = None if end is None else (at, asked, end)
        else:
            self._reach(*self._mark)

    def _settle(self, expected: Place) -> None:
        """The entry recorded last has not come again: if it is the topic's last one, nothing was lost with it."""
        if time.monotonic() - self._since < _WITNESS_SECONDS:
            return
        end = self._end()
        if end is None:
            return
        if end != expected.whole:
            self.lost = _GONE
            self.seen = Place(*end) if end[1] >= 0 else expected
        self._expected = None

    def _reach(self, at: float, asked: float, end: tuple[int, int]) -> None:
        reached = self.seen is not None and self.seen.whole >= end
        if not reached and end[1] >= 0 and time.monotonic() - asked < _STALE_SECONDS:
            return
        if not reached and end[1] >= 0:
            self.lost = "messages of the topic were dropped before they were read"
            self.seen = Place(*end)
        if end[1] >= 0 or time.monotonic() - asked >= _EMPTY_SECONDS:
            self._told, self._mark = at, None

    def _end(self) -> tuple[int, int] | None:
        """The last entry of the topic; None if the server does not say now."""
        try:
            return place_of(self._consumer.get_last_message_id()).whole
        except self._pulsar.PulsarException:
            return None  # the next look asks again; until then nothing counts as told

    def was_recorded(self) -> None:
        """What was received is in Postgres: the server need not keep it, but for the last entry."""
        before, self._before_last = self._before_last, None
        if before is None:
            return
        try:
            self._consumer.acknowledge_cumulative(before)
        except self._pulsar.PulsarException:
            self._before_last = self._before_last or before  # it comes again, and the next time it is acknowledged


def place_of(message_id: Any) -> Place:
    """A message's place."""
    return Place(message_id.ledger_id(), message_id.entry_id(), message_id.batch_index())
