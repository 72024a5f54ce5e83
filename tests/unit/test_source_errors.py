"""The Cassandra driver's errors in plain words; the names of nodes under TLS."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from cassandra import InvalidRequest, OperationTimedOut
from cassandra.cluster import NoHostAvailable
from cassandra.policies import IdentityTranslator

from sync.adapters.cassandra.connection.connect import explain
from sync.adapters.cassandra.connection.faults import source_errors
from sync.adapters.cassandra.connection.tls import NamedEndPoints
from sync.errors import SourceUnavailable


def test_a_time_out_says_so() -> None:
    """Would break: `schema apply --source` on a slow source ends with `errors=None, last_host=…`."""
    slow = OperationTimedOut(errors=None, last_host="10.0.0.1:9042")
    said = "no answer in time (10.0.0.1:9042); it is slow or down: try again, and look at its load and its logs"
    assert explain(slow) == said
    assert explain(NoHostAvailable("none", {"10.0.0.1:9042": slow})) == said
    assert explain(OperationTimedOut()).startswith("no answer in time; ")


def test_a_node_is_called_as_its_contact_point() -> None:
    """Would break: a certificate that names hosts is compared with the addresses that nodes find each other by."""
    names = NamedEndPoints(["localhost", "10.0.0.9", "nowhere.invalid"], 9042)
    names.configure(SimpleNamespace(address_translator=IdentityTranslator()))
    found = [names.create({"rpc_address": a, "peer": a}) for a in ("127.0.0.1", "10.0.0.9", "10.0.0.7")]
    assert [(f.address, f.ssl_options["server_hostname"]) for f in found] == [
        ("127.0.0.1", "localhost"), ("10.0.0.9", "10.0.0.9"), ("10.0.0.7", "10.0.0.7"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "setting"),
    [
        ("Guardrail user_timestamps violated: (USING TIMESTAMP) is not allowed", "user_timestamps_enabled"),
        ("Guardrail read_consistency_levels violated: [ONE] are not allowed", "read_consistency_levels_disallowed"),
        ("Guardrail page_size violated: exceeds fail threshold of 20.", "page_size_fail_threshold (to 10000 or more)"),
        ("Guardrail minimum_timestamp violated: before the least", "minimum_timestamp_fail_threshold"),
    ],
)
def test_a_guardrail_comes_with_its_setting(said: str, setting: str) -> None:
    """Would break: what a cluster forbids is reported in its own words only, and nobody knows what to change."""
    error = InvalidRequest(f'Error from server: code=2200 [Invalid query] message="{said}"')
    expected = f"{said.rstrip('.')}; change {setting} on its nodes "
    assert explain(error).startswith(expected) and explain(NoHostAvailable("none", {"a": error})).startswith(expected)
    with pytest.raises(SourceUnavailable, match=f"^{re.escape(expected)}"), source_errors():
        raise error
