"""deploy/: what can be checked without Docker, Kubernetes and systemd."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sync.adapters.queue_errors import check_url
from sync.arguments import build_parser
from sync.errors import SettingsError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
USER = "syncworker"
OF_DEBIAN = {
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data", "backup",
    "list", "irc", "_apt", "nobody", "adm", "tty", "disk", "kmem", "dialout", "fax", "voice", "cdrom", "floppy", "tape",
    "sudo", "audio", "dip", "operator", "src", "shadow", "utmp", "video", "sasl", "plugdev", "staff", "users",
    "nogroup",
}  # fmt: skip
"""The users and groups of its package base-passwd."""
UNITS = sorted((DEPLOY / "systemd").iterdir())


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods of the Kubernetes example, by the kind of what makes them."""
    for one in (one for path in sorted((DEPLOY / "kubernetes").iterdir()) for one in documents(path)):
        spec = one.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield one["kind"], template["spec"]


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda p: str(p.relative_to(DEPLOY)))
def test_yaml_is_yaml(path: Path) -> None:
    """Would break: a file that nothing can read."""
    assert all(isinstance(one, dict) for one in documents(path))


@pytest.mark.parametrize("path", [COMPOSE, ROOT / "docker-compose.yml"], ids=["deploy", "servers"])
def test_compose_is_what_its_specification_says(path: Path) -> None:
    """Would break: a misspelt key, which Compose refuses."""
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_key_of_compose_is_found(tmp_path: Path) -> None:
    """Would break: the test above checks nothing."""
    wrong = tmp_path / "compose.yml"
    wrong.write_text("services:\n  one:\n    image: a\n    restrat: always\n")
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(wrong)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "restrat" in done.stdout


def commands() -> list[list[str]]:
    """Every `sync …` that the files run."""
    services = documents(COMPOSE)[0]["services"]
    found = [one["command"] for one in services.values() if "command" in one]
    found += [container["args"] for _, pod in pods() for container in pod["containers"]]
    for unit in UNITS:
        found += [shlex.split(line)[1:] for line in re.findall(r"^ExecStart=(.*)$", unit.read_text("utf-8"), re.MULTILINE)]
    return found


@pytest.mark.parametrize("argv", commands(), ids=" ".join)
def test_commands_are_ones_that_it_takes(argv: list[str]) -> None:
    """Would break: a container that ends at once with "see --help"."""
    build_parser().parse_args(argv)


def test_every_file_has_commands() -> None:
    """Would break: the test above sees none of them."""
    assert [argv[0] for argv in commands()] == [
        "worker", "dashboard", "backfill", "worker", "drift-report", "drift-report", "worker",
    ]  # fmt: skip


def test_images_are_pinned_and_ports_are_this_machines() -> None:
    """Would break: another version every week, or a database that the whole network reaches."""
    services = documents(COMPOSE)[0]["services"]
    for name, one in services.items():
        own = name in ("sync", "worker", "dashboard")
        assert re.search(r":(v?\d+\.\d+|latest$)", one["image"]) and ("latest" in one["image"]) is own
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", ()))
        for variable, value in one.get("environment", {}).items():
            if "PASSWORD" in variable or "URL" in variable or "TOKEN" in variable:
                assert re.search(r"\$\{\w+:\?", value), f"{name}: {variable} has a value, or a default"


def test_what_compose_mounts_is_there() -> None:
    """Would break: Docker makes an empty folder of what is missing, and Grafana has no board."""
    mounted = [v.split(":")[0] for one in documents(COMPOSE)[0]["services"].values() for v in one.get("volumes", ())]
    assert [source for source in mounted if source.startswith(".") and not (DEPLOY / source).exists()] == []
    assert any(source.startswith(".") for source in mounted)
    (target,) = documents(DEPLOY / "prometheus/prometheus.yml")[0]["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == "worker:9464"


KUBERNETES = ("1.30", "1.36")
"""The oldest version that is meant, and one that is new."""


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", sorted((DEPLOY / "kubernetes").iterdir()), ids=lambda p: p.name)
def test_kubernetes_takes_the_examples(path: Path, version: str) -> None:
    """Would break: a key in the wrong place, which `kubectl apply` refuses."""
    found = documents(path)
    assert found
    for one in found:
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("terminationGracePeriodsSeconds: 120", "terminationGracePeriodSeconds: 120"),
        ("containerPort: metrics", "containerPort: 9464"),
        ("apiVersion: apps/v2", "apiVersion: apps/v1"),
        ("replicas: two", "replicas: 2"),
        ("schedul: ", "schedule: "),
        ("  replicas: 2\n  terminationGracePeriodSeconds: 120\n", "  replicas: 2\n"),
    ],
)
def test_what_kubernetes_refuses_is_found(wrong: str, right: str) -> None:
    """Would break: the test above checks nothing."""
    text = (DEPLOY / "kubernetes/sync.yaml").read_text("utf-8")
    assert right in text
    with pytest.raises((kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError)):
        for one in yaml.safe_load_all(text.replace(right, wrong)):
            kubernetes_validate.validate(one, KUBERNETES[-1], strict=True)


