"""docker-compose.yml: what can be checked without Docker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values
from support import compose

from sync.settings import Settings, load_settings


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return compose.dotenv(tmp_path)


def test_the_env_file_that_it_tells_to_make_is_what_sync_reads(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: a newcomer follows the comment at its top, and `sync` asks for a setting or is refused."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    assert env_file.stat().st_mode & 0o777 == 0o600
    found = load_settings(env_file)
    given = dotenv_values(env_file)
    assert set(given) - {"REDIS_PASSWORD"} == {name.upper() for name in found.model_fields_set}
    assert found.redis_url and found.redis_url.get_secret_value() == f"redis://:{given['REDIS_PASSWORD']}@127.0.0.1:6379/0"
    passwords = {value for name, value in given.items() if name.endswith("PASSWORD")}
    assert len(passwords) == 3 and all(re.fullmatch("[0-9a-f]{36}", value or "") for value in passwords)


def test_every_password_comes_from_the_environment_and_none_has_a_default(env_file: Path) -> None:
    """Would break: a password that is publicly known, or an empty one."""
    given = {name: value or "" for name, value in dotenv_values(env_file).items()}
    made = compose.services(given)  # refuses a default
    for name, service in made.items():
        for variable, value in service.get("environment", {}).items():
            assert "PASSWORD" not in variable or (variable in given and value == given[variable]), (name, variable)
    assert {variable for service in made.values() for variable in service.get("environment", {})} >= {
        "CASSANDRA_PASSWORD", "POSTGRES_PASSWORD", "REDIS_PASSWORD"
    }  # fmt: skip
    texts = [str(one) for service in made.values() for key, one in service.items() if key != "environment"]
    assert not [secret for name, secret in given.items() if "PASSWORD" in name and any(secret in text for text in texts)]


def test_its_ports_are_this_machines_own_and_those_that_sync_is_told(env_file: Path) -> None:
    """Would break: the servers are open to the network."""
    ports = {name: service["ports"] for name, service in compose.raw()["services"].items() if "ports" in service}
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for found in ports.values() for port in found), ports
    found = load_settings(env_file)
    assert ports["cassandra"] == [f"127.0.0.1:{found.cassandra_port}:9042"]
    assert ports["postgres"] == [f"127.0.0.1:{found.postgres_port}:5432"]


def test_its_names_and_users_are_those_that_sync_is_told(env_file: Path) -> None:
    given = dotenv_values(env_file)
    services = compose.raw()["services"]
    postgres = services["postgres"]["environment"]
    assert (postgres["POSTGRES_DB"], postgres["POSTGRES_USER"]) == (given["POSTGRES_DATABASE"], given["POSTGRES_USER"])
    script = services["keyspace"]["entrypoint"][-1]
    assert f"KEYSPACE IF NOT EXISTS {given['ASTRA_DB_KEYSPACE']} " in script
    assert f"ROLE IF NOT EXISTS {given['CASSANDRA_USERNAME']} " in script


def test_its_images_are_pinned() -> None:
    """Would break: another version runs tomorrow, unnoticed."""
    images = {service["image"] for service in compose.raw()["services"].values()}
    assert all(re.search(r":v?\d+\.\d+\.\d+(-[\w.-]+)?$", image) for image in images), images
