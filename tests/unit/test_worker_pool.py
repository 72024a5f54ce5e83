"""The end of a command's own workers."""

from __future__ import annotations

import os
import signal
import time

import pytest

from sync.workers.pool import FORK, Pool


def test_a_second_interrupt_leaves_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a command that is interrupted twice waits at its exit, for good, for a worker that is suspended."""
    pool = Pool.__new__(Pool)  # without a queue: its end asks for none
    worker = FORK.Process(target=time.sleep, args=(600,))
    worker.start()
    pool._processes = [worker]
    os.kill(worker.pid or 0, signal.SIGSTOP)

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
