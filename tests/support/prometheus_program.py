"""A real Prometheus, and its promtool: those on PATH, or Debian's, unpacked and not installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support import debian
from support.prometheus import ROOT
from support.running_commands import until
from support.watched import free_port

PROMETHEUS = ROOT / "deploy/prometheus"


def program(name: str) -> str:
    """`prometheus` or `promtool`. Skips the test if it is neither installed nor available from Debian's packages."""
    return shutil.which(name) or str(debian.unpacked("prometheus", "prometheus") / "usr/bin" / name)


def promtool(*arguments: str | Path) -> tuple[int, str]:
    """Its exit code, and what it said."""
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


@dataclass(frozen=True)
class Prometheus:
    """A server with the files of deploy/, but for its intervals and targets."""

    port: int

    def ask(self, path: str) -> Any:
        """The `data` of an answer of its API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=60) as answer:
            return json.load(answer)["data"]

    def firing(self) -> list[dict[str, Any]]:
        """The alerts that fire: each with `labels` and `annotations`."""
        return [alert for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"]

    def scraped(self) -> list[str]:
        """The targets whose last scrape went well."""
        return sorted(one["labels"]["instance"] for one in self.ask("targets")["activeTargets"] if one["health"] == "up")


@contextmanager
def prometheus(folder: Path, *ports: int) -> Iterator[Prometheus]:
    """One that scrapes these ports of this machine as often as deploy/ says, and whose alerts need not last."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    config["global"]["evaluation_interval"] = "1s"  # an answer may take 12 s, so the other two stay
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{port}" for port in ports]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    alerts = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))
    for rule in (rule for group in alerts["groups"] for rule in group["rules"] if "for" in rule):
        rule["for"] = "1s"
    (folder / "alerts.yml").write_text(yaml.safe_dump(alerts))
    port, log = free_port(), folder / "prometheus.log"
    with log.open("wb") as said:
        server = subprocess.Popen(
            [program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
             f"--web.listen-address=127.0.0.1:{port}"],
            cwd=folder, env={"PATH": os.environ.get("PATH", "")}, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
    try:
        made = Prometheus(port)
        until(lambda: server.poll() is not None or _answers(made), what="Prometheus answers")
        assert server.poll() is None, log.read_text()
        yield made
    finally:
        server.kill()
        server.wait(60)


def _answers(server: Prometheus) -> bool:
    try:
        return bool(server.ask("status/buildinfo"))
    except OSError:
        return False
