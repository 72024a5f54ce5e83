"""The driver's connection, as it should be: fit for pages and rows of megabytes, and for any network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cassandra.cluster import Cluster
from cassandra.connection import Timer, defunct_on_error
from cassandra.protocol import ErrorMessage
from cassandra.segment import CRC32_LENGTH, Segment

from sync.adapters.cassandra.connection.roles import RolesUnavailable, unknown_role

_READ_BUFFER = 1 << 18  # the driver's own 4 kB costs a system call and a Python loop for every 4 kB of a page
_MAX_WAITING = 1 << 26  # bytes of requests that wait for the socket: some of the largest rows


class _Timer(Timer):  # type: ignore[misc]
    """A request's timer that drops the request when that has ended.

    The driver's own keeps it, and the request its timer: pages of a megabyte would stay until the garbage collector comes.
    """

    def cancel(self) -> None:
        """Also where the time is just up: what is called then does nothing."""
        super().cancel()
        self.callback = _nothing


def _nothing() -> None:
    """What a timer of a request that has ended calls."""


class WideConnection(Cluster.connection_class):  # type: ignore[misc]
    """The driver's connection, fit for pages and rows of megabytes, which knows an outage from a wrong password."""

    in_buffer_size = _READ_BUFFER

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], object]) -> Timer:
        """The driver's timer, which is in its event loop already, as one that drops its request in time."""
        timer = super().create_timer(timeout, callback)
        if type(timer) is Timer:  # asyncio's, where the driver has no other event loop, is one of its own
            timer.__class__ = _Timer
        return timer

    @property
    def _socket_writable(self) -> bool:
        """Whether it takes one more request: the driver's own takes none while a large one is on its way ("overloaded")."""
        waiting: int = len(getattr(self, "deque", ())) * self.out_buffer_size
        return waiting < _MAX_WAITING

    @_socket_writable.setter
    def _socket_writable(self, is_writable: bool) -> None:
        """What the driver says of the socket alone."""

    def _process_segment_buffer(self) -> None:
        """Take one segment of protocol 5, if all of it is there.

        The driver's own loses the first bytes of a header that comes in two pieces, and takes an incompressible segment of a
        compressed connection for two bytes shorter than it is: over a network a connection breaks now and then.
        """
        came, buffer = self._io_buffer.readable_io_bytes(), self._io_buffer.io_buffer
        length = self._segment_codec.header_length_with_crc
        if came >= length:
            with buffer.getbuffer() as bytes_of:
                length += int.from_bytes(bytes_of[:3], "little") % (Segment.MAX_PAYLOAD_LENGTH + 1) + CRC32_LENGTH
        if came >= length:
            super()._process_segment_buffer()
        else:
            self._io_buffer._segment_consumed = False
            buffer.seek(0)  # what follows keeps what is behind this place

    @defunct_on_error  # type: ignore[untyped-decorator]
    def _handle_auth_response(self, auth_response: Any) -> None:
        if isinstance(auth_response, ErrorMessage) and (why := unknown_role(auth_response.summary_msg())):
            raise RolesUnavailable(
                f"its nodes cannot look the role up ({why}): too many nodes are down; try again when they are back",
                self.endpoint,
            )
        super()._handle_auth_response(auth_response)
