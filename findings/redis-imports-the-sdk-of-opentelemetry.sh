#!/usr/bin/env bash
# redis 8.1.0, opentelemetry-sdk 1.45.2.
#
# `import redis` imports OpenTelemetry's SDK for metrics wherever that package is installed, although the client records nothing until
# it is told to (redis.observability). So a program that has the SDK for another reason, as every one with an exporter does, starts
# tens of milliseconds later for each process that imports redis, and holds the modules: a command line tool, a worker, a job. A finder in
# sys.meta_path that raises ModuleNotFoundError for opentelemetry.sdk.metrics while redis is imported keeps it out; the client works as before.
#
# Output seen:
#> without the SDK: 0 of its modules
#> with the SDK installed: more than 30 of its modules, and import redis takes more than 1.3 times the CPU
#> the same, hidden meanwhile: none of its metrics
. "$(dirname "$0")/lib.sh"
install redis==8.1.0
cat >"$WORK/imported.py" <<'PY'
"""Import redis; what of the SDK came with it, and the CPU seconds."""

import sys
import time


class Hide:
    @staticmethod
    def find_spec(name, *_):
        if name == "opentelemetry.sdk.metrics":
            raise ModuleNotFoundError(name)


if "hide" in sys.argv:
    sys.meta_path.insert(0, Hide)
begun = time.process_time()
import redis

seconds = time.process_time() - begun
sdk = [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
redis.Redis()
print(len(sdk), len([name for name in sdk if ".metrics" in name]), seconds)
PY
imported() { # [hide]: the figures of the quickest of ten
  for _ in $(seq 10); do "$WORK/venv/bin/python" "$WORK/imported.py" "$@"; done | sort -k3 -g | head -n 1
}
imported >"$WORK/without"
python3 -m pip --python "$WORK/venv/bin/python" install --quiet --disable-pip-version-check opentelemetry-sdk==1.45.2
imported >"$WORK/with"
imported hide >"$WORK/hidden"
export WORK
show <<'PY'
import os
from pathlib import Path


def figures(name):
    sdk, metrics, seconds = Path(os.environ["WORK"], name).read_text().split()
    return int(sdk), int(metrics), float(seconds)


(without, _, alone), (sdk, _, together), (_, metrics, _) = (figures(name) for name in ("without", "with", "hidden"))
print(f"without the SDK: {without} of its modules")
many = "more than 30" if sdk > 30 else sdk
slow = "more than 1.3 times" if together > 1.3 * alone else f"{together / alone:.2f} times"
print(f"with the SDK installed: {many} of its modules, and import redis takes {slow} the CPU")
print(f"the same, hidden meanwhile: {metrics or 'none'} of its metrics")
PY
