"""A command's own worker processes: `sync backfill --workers N` and `sync worker -n N` run plain RQ workers.

They are forked before the command opens a connection, with everything imported, so that neither they nor the processes that
RQ forks for each job import it again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.process import BaseProcess

import redis

from sync.adapters.queue import redis_connection
from sync.errors import Unreachable
from sync.settings import Settings
from sync.workers import tasks
from sync.workers.json_worker import run_worker

FORK = multiprocessing.get_context("fork")


class Pool:
    """`count` worker processes; one that died is replaced by `heal`. They do any job, and start `jobs` without an import."""

    def __init__(self, settings: Settings, count: int, jobs: Iterable[str] = tasks.NEEDS) -> None:
        self._settings = settings
        tasks.load(jobs)
        redis_connection(settings).close()  # an error is raised once and here, not by each process
        self._processes: list[BaseProcess] = [self._start() for _ in range(count)]

    def _start(self) -> BaseProcess:
        process = FORK.Process(target=_worker_process, args=(self._settings,))
        process.start()
        return process

    def heal(self) -> int:
        """Replace processes that have ended; how many."""
        dead = [p for p in self._processes if not p.is_alive()]
        for process in dead:
            self._processes.remove(process)
            self._processes.append(self._start())
        return len(dead)

    def __len__(self) -> int:
        return len(self._processes)

    def dismiss(self) -> None:
        """Ask the workers to end after their job, without waiting for it."""
        for process in self._processes:
            process.terminate()

    def stop(self, grace_seconds: float = 10) -> None:
        """Dismiss the workers and wait; those that do not end are killed with their jobs (the ranges' leases run out).

        They are killed a second later if a second Ctrl-C ends the wait: else Python would wait for them at its exit.
        """
        try:
            self.dismiss()
            self._join(grace_seconds)
            self.dismiss()  # a second SIGTERM has RQ kill the job's process, too
            self._join(5)
        finally:
            try:
                self.dismiss()  # a job's process outlives a worker that is killed
                self._join(1)
            finally:
                for process in self._processes:
                    process.kill()
                    process.join()

    def _join(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))


def end_process(process: BaseProcess, grace_seconds: float) -> None:
    """Ask a process to end, and wait; it is killed after that time, or where a second Ctrl-C ends the wait."""
    try:
        process.terminate()
        process.join(grace_seconds)
    finally:
        process.kill()
        process.join()


def _worker_process(settings: Settings) -> None:
    # Ctrl-C goes to the whole terminal group; the command itself decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    _wait_for_redis(settings)
    with suppress(redis.RedisError):  # Redis became unreachable: `heal` starts another worker, which waits for it
        run_worker(settings)


def _wait_for_redis(settings: Settings) -> None:
    while True:
        try:
            redis_connection(settings).close()
            return
        except Unreachable:
            time.sleep(1)


def end_with_parent() -> None:
    """Have this process end, after its job, with its parent: a command that was killed cannot end its workers."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
