"""An unreachable node is logged once: the driver logs it at every attempt to reconnect."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from cassandra.policies import SimpleConvictionPolicy
from cassandra.pool import Host, _HostReconnectionHandler

from sync.adapters.cassandra.connection.driver_log import _THROTTLE, quiet_driver


def test_a_line_a_node(caplog: pytest.LogCaptureFixture) -> None:
    """Would break: 92 similar warnings while two nodes are dead."""
    caplog.set_level(logging.WARNING, "cassandra")  # an earlier command in this process has set another
    _THROTTLE._said.clear()
    for _ in range(3):
        quiet_driver()
    for _ in range(40):
        for address in ("10.0.0.1", "10.0.0.2"):
            host = Host(address, SimpleConvictionPolicy)
            _HostReconnectionHandler(host, None, False, None, None, None, None, None).on_exception(OSError("refused"), 10.0)
    hosts: list[Any] = [record.args[0] for record in caplog.records if isinstance(record.args, tuple) and record.args]
    assert [host.address for host in hosts] == [
        "10.0.0.1",
        "10.0.0.2",
    ]


def test_a_line_a_warning_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """Would break: a guardrail that only warns of large pages adds a line to every page of a copy."""
    caplog.set_level(logging.WARNING, "cassandra")  # an earlier command in this process has set another
    _THROTTLE._said.clear()
    quiet_driver()
    for _ in range(40):
        for text in ("Guardrail page_size violated: …", "another"):
            logging.getLogger("cassandra.protocol").warning("Server warning: %s", text)
    assert [record.args for record in caplog.records] == [("Guardrail page_size violated: …",), ("another",)]
