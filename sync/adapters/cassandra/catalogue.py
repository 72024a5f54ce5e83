"""What the source holds: its tables with their columns, keys and types, and how large they are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from cassandra import DriverException
from cassandra.cluster import NoHostAvailable, ResponseFuture, Session
from cassandra.metadata import ColumnMetadata, KeyspaceMetadata, TableMetadata

from sync.adapters.cassandra.pages import quoted, token_of_partition
from sync.core.cql import UdtFields, parse_type
from sync.core.documents import VECTOR_COLUMN, collection_table, is_collection
from sync.core.ring import SizeEstimate, whole_ring
from sync.core.rows import SourceColumn, SourceTable
from sync.errors import PreflightError


def keyspace_of(session: Session, name: str) -> KeyspaceMetadata:
    """The keyspace's metadata. Raises PreflightError where there is no such keyspace, with those that there are."""
    keyspaces = session.cluster.metadata.keyspaces
    if name not in keyspaces:
        there = ", ".join(sorted(k for k in keyspaces if not k.startswith("system"))) or "none but the system's"
        raise PreflightError(f"ASTRA_DB_KEYSPACE: there is no keyspace {name!r} in the source; there are: {there}")
    return keyspaces[name]


def read_tables(
    session: Session, keyspace: str, collections: Mapping[str, bool] = MappingProxyType({})
) -> dict[str, SourceTable]:
    """Every table of the keyspace, by name; `collections` says of some whether they are Data API collections."""
    metadata = keyspace_of(session, keyspace)
    udts = {name: tuple(zip(udt.field_names, udt.field_types, strict=True)) for name, udt in metadata.user_types.items()}
    return {name: _table(keyspace, table, udts, collections.get(name)) for name, table in metadata.tables.items()}


def _table(keyspace: str, table: TableMetadata, udts: UdtFields, said: bool | None) -> SourceTable:
    partition = [c.name for c in table.partition_key]
    clustering = [c.name for c in table.clustering_key]
    order = partition + clustering + [n for n in table.columns if n not in {*partition, *clustering}]
    columns = tuple(_column(table.columns[name], partition, clustering, udts) for name in order)
    if is_collection(columns, said):
        return collection_table(keyspace, table.name, _dimension(columns))
    ttl, is_compact = int(table.options.get("default_time_to_live") or 0), bool(table.is_compact_storage)
    return SourceTable(keyspace, table.name, columns, default_ttl=ttl, is_compact=is_compact)


def _dimension(columns: tuple[SourceColumn, ...]) -> int | None:
    return next((c.type.dimension for c in columns if c.name == VECTOR_COLUMN), None)


def _column(column: ColumnMetadata, partition: list[str], clustering: list[str], udts: UdtFields) -> SourceColumn:
    kind: Literal["partition_key", "clustering", "regular", "static"] = "regular"
    if column.name in partition:
        kind = "partition_key"
    elif column.name in clustering:
        kind = "clustering"
    elif column.is_static:
        kind = "static"
    return SourceColumn(column.name, parse_type(column.cql_type, udts), kind)


def size_estimates(session: Session, keyspace: str, table: str) -> list[SizeEstimate]:
    """What `system.size_estimates` says of the table: empty for a young table, and never exact.

    Each node tells of its primary ranges only, so each that may be used is asked. What others would tell, which do not answer
    or are far away, is taken to be as dense: the partitioner spreads keys evenly.
    """
    asked = [session.execute_async(_ESTIMATES, (keyspace, table), host=pool.host) for pool in session.get_pools()]
    return whole_ring([estimate for future in asked for estimate in _estimates(future)])


_ESTIMATES = (
    "SELECT range_start, range_end, partitions_count, mean_partition_size FROM system.size_estimates "
    "WHERE keyspace_name = %s AND table_name = %s"
)


def _estimates(future: ResponseFuture) -> list[SizeEstimate]:
    """One node's; none where it does not answer."""
    try:
        return [SizeEstimate(int(r[0]), int(r[1]), int(r[2]) * int(r[3])) for r in future.result()]
    except (DriverException, NoHostAvailable):
        return []


FEW_ROWS = 1000


def has_few_rows(session: Session, table: SourceTable) -> bool:
    """Whether the table has no more than FEW_ROWS rows, whatever is estimated; False where that cannot be found out."""
    statement = f"SELECT {token_of_partition(table)} FROM {quoted(table.keyspace)}.{quoted(table.name)} LIMIT {FEW_ROWS + 1}"
    try:
        return len(session.execute(statement).all()) <= FEW_ROWS
    except (DriverException, NoHostAvailable):
        return False


def read_one(session: Session, table: SourceTable) -> None:
    """Read one row, whatever it is: raises the driver's Unauthorized where this role may not.

    Its token alone: of some values, of a date of the year 10000 for one, Python has none.
    """
    name = f"{quoted(table.keyspace)}.{quoted(table.name)}"
    session.execute(f"SELECT {token_of_partition(table)} FROM {name} LIMIT 1")


def check_partitioner(session: Session) -> None:
    """Raise PreflightError where tokens are not Murmur3's: every range and every token of ours would be wrong."""
    name = str(session.execute("SELECT partitioner FROM system.local").one()[0]).rsplit(".", 1)[-1]
    if name != "Murmur3Partitioner":
        raise PreflightError(f"the cluster's partitioner is {name}; only Murmur3Partitioner, the default, is supported")


def release_version(session: Session) -> str:
    """The server's version."""
    return str(session.execute("SELECT release_version FROM system.local").one()[0])
