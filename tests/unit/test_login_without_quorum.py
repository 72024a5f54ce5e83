"""A node without a quorum cannot look a role up, and answers as if the password were wrong: that is an outage, and passes."""

from __future__ import annotations

from typing import Any

import pytest
from cassandra import AuthenticationFailed, Unauthorized
from cassandra.cluster import NoHostAvailable, _HostReconnectionHandler
from cassandra.connection import ConnectionException
from cassandra.protocol import AuthSuccessMessage, ErrorMessage, UnauthorizedErrorMessage

from sync.adapters.cassandra.connection.connect import Cassandra, explain
from sync.adapters.cassandra.connection.faults import is_away, source_errors
from sync.adapters.cassandra.connection.wide import WideConnection
from sync.adapters.cassandra.schema.privileges import may_write
from sync.adapters.cassandra.schema.visibility import _is_refused
from sync.core.cql import CqlType
from sync.core.rows import SourceColumn, SourceTable
from sync.errors import SourceAway, SourceUnavailable
from sync.settings import Settings

ALONE = "Unable to perform authentication: Cannot achieve consistency level LOCAL_QUORUM"
WRONG = "Provided username app and/or password are incorrect"
FORBIDDEN = "User app has no SELECT permission on <table ks.songs> or any of its parents"
UNKNOWN = "Unable to perform authorization of permissions: Cannot achieve consistency level LOCAL_QUORUM"


class Authenticator:
    def on_authentication_success(self, token: Any) -> None:
        """Nothing to do."""


def ends_with(answer: Any) -> Exception | None:
    """What a connection becomes defunct with, when the node answers the credentials so."""
    connection, seen = object.__new__(WideConnection), list[Exception]()
    connection.is_defunct, connection.endpoint, connection._compressor = False, "127.0.0.3:9042", None
    connection.authenticator = Authenticator()
    connection.connected_event = type("Event", (), {"set": lambda self: None})()
    connection.defunct = seen.append
    connection._handle_auth_response(answer)
    return seen[0] if seen else None


def bad_credentials(text: str) -> ErrorMessage:
    error = ErrorMessage(0x0100, text, None)
    error.error_code, error.summary = 0x0100, "Bad credentials"
    return error


def goes_on(error: Exception) -> bool:
    """Whether the driver tries to reach a node again after this."""
    handler = object.__new__(_HostReconnectionHandler)
    handler.host = "127.0.0.3:9042"
    return bool(handler.on_exception(error, 1))


def test_a_node_that_cannot_ask_is_tried_again() -> None:
    """Would break: a process that connected while nodes were down uses only the others, until it is restarted."""
    alone, wrong = ends_with(bad_credentials(ALONE)), ends_with(bad_credentials(WRONG))
    assert isinstance(wrong, AuthenticationFailed) and not goes_on(wrong)
    assert isinstance(alone, ConnectionException) and goes_on(alone)
    assert ends_with(AuthSuccessMessage(b"")) is None


def test_the_password_is_not_blamed() -> None:
    """Would break: two nodes are down, and somebody changes a password that was right."""
    alone, wrong = ends_with(bad_credentials(ALONE)), ends_with(bad_credentials(WRONG))
    assert alone is not None and wrong is not None
    told = explain(NoHostAvailable("", {"127.0.0.3:9042": alone}))
    assert told == (
        "its nodes cannot look the role up (Cannot achieve consistency level LOCAL_QUORUM): too many nodes are down; "
        "try again when they are back"
    )
    assert "password was refused" in explain(NoHostAvailable("", {"127.0.0.3:9042": wrong}))


def test_a_node_that_answers_says_more_than_one_that_does_not() -> None:
    """Would break: "nothing listens there", of the first of three nodes; the third one has said what is wrong."""
    dead = ConnectionRefusedError(111, "Tried connecting to [('127.0.0.1', 9042)]. Last error: Connection refused")
    alone, wrong = ends_with(bad_credentials(ALONE)), ends_with(bad_credentials(WRONG))
    assert "LOCAL_QUORUM" in explain(NoHostAvailable("", {"127.0.0.1": dead, "127.0.0.2": dead, "127.0.0.3": alone}))
    assert "was refused" in explain(NoHostAvailable("", {"127.0.0.1": dead, "127.0.0.2": alone, "127.0.0.3": wrong}))
    assert "nothing listens there" in explain(NoHostAvailable("", {"127.0.0.1": dead}))


@pytest.mark.parametrize(("text", "away"), [(FORBIDDEN, False), (UNKNOWN, True)])
def test_privileges_that_cannot_be_looked_up_are_an_outage(text: str, away: bool) -> None:
    """Would break: ranges fail, and stay so, because nodes were down when a page was asked for."""
    for error in (Unauthorized(text), UnauthorizedErrorMessage(0x2100, text, None)):
        assert is_away(error) is away
        with pytest.raises(SourceAway if away else SourceUnavailable) as raised, source_errors():
            raise error
        assert isinstance(raised.value, SourceAway) is away


class Session:
    """Whose node answers every statement so."""

    def __init__(self, text: str) -> None:
        self._text = text

    def prepare(self, statement: str) -> str:
        return statement

    def execute(self, *_: Any) -> None:
        raise Unauthorized(self._text)


def test_a_role_is_not_said_to_lack_what_cannot_be_looked_up() -> None:
    """Would break: in an outage preflight says that the role may not write, or that it is shown masks."""
    table = SourceTable("ks", "songs", (SourceColumn("id", CqlType("uuid"), "partition_key"),))
    assert may_write(Session(FORBIDDEN), table) is False
    with pytest.raises(SourceUnavailable, match="too many nodes are down"):
        may_write(Session(UNKNOWN), table)
    assert _is_refused(Cassandra(Session(FORBIDDEN), None, Settings(_env_file=None)), "ks.songs", "title") is True
    with pytest.raises(Unauthorized):
        _is_refused(Cassandra(Session(UNKNOWN), None, Settings(_env_file=None)), "ks.songs", "title")
