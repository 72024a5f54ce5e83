"""The feed: keys that the data topics of change data capture tell of, with a position and gaps."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from io import BytesIO
from threading import Event
from typing import Any

from sync.adapters.pulsar.connection import explained, load_pulsar, open_client
from sync.adapters.pulsar.partition import Partition
from sync.adapters.pulsar.pulsar_settings import PulsarSettings
from sync.core.capture.cdc_keys import NotAKey, changed_keys, key_schema
from sync.core.capture.changes import ChangeBatch, ChangedKey, Gap
from sync.core.capture.feed_places import Place, from_position, to_position
from sync.core.cutover.followers import PULSAR_FEED
from sync.core.rows import SourceTable
from sync.errors import PreflightError, UnreachableNow

_MOST = 1000
"""Changes of one batch."""
_YIELD_SECONDS, _IDLE_SECONDS, _AWAY_SECONDS, _PARTITIONS_SECONDS = 0.5, 0.05, 600.0, 60.0
_MICROSECONDS = re.compile(r"-?[0-9]{1,18}")
_BAD_AVRO = (EOFError, ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError)


class KeyReader:
    """Reads the key of a table's messages."""

    def __init__(self, table: SourceTable) -> None:
        from fastavro import parse_schema, schemaless_reader

        self._table, self._read, self._schema = table, schemaless_reader, parse_schema(key_schema(table))

    def changes(self, key: str, properties: Mapping[str, str], received_at: float) -> tuple[ChangedKey, ...]:
        """The keys that a message tells of; `key` is its partition key. Raises NotAKey."""
        try:
            source = BytesIO(base64.b64decode(key, validate=True))
            record: Any = self._read(source, self._schema, None)
        except (binascii.Error, *_BAD_AVRO):
            raise NotAKey(f"{self._table.name}: a key is not an Avro record of the primary key") from None
        if source.read(1):
            raise NotAKey(f"{self._table.name}: a key holds more than the primary key")
        return changed_keys(self._table, record, _write_time(properties), received_at)


def _write_time(properties: Mapping[str, str]) -> int | None:
    """When the event was written, in µs; None if the message does not say."""
    text = properties.get("writetime", "")
    return int(text) if _MICROSECONDS.fullmatch(text) else None


class PulsarKeys:
    """A feed (`ChangedKeys`) of topics, each of one table. `tables`: by topic.

    Everything told is recorded by whoever asks for the next batch: until then the server keeps the messages.
    """

    def __init__(self, settings: PulsarSettings, tables: Mapping[str, SourceTable]) -> None:
        self.name = f"{PULSAR_FEED}{settings.sync_pulsar_subscription}"
        self._settings, self._readers = settings, {topic: KeyReader(table) for topic, table in tables.items()}
        self._tables = tables
        self._closed = Event()
        self._told = 0.0

    def close(self) -> None:
        """Let the iterator end after its next batch."""
        self._closed.set()

    def batches(self, position: str | None) -> Iterator[ChangeBatch]:
        """See `ChangedKeys`. Raises SettingsError, PreflightError, Unreachable; UnreachableNow for what may pass."""
        try:
            places = from_position(position)
        except ValueError:
            raise PreflightError(f"the feed {self.name!r} has a position that is not of Pulsar's topics") from None
        with ExitStack() as stack:
            client = stack.enter_context(open_client(self._settings))
            topics = _Topics(self._settings, client, self._readers, places)
            while not self._closed.is_set():
                topics.look_for_partitions()
                yield self._batch(topics)
                for _, partition in topics.partitions:
                    partition.was_recorded()

    def _batch(self, topics: _Topics) -> ChangeBatch:
        """What comes within a second, or as much as a batch holds."""
        changes: list[ChangedKey] = []
        gaps: list[Gap] = []
        end = time.monotonic() + _YIELD_SECONDS
        while len(changes) < _MOST and time.monotonic() < end:
            found = self._receive(topics, changes, gaps)
            if not found and (changes or gaps or self._closed.wait(_IDLE_SECONDS)):
                break
        told = topics.told_until
        if told is not None:
            self._told = max(self._told, told)
        return ChangeBatch(tuple(changes), tuple(gaps), to_position(topics.places), self._told)

    def _receive(self, topics: _Topics, changes: list[ChangedKey], gaps: list[Gap]) -> bool:
        """Take what each partition has, as long as the batch has room. Whether there was anything."""
        found = False
        for topic, partition in topics.partitions:
            table = self._tables[topic].name
            with explained(self._settings, topic):
                while len(changes) < _MOST and (message := partition.receive()) is not None:
                    found = True
                    try:
                        changes += self._readers[topic].changes(message.partition_key(), message.properties(), time.time())
                    except NotAKey as error:
                        gaps.append(Gap(table, time.time(), f"{topic}: {error}; the topic's format must be key-value-avro"))
            if partition.lost:
                gaps.append(Gap(table, time.time(), f"{topic}: {partition.lost}"))
                partition.lost, found = "", True
            if partition.away_seconds > _AWAY_SECONDS:
                raise UnreachableNow(
                    f"{self._settings.server}: {topic}: the connection has been broken for {_AWAY_SECONDS:.0f} s"
                )
        return found


class _Topics:
    """The partitions of all topics; new ones are found while it runs."""

    def __init__(
        self, settings: PulsarSettings, client: Any, readers: Mapping[str, KeyReader], places: dict[str, Place]
    ) -> None:
        self._pulsar, self._settings, self._client, self._readers = load_pulsar(), settings, client, readers
        self._places = places
        self._open: dict[str, tuple[str, Partition]] = {}
        self._next_look = 0.0

    @property
    def partitions(self) -> list[tuple[str, Partition]]:
        """Each with its topic."""
        return list(self._open.values())

    @property
    def places(self) -> dict[str, Place]:
        """The last message of each partition, those of earlier starts included."""
        return self._places | {name: p.seen for name, (_, p) in self._open.items() if p.seen is not None}

    @property
    def told_until(self) -> float | None:
        """The moment up to which every partition has told everything; None if one has not yet."""
        told = [partition.told_until for _, partition in self._open.values()]
        known = [moment for moment in told if moment is not None]
        return min(known) if known and len(known) == len(told) else None

    def look_for_partitions(self) -> None:
        """Subscribe to partitions that are not subscribed to yet; asks the server at most once a minute."""
        if time.monotonic() < self._next_look:
            return
        for topic in self._readers:
            with explained(self._settings, topic):
                for name in self._client.get_topic_partitions(topic):
                    if name not in self._open:
                        partition = Partition(self._pulsar, self._subscribe(name), self._places.get(name))
                        partition.begin()
                        self._open[name] = topic, partition
        self._next_look = time.monotonic() + _PARTITIONS_SECONDS

    def _subscribe(self, name: str) -> Any:
        """A durable subscription of ours alone: the server keeps what it has not acknowledged, without a retention."""
        return self._client.subscribe(
            name,
            self._settings.sync_pulsar_subscription,
            consumer_type=self._pulsar.ConsumerType.Exclusive,
            initial_position=self._pulsar.InitialPosition.Earliest,
        )
