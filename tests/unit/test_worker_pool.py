"""The end of a command's own workers, and of its other processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from sync.workers import health
from sync.workers.overdue import Overdue
from sync.workers.pool import FORK, Pool


def test_a_second_interrupt_leaves_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a command that is interrupted twice waits at its exit, for good, for a worker that is suspended."""
    pool = Pool.__new__(Pool)  # without a queue: its end asks for none
    worker = FORK.Process(target=time.sleep, args=(600,))
    worker.start()
    pool._processes = [worker]
    suspend(worker.pid or 0)

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "_join", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.stop()
        assert worker.exitcode == -signal.SIGKILL
    finally:
        worker.kill()
        worker.join()


def test_nor_the_process_that_drains_what_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: as above, by `sync worker`."""
    overdue = Overdue.__new__(Overdue)
    overdue._process, (overdue._pipe, _) = FORK.Process(target=time.sleep, args=(600,)), FORK.Pipe()
    overdue._process.start()
    suspend(overdue._process.pid or 0)
    monkeypatch.setattr(overdue._process, "join", Interrupted(overdue._process.join))
    try:
        with pytest.raises(KeyboardInterrupt):
            overdue.stop()
        assert overdue._process.exitcode == -signal.SIGKILL
    finally:
        overdue._process.kill()


def test_nor_the_health_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: `sync worker` never ends, since the process that serves its health is suspended."""
    monkeypatch.setattr(health, "_GRACE_SECONDS", 0.1)
    serving = health.HealthProcess.__new__(health.HealthProcess)
    serving._process = FORK.Process(target=time.sleep, args=(600,))
    serving._process.start()
    suspend(serving._process.pid or 0)
    ended = threading.Thread(target=serving.stop, daemon=True)
    ended.start()
    ended.join(60)
    try:
        assert serving._process.exitcode == -signal.SIGKILL
    finally:
        serving._process.kill()


def suspend(process: int) -> None:
    """It has stopped: a signal that comes before the kernel has seen SIGSTOP would still end it."""
    os.kill(process, signal.SIGSTOP)
    os.waitid(os.P_PID, process, os.WSTOPPED | os.WNOWAIT)


class Interrupted:
    """A wait that the first call breaks off."""

    def __init__(self, join: Callable[..., None]) -> None:
        self._join, self._calls = join, 0

    def __call__(self, *seconds: float) -> None:
        self._calls += 1
        if self._calls == 1:
            raise KeyboardInterrupt
        self._join(*seconds)
