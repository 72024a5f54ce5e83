"""Nodes that cannot look a role up: they lack a quorum of its keyspace, and answer as if the role were at fault.

With two of three nodes down, the third refuses right credentials as bad ones, and a role that may do everything as one that
may not. The driver takes the first for final and never tries that node again.
"""

from __future__ import annotations

import re

from cassandra.connection import ConnectionException

_UNKNOWN = re.compile(r"Unable to perform auth(?:entication|orization)[^:]*: (?P<why>[^\"]+)")
"""How Cassandra begins whatever went wrong while it read its own tables of roles."""


class RolesUnavailable(ConnectionException):  # type: ignore[misc]
    """The node could not look the role up: the connection may succeed later."""


def unknown_role(text: str) -> str:
    """Why the node could not look the role up; "" if it could."""
    found = _UNKNOWN.search(text)
    return found["why"].strip() if found else ""
