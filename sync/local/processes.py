"""Operating-system processes: start one detached, recognise it again later, end it.

A pid alone proves nothing: after a crash it may belong to another process. A process is ours if it runs our program and has
our mark as one whole argument of its command line; this survives lost state files, copied folders and reused pids.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from sync.errors import LocalServerError

GRACE_SECONDS = 25.0

# Kept for the life of this process: dropping the Popen of a running child warns, and the child must outlive us anyway.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Mark:
    """How a process of ours is recognised: the name of its program and one argument that no other process has."""

    program: str
    argument: str

    def fits(self, process: psutil.Process) -> bool:
        """Whether `process` is alive and is this one."""
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            command = process.cmdline()
        except psutil.Error:
            return False
        return bool(command) and Path(command[0]).name == self.program and self.argument in command[1:]


def find(mark: Mark, pid: int | None = None) -> psutil.Process | None:
    """The running process with this mark, the remembered `pid` first."""
    if pid is not None:
        try:
            process = psutil.Process(pid)
        except psutil.NoSuchProcess:
            process = None
        if process is not None and mark.fits(process):
            return process
    return next((process for process in psutil.process_iter() if mark.fits(process)), None)


def working_in(folder: Path, program: str) -> Iterator[psutil.Process]:
    """Processes of `program` whose working directory is `folder`: what a killed parent left behind."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] != program:
            continue
        try:
            here = process.cwd()
        except psutil.Error:
            continue
        if here == str(folder):
            yield process


def spawn(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    env: Mapping[str, str],
    user: int | None = None,
    group: int | None = None,
) -> psutil.Process:
    """Start `command` in its own session, so that it survives this process and its terminal's Ctrl-C."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )
    _children.append(child)
    process, until = psutil.Process(child.pid), time.monotonic() + 5
    # The child runs before its arguments can be read: until then nobody could tell that it is ours.
    with suppress(psutil.Error):  # it has ended already: whoever waits for its answer will notice
        while child.poll() is None and not process.cmdline() and time.monotonic() < until:
            time.sleep(0.002)
    return process


def end(process: psutil.Process, mark: Mark, gentle: int, grace: float = GRACE_SECONDS) -> None:
    """End a process of ours: the `gentle` signal first, then SIGKILL with all its children."""
    if not mark.fits(process):
        return
    family = _family(process)
    try:
        process.send_signal(gentle)
        process.wait(grace)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        kill(process, mark)
    _bury(family)


def kill(process: psutil.Process, mark: Mark) -> None:
    """SIGKILL a process of ours and its children, and wait until they are gone."""
    if not mark.fits(process):
        return
    family = _family(process)
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise LocalServerError(
            f"process {process.pid} ({mark.program}) belongs to another user; end it as that user"
        ) from error
    _bury([process, *family])


def kill_left_over(process: psutil.Process) -> None:
    """SIGKILL a process that lost its parent, and wait until it is gone."""
    try:
        process.kill()
        process.wait(5.0)
    except psutil.NoSuchProcess:
        return


def child_env(**more: str) -> dict[str, str]:
    """A server's environment: ours, with a locale that exists everywhere and nothing that changes its configuration."""
    unwanted = ("PG", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "LANG", "LC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    locale = "C.UTF-8" if sys.platform == "linux" else "C"
    return {**kept, "LC_ALL": locale, "TZ": "UTC", **more}


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _bury(processes: Sequence[psutil.Process]) -> None:
    """Wait briefly for processes whose parent is gone, then kill what is left of them."""
    _, alive = psutil.wait_procs(processes, timeout=3.0)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5.0)
