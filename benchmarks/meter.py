"""What a command costs: seconds, CPU of its whole process tree and of both servers, the largest process's memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.servers import FOLDER, Servers

_SAMPLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Cost:
    """One run. `rss_mb` is of the largest process, `tree_mb` of all of them together; `answer` its last line, if JSON."""

    seconds: float
    client_cpu: float
    cassandra_cpu: float
    postgres_cpu: float
    rss_mb: float
    tree_mb: float
    answer: dict[str, Any]


class CommandFailed(Exception):
    """A command ended with an error; the message is its last words."""


def measure(
    command: Sequence[str],
    servers: Servers,
    env: Mapping[str, str],
    log: Path,
    own_clock: bool = False,
    limit: float = 900,
) -> Cost:
    """Run a command to its end. `own_clock`: it says itself how long the work took, because its start is not to count."""
    before, begin = servers.cpu(), time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(FOLDER.parent), **env},
            cwd=FOLDER,  # where there is no .env and no sync.toml
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        watch = _Watch(process.pid, limit)
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - begin
    watch.end()
    after = servers.cpu()
    if watch.late:
        raise CommandFailed(f"ended after {limit:.0f} s, not done")
    if process.returncode:
        raise CommandFailed(_last_words(log, process.returncode))
    answer = _answer(output)
    # rusage knows all descendants that were waited for, sampling those that were not
    cpu = max(usage.ru_utime + usage.ru_stime, sum(watch.cpu.values()))
    if own_clock:
        seconds, cpu = float(answer["seconds"]), float(answer["cpu"])
    costs = (after.cassandra - before.cassandra, after.postgres - before.postgres)
    return Cost(seconds, cpu, *costs, watch.peak / 1e6, watch.tree_peak / 1e6, answer)


class _Watch:
    """Samples the memory of a process and its descendants; ends them all when the time is over."""

    def __init__(self, pid: int, timeout: float) -> None:
        self.peak = self.tree_peak = 0
        self.late = False
        self.cpu: dict[int, float] = {}
        self._pid, self._deadline, self._ended = pid, time.monotonic() + timeout, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            pids = tree(self._pid)
            self.cpu.update((pid, spent) for pid in pids if (spent := _cpu(pid)))
            sizes = [memory(pid) for pid in pids]
            self.peak = max([self.peak, *(high for _, high in sizes)])
            self.tree_peak = max(self.tree_peak, sum(now for now, _ in sizes))
            if time.monotonic() > self._deadline:
                self.late = True
                for pid in pids:  # by pid: an RQ worker's children have process groups of their own
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def tree(pid: int) -> list[int]:
    """A process and its descendants; read from /proc directly, because a look at every process costs what is measured."""
    found, new = [pid], [pid]
    while new:
        new = [child for parent in new for child in _children(parent)]
        found += new
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def memory(pid: int) -> tuple[int, int]:
    """Resident bytes now and at their highest; (0, 0) for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Vm")}
    return found.get("VmRSS", 0), found.get("VmHWM", 0)


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_calm(servers: Servers, share: float = 0.1, limit: float = 120) -> None:
    """Wait until both servers have finished what they do in the background (compaction, vacuum, checkpoints)."""
    deadline, calm = time.monotonic() + limit, 0
    while calm < 3 and time.monotonic() < deadline:
        before = servers.cpu()
        time.sleep(0.5)
        after = servers.cpu()
        used = after.cassandra - before.cassandra + after.postgres - before.postgres
        calm = calm + 1 if used < share * 0.5 else 0


def machine() -> str:
    """What the figures were taken on."""
    return f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def _answer(output: bytes) -> dict[str, Any]:
    text = output.decode(errors="replace").strip()
    for candidate in (text, text.splitlines()[-1] if text else ""):
        try:
            value = json.loads(candidate)
        except ValueError:
            continue
        return value if isinstance(value, dict) else {}
    return {}


def _last_words(log: Path, code: int) -> str:
    texts = (line.strip() for line in log.read_text(errors="replace").splitlines())
    lines = [text for text in texts if text and not text.startswith("at ")]  # of a Java stack
    told = next((line for line in reversed(lines) if "rror" in line or "xception" in line), lines[-1] if lines else "")
    return f"exit {code}: {told[:300]}"
