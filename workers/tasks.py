"""The functions that RQ jobs name. They take strings and ints only and open their connections in the job's own process."""

from __future__ import annotations

import time

from sync.settings import load_config, load_settings
from sync.wiring import copy_job, ring_again

BUDGET_SECONDS = 60


def copy_ranges(runs: str) -> int:
    """Copy ranges of these runs (ids, comma-separated) for about a minute, ring again if there is more; ranges done."""
    settings = load_settings()
    ids = [int(run) for run in runs.split(",")]
    until = time.monotonic() + BUDGET_SECONDS
    done = copy_job(settings, load_config(settings.sync_config), ids, lambda: time.monotonic() > until)
    if time.monotonic() > until:
        ring_again(settings, ids)
    return done
