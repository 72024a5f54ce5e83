"""Nodes that cannot look a role up: they lack a quorum of its keyspace, and answer as if the role were at fault.

With two of three nodes down, the third refuses right credentials as bad ones, and a role that may do everything as one that
may not. The driver takes the first for final and never tries that node again.
"""

from __future__ import annotations

import re
from typing import Any

from cassandra.cluster import Cluster
from cassandra.connection import ConnectionException, defunct_on_error
from cassandra.protocol import ErrorMessage

_READ_BUFFER = 1 << 18  # the driver's own 4 kB costs a system call and a Python loop for every 4 kB of a page
_MAX_WAITING = 1 << 26  # bytes of requests that wait for the socket: some of the largest rows
_UNKNOWN = re.compile(r"Unable to perform auth(?:entication|orization)[^:]*: (?P<why>[^\"]+)")
"""How Cassandra begins whatever went wrong while it read its own tables of roles."""


class RolesUnavailable(ConnectionException):  # type: ignore[misc]
    """The node could not look the role up: the connection may succeed later."""


def unknown_role(text: str) -> str:
    """Why the node could not look the role up; "" if it could."""
    found = _UNKNOWN.search(text)
    return found["why"].strip() if found else ""


class WideConnection(Cluster.connection_class):  # type: ignore[misc]
    """The driver's connection, fit for pages and rows of megabytes, which knows an outage from a wrong password."""

    in_buffer_size = _READ_BUFFER

    @property
    def _socket_writable(self) -> bool:
        """Whether it takes one more request: the driver's own takes none while a large one is on its way ("overloaded")."""
        waiting: int = len(getattr(self, "deque", ())) * self.out_buffer_size
        return waiting < _MAX_WAITING

    @_socket_writable.setter
    def _socket_writable(self, is_writable: bool) -> None:
        """What the driver says of the socket alone."""

    @defunct_on_error  # type: ignore[untyped-decorator]
    def _handle_auth_response(self, auth_response: Any) -> None:
        if isinstance(auth_response, ErrorMessage) and (why := unknown_role(auth_response.summary_msg())):
            raise RolesUnavailable(
                f"its nodes cannot look the role up ({why}): too many nodes are down; try again when they are back",
                self.endpoint,
            )
        super()._handle_auth_response(auth_response)
