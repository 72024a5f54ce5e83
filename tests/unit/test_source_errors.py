"""What the Cassandra driver says, for people; the names of nodes under TLS."""

from __future__ import annotations

from types import SimpleNamespace

from cassandra import OperationTimedOut
from cassandra.cluster import NoHostAvailable
from cassandra.policies import IdentityTranslator

from sync.adapters.cassandra.connect import explain
from sync.adapters.cassandra.tls import Names


def test_a_time_out_says_so() -> None:
    """Would break: `schema apply --source` on a slow source ends with `errors=None, last_host=…`."""
    slow = OperationTimedOut(errors=None, last_host="10.0.0.1:9042")
    said = "no answer in time (10.0.0.1:9042); it is slow, or away: try again, and look at its load and its logs"
    assert explain(slow) == said
    assert explain(NoHostAvailable("none", {"10.0.0.1:9042": slow})) == said
    assert explain(OperationTimedOut()).startswith("no answer in time; ")


def test_a_node_is_called_as_its_contact_point() -> None:
    """Would break: a certificate that names hosts is compared with the addresses that nodes find each other by."""
    names = Names(["localhost", "10.0.0.9", "nowhere.invalid"], 9042)
    names.configure(SimpleNamespace(address_translator=IdentityTranslator()))
    found = [names.create({"rpc_address": a, "peer": a}) for a in ("127.0.0.1", "10.0.0.9", "10.0.0.7")]
    assert [(f.address, f.ssl_options["server_hostname"]) for f in found] == [
        ("127.0.0.1", "localhost"), ("10.0.0.9", "10.0.0.9"), ("10.0.0.7", "10.0.0.7"),
    ]  # fmt: skip
