"""The functions that RQ jobs name. They take strings and ints only and open their connections in the job's own process."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import psycopg

from sync.adapters.heap import keep_pages
from sync.adapters.postgres.connection.refusals import error_text
from sync.adapters.queue import CHECK_JOB, COPY_JOB, RECONCILE_JOB
from sync.errors import SyncError, Unreachable
from sync.settings import Config, Settings, load_config, load_settings
from sync.wiring.backfill.worker import note_failure, notify_again
from sync.wiring.tracing import tracing

if TYPE_CHECKING:
    from sync.wiring.dual_write.drain_session import DrainSession

log = logging.getLogger("sync.workers")
BUDGET_SECONDS = 60
drain_session: Callable[[Settings, Config], DrainSession] | None = None
"""Opens the worker's kept connections, if it does reconcile jobs in its own process; else None."""
Work = Callable[[Settings, Config, list[int], Callable[[], bool]], int]
NEEDS = {
    COPY_JOB: "sync.wiring.backfill.worker",
    CHECK_JOB: "sync.wiring.drift.worker",
    RECONCILE_JOB: "sync.wiring.dual_write.drain_session",
}
"""By job, what is imported for it: by the job itself, or before by `load`."""


def load(jobs: Iterable[str] = NEEDS) -> None:
    """Import what these jobs need, so that processes that are forked from this one find it there."""
    for job in jobs:
        importlib.import_module(NEEDS[job])


def copy_ranges_and_times(runs: str) -> int:
    """Copy ranges of these runs (ids, comma-separated) for about a minute; queue another job if any are left; ranges done.

    Workers of earlier versions have no such job: they do not look at the write times of a range that this one has begun.
    """
    from sync.wiring.backfill.worker import copy_job

    return _ranges(runs, copy_job, COPY_JOB)


def check_ranges(runs: str) -> int:
    """Check ranges of these runs of a drift report, in the same way; ranges done."""
    from sync.wiring.drift.worker import check_job

    return _ranges(runs, check_job, CHECK_JOB)


def _ranges(runs: str, work: Work, job: str) -> int:
    keep_pages()
    settings = load_settings()
    ids = [int(run) for run in runs.split(",")]
    until = time.monotonic() + BUDGET_SECONDS
    try:
        done = work(settings, load_config(settings.sync_config), ids, lambda: time.monotonic() > until)
    except Exception as error:
        note_failure(settings, ids, error)
        if isinstance(error, psycopg.Error):  # RQ keeps what it prints, and that quotes values
            raise SyncError(f"{type(error).__name__}: {error_text(error)}") from None
        raise
    finally:
        tracing().flush()
    if time.monotonic() > until:
        try:
            notify_again(settings, ids, job)
        except (
            Unreachable
        ) as away:  # the ranges are done all the same, and the command that watches the runs notifies workers, too
            log.warning("%s", away)
    return done


def reconcile(table: str) -> int:
    """Drain a table's intents for about a minute; keys done."""
    from sync.wiring.dual_write.worker import drain_job

    settings = load_settings()
    until = time.monotonic() + BUDGET_SECONDS
    try:
        config, stopped = load_config(settings.sync_config), lambda: time.monotonic() > until
        if drain_session is None:
            return drain_job(settings, config, table, stopped)
        return drain_session(settings, config).run(table, stopped)
    except SyncError as error:  # no ledger records it: the intents only wait
        log.error("%s: %s", table, error, extra={"table": table})
        raise
