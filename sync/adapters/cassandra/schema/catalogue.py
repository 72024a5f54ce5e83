"""What the source holds: its tables with their columns, keys and types, and how large they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from cassandra import DriverException, Unauthorized
from cassandra.cluster import NoHostAvailable, ResponseFuture, Session
from cassandra.metadata import ColumnMetadata, KeyspaceMetadata, TableMetadata
from cassandra.query import ValueSequence

from sync.adapters.cassandra.connection.pages import RAW_PROFILE, select, token_of_partition
from sync.core.cql import UdtFields, parse_type
from sync.core.documents.collections import VECTOR_COLUMN, collection_table, is_collection
from sync.core.ring import SizeEstimate, whole_ring
from sync.core.rows import SourceColumn, SourceTable
from sync.core.schema.static_rows import with_static_tables
from sync.errors import PreflightError


def keyspace_of(session: Session, name: str) -> KeyspaceMetadata:
    """The keyspace's metadata. Raises PreflightError, naming the existing keyspaces, if there is no such keyspace."""
    keyspaces = session.cluster.metadata.keyspaces
    if name not in keyspaces:
        there = ", ".join(sorted(k for k in keyspaces if not k.startswith("system"))) or "only the system's"
        raise PreflightError(f"ASTRA_DB_KEYSPACE: there is no keyspace {name!r} in the source; there are: {there}")
    return keyspaces[name]


def read_tables(
    session: Session, keyspace: str, collections: Mapping[str, bool] = MappingProxyType({})
) -> dict[str, SourceTable]:
    """Every table of the keyspace, and those of static columns, by name.

    `collections` says for some whether they are Data API collections.
    """
    metadata = keyspace_of(session, keyspace)
    udts = {name: tuple(zip(udt.field_names, udt.field_types, strict=True)) for name, udt in metadata.user_types.items()}
    found = (_table(keyspace, table, udts, collections.get(name)) for name, table in metadata.tables.items())
    return with_static_tables(found)


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
    return SourceColumn(column.name, parse_type(column.cql_type, udts), kind, descending=bool(column.is_reversed))


def table_sizes(session: Session, keyspace: str, tables: Sequence[SourceTable]) -> dict[str, list[SizeEstimate]]:
    """The estimates by table; of static columns those of the table that has them, as nothing else is known."""
    sizes = size_estimates(session, keyspace, list(dict.fromkeys(table.base or table.name for table in tables)))
    return {table.name: sizes[table.base or table.name] for table in tables}


def size_estimates(session: Session, keyspace: str, tables: Sequence[str]) -> dict[str, list[SizeEstimate]]:
    """By table, the estimates in `system.size_estimates`: empty for a young table, and never exact.

    Each node knows its primary ranges only, so each usable node is asked. The ranges of nodes that do not answer or are far
    away are assumed to be as dense: the partitioner spreads keys evenly.
    """
    parts = [tables[at : at + _TABLES_A_QUESTION] for at in range(0, len(tables), _TABLES_A_QUESTION)]
    asked = [
        session.execute_async(_ESTIMATES, (keyspace, ValueSequence(part)), host=pool.host)
        for pool in list(session.get_pools())
        for part in parts
    ]
    found: dict[str, list[SizeEstimate]] = {table: [] for table in tables}
    for table, estimate in (one for future in asked for one in _estimates(future)):
        found[table].append(estimate)
    return {table: whole_ring(estimates) for table, estimates in found.items()}


_TABLES_A_QUESTION = 20
"""Managed servers limit the number of values in an IN."""
_ESTIMATES = (
    "SELECT table_name, range_start, range_end, partitions_count, mean_partition_size FROM system.size_estimates "
    "WHERE keyspace_name = %s AND table_name IN %s"
)


def _estimates(future: ResponseFuture) -> list[tuple[str, SizeEstimate]]:
    """One node's estimates; empty if it does not answer."""
    try:
        return [(str(name), SizeEstimate(int(a), int(z), int(n) * int(mean))) for name, a, z, n, mean in future.result()]
    except (DriverException, NoHostAvailable):
        return []


FEW_ROWS = 1000


def has_few_rows(raw: Session, table: SourceTable) -> bool:
    """Whether the table has no more than FEW_ROWS rows, whatever is estimated; False if only its first can be read.

    Only their tokens are read: Python cannot represent some values, such as a date in the year 10000. Raises the driver's
    Unauthorized if this role may not read the table, and its other errors if nobody can.
    """
    tokens = f"{select(table, [token_of_partition(table)])} LIMIT"
    try:
        return _count(raw, f"{tokens} {FEW_ROWS + 1}") <= FEW_ROWS
    except Unauthorized:
        raise
    except (DriverException, NoHostAvailable):  # too many tombstones before the next row, for one
        _count(raw, f"{tokens} 1")
        return False


def _count(raw: Session, query: str) -> int:
    return int(raw.execute(query, execution_profile=RAW_PROFILE).current_rows[0].count)


def check_partitioner(session: Session) -> None:
    """Raise PreflightError if tokens are not Murmur3's: all our ranges and tokens would be wrong."""
    name = str(session.execute("SELECT partitioner FROM system.local").one()[0]).rsplit(".", 1)[-1]
    if name != "Murmur3Partitioner":
        raise PreflightError(f"the cluster's partitioner is {name}; only Murmur3Partitioner, the default, is supported")


def release_version(session: Session) -> str:
    """The server's version."""
    return str(session.execute("SELECT release_version FROM system.local").one()[0])
