"""What must hold of a node, its keyspace and its tables before they are followed: else a feed would miss changes silently."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from cassandra import DriverException
from cassandra.cluster import Cluster, NoHostAvailable, Session
from cassandra.pool import Host

from sync.adapters.cassandra.connection.connect import explain
from sync.adapters.cassandra.connection.nodes import await_node
from sync.errors import PreflightError, SettingsError, Unreachable

_SETTINGS = "SELECT name, value FROM system_views.settings WHERE name = 'cdc_enabled'"
_DURABLE = "SELECT durable_writes FROM system_schema.keyspaces WHERE keyspace_name = %s"
_CDC = "SELECT table_name, cdc FROM system_schema.tables WHERE keyspace_name = %s"


def node_of(cluster: Cluster, address: str | None) -> Host:
    """The node with this address, or the one on this machine. Raises SettingsError if it is not clear which that is."""
    hosts = list(cluster.metadata.all_hosts())
    if address:
        wanted = {info[4][0] for info in _resolved(address)}
        found = [host for host in hosts if host.address in wanted]
        if len(found) != 1:
            raise SettingsError(f"--node: {address} is none of the cluster's nodes: {_listed(hosts)}")
        return found[0]
    found = [host for host in hosts if _is_here(host.address)]
    if len(found) != 1:
        raise SettingsError(f"--node: state whose cdc_raw this is; the cluster's nodes are {_listed(hosts)}")
    return found[0]


def _resolved(name: str) -> list[Any]:
    try:
        return socket.getaddrinfo(name, None)
    except OSError:
        return []


def _is_here(address: str) -> bool:
    """Whether the address is one of this machine: only such a one can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _listed(hosts: Sequence[Host]) -> str:
    return ", ".join(sorted(host.address for host in hosts))


def check_node(session: Session, host: Host, keyspace: str, tables: Sequence[str]) -> None:
    """Raise PreflightError unless the node's log has each change of these tables; Unreachable if it does not answer."""
    await_node(session, host)
    try:
        enabled = {row.name: row.value for row in session.execute(_SETTINGS, host=host)}.get("cdc_enabled", "true")
        durable = [row.durable_writes for row in session.execute(_DURABLE, (keyspace,), host=host)]
        cdc = {row.table_name: bool(row.cdc) for row in session.execute(_CDC, (keyspace,), host=host)}
    except (DriverException, NoHostAvailable) as error:
        raise Unreachable(f"the node {host.address}: {explain(error)}") from None
    if enabled.lower() != "true":
        raise PreflightError(
            f"the node {host.address} has cdc_enabled: false; set it to true in cassandra.yaml and restart the node"
        )
    if not all(durable):
        raise PreflightError(
            f"the keyspace {keyspace} has durable_writes = false: its changes are in no commit log; "
            f"ALTER KEYSPACE {keyspace} WITH durable_writes = true"
        )
    without = sorted(name for name in tables if not cdc.get(name, False))
    if without:
        raise PreflightError(f"without cdc = true: {', '.join(without)}; ALTER TABLE {keyspace}.{without[0]} WITH cdc = true")
