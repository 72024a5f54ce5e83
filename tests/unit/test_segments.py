"""Segments of Cassandra's protocol 5 that come from the network in any pieces."""

from __future__ import annotations

import io
import os
import random
import struct
from typing import Any

import pytest
from cassandra.connection import _ConnectionIOBuffer
from cassandra.segment import Segment, SegmentCodec

from sync.adapters.cassandra.connection.wide import WideConnection


class Connection(WideConnection):
    """One without a socket, which keeps what it is sent."""

    def __init__(self, codec: SegmentCodec) -> None:
        self.protocol_version, self._is_checksumming_enabled, self._segment_codec = 5, True, codec
        self._io_buffer = _ConnectionIOBuffer(self)
        self._io_buffer.set_checksumming_buffer()
        self._current_frame = None
        self.endpoint: Any = "here"
        self.bodies: list[bytes] = []

    def process_msg(self, header: Any, body: bytes) -> None:
        self.bodies.append(body)

    def come(self, piece: bytes) -> None:
        self._iobuf.write(piece)
        self.process_io_buffer()


def halved(data: bytes) -> bytes:
    """A compressor, as the driver calls it, for bytes that are all alike; of others it makes them longer."""
    return struct.pack(">i", len(data)) + (data[:1] if len(set(data)) == 1 else data + b"!")


def whole(data: bytes) -> bytes:
    return data[4:5] * struct.unpack(">i", data[:4])[0]


CODECS = [pytest.param(SegmentCodec, id="plain"), pytest.param(lambda: SegmentCodec(halved, whole), id="compressed")]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 9, 13, 1448, 16384])
def test_messages_come_whole_in_pieces_of_any_size(codec: Any, size: int) -> None:
    """Would break: "CRC mismatch" cuts the connection wherever a piece ends within a header, and its requests are unsure."""
    dice = random.Random(size)
    bodies = [os.urandom(dice.choice([1, 10, 300])) for _ in range(40)] + [
        b"a" * 200,
        os.urandom(3 * Segment.MAX_PAYLOAD_LENGTH),
        b"end",
    ]
    sent, used = io.BytesIO(), codec()
    for body in bodies:
        used.encode(sent, struct.pack(">BBhBi", 0x85, 0, 1, 8, len(body)) + body)
    connection, data = Connection(codec()), sent.getvalue()
    for at in range(0, len(data), size):
        connection.come(data[at : at + size])
    assert connection.bodies == bodies
