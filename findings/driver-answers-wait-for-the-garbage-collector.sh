#!/usr/bin/env bash
# cassandra-driver 3.30.1 against Apache Cassandra 5.0.6.
#
# What a query has returned is not freed when the program drops it: a ResponseFuture refers to its timer, and the cancelled timer to the
# future by its callback, so the rows stay until Python's garbage collector comes, and to the oldest of them it comes seldom. A program that
# reads pages of a megabyte by a query each grows by tens of megabytes; one that has frozen or disabled the collector, as servers that fork do,
# grows without end. Rows that are taken out of ResultSet.current_rows (a list) are freed at once. Iterating over one paged
# ResultSet is not concerned: its pages replace one another in the same future.
#
# Output seen (100 queries of 50 rows each, one after the other, their results dropped, without a run of the garbage collector):
#> results that are still there: 100
#> after gc.collect(): 0
#> the same, with the rows taken out of each result: 0
. "$(dirname "$0")/lib.sh"
start_cassandra
show <<'PY'
import gc

from cassandra.query import named_tuple_factory
from session import session

QUERIES = 100


class Rows(list):
    """The rows of one answer."""


connected = session()
connected.execute("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
connected.execute("CREATE TABLE k.t (p int, c int, v text, PRIMARY KEY (p, c))")
for number in range(50):
    connected.execute("INSERT INTO k.t (p, c, v) VALUES (1, %s, 'some text')", (number,))
connected.row_factory = lambda names, rows: Rows(named_tuple_factory(names, rows))


def there():
    return sum(type(each) is Rows and len(each) > 0 for each in gc.get_objects())


gc.collect()
gc.disable()
for _ in range(QUERIES):
    connected.execute("SELECT * FROM k.t WHERE p = 1")
print(f"results that are still there: {there()}")
gc.collect()
print(f"after gc.collect(): {there()}")
for _ in range(QUERIES):
    connected.execute("SELECT * FROM k.t WHERE p = 1").current_rows.clear()
print(f"the same, with the rows taken out of each result: {there()}")
PY