def test_pods_have_probes_limits_and_no_root() -> None:
    """Would break: an example that a cluster with sensible policies refuses."""
    found = dict(pods())
    assert set(found) == {"Deployment", "Job", "CronJob"}
    for kind, pod in found.items():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
        assert container["resources"]["limits"]["memory"] and container["envFrom"] == [{"secretRef": {"name": "sync-env"}}]
        assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
        assert ("livenessProbe" in container and "readinessProbe" in container) is (kind == "Deployment")
    (container,) = found["Deployment"]["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert str(container["ports"][0]["containerPort"]) in container["args"]


def test_the_copy_is_begun_by_hand() -> None:
    """Would break: `kubectl apply` begins the copy before there is a schema, and before the writers write to both sides."""
    assert [one["kind"] for one in documents(DEPLOY / "kubernetes/sync.yaml")] == ["ConfigMap", "Deployment", "CronJob"]
    assert [one["kind"] for one in documents(DEPLOY / "kubernetes/backfill.yaml")] == ["Job"]


def test_what_takes_lines_as_they_are_gets_no_variables() -> None:
    """Would break: `${REDIS_PASSWORD}` is the password, since neither Docker nor Kubernetes replaces it."""
    page = (ROOT / "docs/deploy.md").read_text("utf-8")
    files = re.findall(r"(?:docker run .*--env-file |--from-env-file=)(\S+)", page)
    assert files == ["sync.env", "sync.env"]
    (example,) = re.findall(r"```sh\n(CASSANDRA_.*?)```", page, re.DOTALL)
    assert not re.search(r"[$'\"]|127\.0\.0\.1", example)
    with pytest.raises(SettingsError, match="a variable in it was not replaced") as told:
        check_url("redis://:${REDIS_PASSWORD}@127.0.0.1:6379/0")
    assert "PASSWORD" not in str(told.value)
    for line in example.splitlines():
        if line.startswith("REDIS_URL="):
            check_url(line.partition("=")[2])


@pytest.mark.parametrize("unit", UNITS, ids=lambda p: p.name)
def test_units_are_units(unit: Path) -> None:
    """Would break: systemd passes over a line in the wrong section."""
    parser = configparser.ConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit.read_text("utf-8"))
    wanted = {".service": {"Unit", "Service"}, ".timer": {"Unit", "Timer", "Install"}}[unit.suffix]
    assert wanted <= set(parser.sections())
    if unit.suffix == ".service":
        assert parser["Service"]["User"] == USER and parser["Service"]["NoNewPrivileges"] == "true"


def test_the_user_is_none_that_debian_has() -> None:
    """Would break: `useradd sync` fails, since Debian has a user of that name; or the workers run as that one."""
    assert USER not in OF_DEBIAN
    image = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert (
        re.findall(r"groupadd (?:--\S+ \d+ )*(\w+)", image) == re.findall(r"useradd .* (\w+)$", image, re.MULTILINE) == [USER]
    )
    page = (ROOT / "docs/deploy.md").read_text("utf-8")
    assert re.findall(r"^useradd .* (\w+)$", page, re.MULTILINE) == [USER]
    named = re.findall(r"install .*-o (\w+) -g (\w+)", page)
    assert named == [(USER, USER)]


def test_the_image_is_not_roots_and_takes_only_what_it_needs() -> None:
    """Would break: .env, with its passwords, becomes a layer of an image."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    last = text.split("\nFROM ")[-1]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE) and "AS build" in text
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert allowed[1] == "*"
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for name in line.split()}
    assert {line[1:] for line in allowed if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", last, re.MULTILINE)[0]) == ["sync"]
