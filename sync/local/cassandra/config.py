"""The files a lone development node of Cassandra is started with: cassandra.yaml, the JVM's arguments, logback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from sync.local.cassandra.java import CASSANDRA_VERSION
from sync.local.ports import LOOPBACK

_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
)
_OPENS = (
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang.reflect",
    "java.base/java.lang",
    "java.base/java.util",
    "java.base/java.nio",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
)
SERVER_ARGUMENTS = "java.args"
TOOL_ARGUMENTS = "tool.args"
KEYSTORE = "tls.pem"
_RACK = "cassandra-rackdc.properties"
_LOGBACK = """<configuration>
  <appender name="FILE" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>{log}</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>{log}.%i</fileNamePattern><minIndex>1</minIndex><maxIndex>2</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>20MB</maxFileSize>
    </triggeringPolicy>
    <encoder><pattern>%-5level %date{{ISO8601}} [%thread] %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
  <logger name="org.apache.cassandra.db.compaction" level="WARN"/>
</configuration>
"""


@dataclass(frozen=True)
class CassandraOptions:
    """What a test may want to change; `yaml` and `jvm` are added last and win, a None in `yaml` removes a setting."""

    version: str = CASSANDRA_VERSION
    java: Path | None = None  # a program other than the packages'
    address: str = LOOPBACK  # another loopback address, if several nodes are to have the same port
    data_center: str | None = None  # of a cluster's node; a lone one is in datacenter1
    role_folder: Path | None = None  # the folder of the node that makes the role, if another one does
    roles_replication: str | None = None  # of the keyspace of roles, set before the first of ours is made
    heap_mb: int = 512
    fast_start: bool = False  # starts with half the CPU time, but is slower once warm: for short tests
    password_auth: bool = True  # with a generated one
    certificate: Path | None = None  # PEM; with `key`, clients must use TLS
    key: Path | None = None  # PEM
    yaml: Mapping[str, Any] | None = None
    jvm: Sequence[str] = ()


def settings(folder: Path, ports: Mapping[str, int], options: CassandraOptions) -> dict[str, Any]:
    """cassandra.yaml as a dictionary."""
    found = {
        **_places(folder / "data", ports, options.address),
        **_limits(),
        **_security(folder, options),
        **({"endpoint_snitch": "GossipingPropertyFileSnitch"} if options.data_center else {}),
        **(options.yaml or {}),
    }
    return {name: value for name, value in found.items() if value is not None}


def _places(data: Path, ports: Mapping[str, int], address: str) -> dict[str, Any]:
    seed = f"{address}:{ports['storage']}"
    return {
        "cluster_name": "sync local",
        "num_tokens": 16,
        "allocate_tokens_for_local_replication_factor": 1,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "seed_provider": [{"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": [{"seeds": seed}]}],
        "endpoint_snitch": "SimpleSnitch",
        "listen_address": address,
        "rpc_address": address,
        "storage_port": ports["storage"],
        "native_transport_port": ports["client"],
        "start_native_transport": True,
        "data_file_directories": [str(data / "sstables")],
        "commitlog_directory": str(data / "commitlog"),
        "saved_caches_directory": str(data / "caches"),
        "hints_directory": str(data / "hints"),
        "cdc_raw_directory": str(data / "cdc"),
        "storage_compatibility_mode": "NONE",
        "sstable": {"selected_format": "bti"},
    }


def _limits() -> dict[str, Any]:
    """For a small node on a small machine: little memory, no throttles, long timeouts; what it acknowledges is on disk."""
    return {
        "commitlog_sync": "batch",
        "commitlog_segment_size": "32MiB",
        "commitlog_total_space": "512MiB",
        "memtable_heap_space": "96MiB",
        "memtable_offheap_space": "96MiB",
        "memtable_allocation_type": "offheap_objects",  # buffers would take a megabyte of each table that has rows
        "memtable_flush_writers": 1,
        "file_cache_size": "64MiB",
        "networking_cache_size": "16MiB",
        "concurrent_reads": 16,
        "concurrent_writes": 64,  # a writer waits for the commit log: these threads mostly sleep
        "concurrent_counter_writes": 8,
        "concurrent_compactors": 1,
        "compaction_throughput": "0MiB/s",
        "native_transport_max_threads": 64,
        "native_transport_max_frame_size": "256MiB",
        "read_request_timeout": "20s",
        "range_request_timeout": "30s",
        "write_request_timeout": "10s",
        "counter_write_request_timeout": "10s",
        "cas_contention_timeout": "5s",
        "truncate_request_timeout": "60s",
        "request_timeout": "30s",
        "native_transport_timeout": "60s",  # it caps the others
        "slow_query_log_timeout": "0ms",
        "auto_snapshot": False,
        "snapshot_before_compaction": False,
        "incremental_backups": False,
        "hinted_handoff_enabled": False,
        "dynamic_snitch": False,
        "internode_timeout": False,
        "disk_optimization_strategy": "ssd",
    }


def _security(folder: Path, options: CassandraOptions) -> dict[str, Any]:
    password = options.password_auth
    found: dict[str, Any] = {
        "authenticator": "PasswordAuthenticator" if password else "AllowAllAuthenticator",
        "authorizer": "CassandraAuthorizer" if password else "AllowAllAuthorizer",
        "role_manager": "CassandraRoleManager",
        "auth_cache_warming_enabled": False,
        "credentials_validity": "0ms",  # a role that was dropped cannot log in, at once
    }
    if options.certificate:
        found["client_encryption_options"] = {
            "enabled": True,
            "optional": False,
            "require_client_auth": "false",
            "ssl_context_factory": {"class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory"},
            "keystore": str(folder / KEYSTORE),
        }
    return found


def jvm_arguments(folder: Path, ports: Mapping[str, int], options: CassandraOptions, jars: Sequence[Path]) -> list[str]:
    """The arguments of `java` before the main class."""
    agent = next(jar for jar in jars if jar.name.startswith("jamm-"))
    return [
        f"-Xms{options.heap_mb}m",
        f"-Xmx{options.heap_mb}m",
        "-XX:MaxDirectMemorySize=512m",
        "-Xss512k",
        "-XX:+UseG1GC",
        "-XX:+ParallelRefProcEnabled",
        "-XX:+PerfDisableSharedMem",
        "-XX:+ExitOnOutOfMemoryError",  # half a node is worse than none: it would time out instead of being restarted
        f"-XX:ErrorFile={folder / 'log' / 'jvm_crash.log'}",
        f"-javaagent:{agent}",
        *(["-XX:TieredStopAtLevel=1"] if options.fast_start else []),
        *_access(),
        *(f"-D{name}={value}" for name, value in _properties(folder, ports).items()),
        *([f"-D{_RACK}={(folder / _RACK).as_uri()}"] if options.data_center else []),
        *options.jvm,
        *_class_path(jars),
    ]


def _access() -> list[str]:
    return [
        "-Djdk.attach.allowAttachSelf=true",
        "-Dio.netty.tryReflectionSetAccessible=true",
        *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTS),
        *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENS),
    ]


def _class_path(jars: Sequence[Path]) -> list[str]:
    return ["-cp", ":".join(str(jar) for jar in jars)]


def _properties(folder: Path, ports: Mapping[str, int]) -> dict[str, object]:
    return {
        "cassandra.config": (folder / "cassandra.yaml").as_uri(),
        "cassandra.storagedir": folder / "data",
        "cassandra.logdir": folder / "log",
        "logback.configurationFile": (folder / "logback.xml").as_uri(),
        "cassandra.triggers_dir": folder / "triggers",
        "java.io.tmpdir": folder / "tmp",
        "java.net.preferIPv4Stack": "true",
        "cassandra.ring_delay_ms": 100,
        "cassandra.skip_wait_for_gossip_to_settle": 0,
        "cassandra.superuser_setup_delay_ms": 0,
        "cassandra.auth_bcrypt_gensalt_log2_rounds": 4,  # the least: our password is random, and each connection waits for it
        "cassandra.size_recorder_interval": 5,  # seconds; the default of 300 leaves a plan without estimates
        "file.encoding": "UTF-8",
    }


def write(folder: Path, ports: Mapping[str, int], options: CassandraOptions, jars: Sequence[Path]) -> None:
    """Write all these files into `folder`; JSON is YAML too."""
    shutil.rmtree(folder / "tmp", ignore_errors=True)  # each start unpacks its native libraries there again
    for name in ("tmp", "triggers", "data"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "cassandra.yaml").write_text(json.dumps(settings(folder, ports, options), indent=1))
    if options.data_center:
        (folder / _RACK).write_text(f"dc={options.data_center}\nrack=rack1\n")
    (folder / "logback.xml").write_text(_LOGBACK.format(log=escape(str(folder / "log" / "server.log"))))
    _write_arguments(folder / SERVER_ARGUMENTS, jvm_arguments(folder, ports, options, jars))
    _write_arguments(folder / TOOL_ARGUMENTS, ["-Xmx64m", *_access(), *_class_path(jars)])


def _write_arguments(path: Path, arguments: Sequence[str]) -> None:
    """A file for java's `@file`: quoted, one argument a line."""
    escaped = (argument.replace("\\", "\\\\").replace('"', '\\"') for argument in arguments)
    path.write_text("".join(f'"{argument}"\n' for argument in escaped))
