"""A real Pulsar: one process with its own bookie and metadata, of the jars that it loads (tests/data/pulsar_jars.txt)."""

from __future__ import annotations

import base64
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jgo.config import GlobalSettings
from jgo.maven import MavenContext

from sync.adapters.pulsar.pulsar_settings import PulsarSettings
from sync.local.cassandra.java import java_program
from sync.local.ports import choose

JARS = Path(__file__).parents[1] / "data" / "pulsar_jars.txt"
_START_SECONDS = 300
_OPENS = (
    "java.base/jdk.internal.loader", "java.base/java.lang", "java.base/java.io", "java.base/java.util.zip", "java.base/sun.net",
    "java.management/sun.management", "jdk.management/com.sun.management.internal", "java.base/jdk.internal.platform",
)  # fmt: skip
_CONF = """
metadataStoreUrl=
configurationMetadataStoreUrl=
bindAddress=127.0.0.1
advertisedAddress=127.0.0.1
clusterName=standalone
managedLedgerDefaultEnsembleSize=1
managedLedgerDefaultWriteQuorum=1
managedLedgerDefaultAckQuorum=1
functionsWorkerEnabled=false
loadBalancerEnabled=false
loadBalancerOverrideBrokerNicSpeedGbps=1
brokerDeleteInactiveTopicsEnabled=false
allowAutoTopicCreation=false
managedLedgerMinLedgerRolloverTimeMinutes=0
managedLedgerMaxEntriesPerLedger=10
"""
_LOG = """<Configuration status="ERROR"><Appenders><Console name="c"/></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="c"/></Root></Loggers></Configuration>"""


def class_path() -> str:
    """The jars, fetched once."""
    context = MavenContext(repo_cache=GlobalSettings.load().repo_cache)
    found = []
    for line in JARS.read_text().split():
        group, name, version, *classifier = line.split(":")
        component = context.project(group, name).at_version(version)
        found.append(str(component.artifact(classifier[0] if classifier else "").resolve()))
    return ":".join(found)


@dataclass
class Pulsar:
    """A running server."""

    folder: Path
    port: int
    web: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> PulsarSettings:
        return PulsarSettings(_env_file=None, sync_pulsar_url=f"pulsar://127.0.0.1:{self.port}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        opens = [part for each in _OPENS for part in ("--add-opens", f"{each}=ALL-UNNAMED")]
        conf = self.folder / "standalone.conf"
        conf.write_text(f"{_CONF}brokerServicePort={self.port}\nwebServicePort={self.web}\n")
        (self.folder / "log4j2.xml").write_text(_LOG)
        command = [
            str(java_program()), "-Xmx384m", "-XX:MaxDirectMemorySize=384m", "-XX:TieredStopAtLevel=1", *opens,
            f"-Dlog4j2.configurationFile={self.folder}/log4j2.xml", "-Dio.netty.tryReflectionSetAccessible=true",
            "-cp", class_path(), "org.apache.pulsar.PulsarStandaloneStarter", "--config", str(conf), "-nss", "-nfw",
            "--bookkeeper-dir", str(self.folder / "bookies"), "--metadata-dir", str(self.folder / "metadata"),
            "--bookkeeper-port", str(choose(set())),
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < until, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.5)

    def _answers(self) -> bool:
        try:
            self.admin("GET", "namespaces/public/default")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(120)

    def admin(self, method: str, path: str, body: str = "") -> str:
        """A request to its administration."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.web}/admin/v2/{path}", body.encode() or None, {"Content-Type": "application/json"},
            method=method,
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())

    def topic(self, name: str, partitions: int = 0) -> str:
        """Make a topic; its name."""
        path = f"persistent/public/default/{name}"
        self.admin("PUT", f"{path}/partitions" if partitions else path, str(partitions) if partitions else "")
        return f"persistent://public/default/{name}"

    def skip_all(self, topic: str, subscription: str = "sync") -> None:
        """Drop what the subscription has not acknowledged, as a TTL or a quota does."""
        self.admin("POST", f"{topic.replace('://', '/')}/subscription/{subscription}/skip_all")


@contextmanager
def sending(server: Pulsar, topic: str) -> Iterator[Any]:
    """`send(key, properties)` to a topic, of keys as Avro's bytes: as the connector does, in Base64; not batched."""
    import pulsar

    client = pulsar.Client(
        f"pulsar://127.0.0.1:{server.port}", logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null")
    )
    try:
        producer = client.create_producer(topic, message_routing_mode=pulsar.PartitionsRoutingMode.RoundRobinDistribution)

        def send(key: bytes, properties: Mapping[str, str] | None = None) -> None:
            producer.send(b"", properties=dict(properties or {}), partition_key=base64.b64encode(key).decode())

        yield send
    finally:
        client.shutdown()


@contextmanager
def running(folder: Path) -> Iterator[Pulsar]:
    """A server of its own, ended at the end."""
    server = Pulsar(folder, port := choose(set()), choose({port}))
    try:
        server.start()
        yield server
    finally:
        server.stop()
