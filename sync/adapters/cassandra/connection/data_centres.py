"""Which data centre this process reads and writes: LOCAL_QUORUM is a quorum of that one, and says nothing of the others."""

from __future__ import annotations

from cassandra.cluster import Cluster
from cassandra.metadata import KeyspaceMetadata, NetworkTopologyStrategy, SimpleStrategy

from sync.errors import SettingsError
from sync.settings import Settings


def local_data_center(cluster: Cluster, settings: Settings, source: str) -> str:
    """The data centre that requests to this cluster go to, and whose replicas answer them.

    It is the one in CASSANDRA_LOCAL_DC, else the bundle's, or the only one. Raises SettingsError, naming the existing ones,
    if none of these determines it, or if it has no replicas of the keyspace.
    """
    there = sorted({host.datacenter for host in cluster.metadata.all_hosts() if host.datacenter})
    stated, is_bundle = settings.cassandra_local_dc, settings.astra_db_secure_bundle_path is not None
    if len(there) > 1 and not stated and not is_bundle:
        raise SettingsError(
            f"{source}: its nodes are in several data centres ({', '.join(there)}): set CASSANDRA_LOCAL_DC to one of them, "
            "the same for the application, its workers and every command"
        )
    host = cluster.get_control_connection_host()
    local = stated or (host.datacenter if host else None) or ""
    keyspace = cluster.metadata.keyspaces.get(settings.astra_db_keyspace or "")
    if keyspace is not None and local and not is_bundle:  # Astra manages its own replicas
        _check_replicas(keyspace, local, there, source)
    return local


def _check_replicas(keyspace: KeyspaceMetadata, local: str, there: list[str], source: str) -> None:
    strategy = keyspace.replication_strategy
    if isinstance(strategy, SimpleStrategy) and len(there) > 1:
        raise SettingsError(
            f"{source}: keyspace {keyspace.name} is replicated by SimpleStrategy, which has no quorum in one data centre, "
            f"and there are {', '.join(there)}: ALTER KEYSPACE … WITH replication = {{'class': 'NetworkTopologyStrategy', …}}"
        )
    if isinstance(strategy, NetworkTopologyStrategy):
        having = sorted(name for name, count in strategy.dc_replication_factors.items() if count)
        if local not in having:
            raise SettingsError(
                f"{source}: keyspace {keyspace.name} has no replicas in data centre {local}; it has them in "
                f"{', '.join(having) or 'none'}: set CASSANDRA_LOCAL_DC to one of these, or replicate the keyspace there"
            )
