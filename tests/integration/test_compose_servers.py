"""What docker-compose.yml tells the images to run, run with the embedded servers: there is no Docker here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from support import compose
from support.running_commands import until

from sync import local
from sync.local import valkey
from sync.local.ports import choose
from sync.local.wire import CqlConnection, CqlRefused

pytestmark = pytest.mark.slow

ENV = {"CASSANDRA_PASSWORD": 'it\'s $HOME "so"', "POSTGRES_PASSWORD": "p", "REDIS_PASSWORD": "hunter2-queue"}


def at_home(folder: Path, **programs: str) -> dict[str, str]:
    """An environment in which these programs are the image's; `docker-entrypoint.sh` runs what it is given."""
    for name, body in {"docker-entrypoint.sh": 'exec "$@"', **programs}.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)
    return {**os.environ, **ENV, "PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": str(folder)}


def asks(port: int) -> bool:
    """Whether a Valkey that answers wants a password."""
    with redis.Redis(port=port) as stranger:
        try:
            stranger.ping()
        except redis.AuthenticationError:
            return True
        except redis.ConnectionError:
            return False
    raise AssertionError("it lets anybody in")


def refusal(port: int, name: str = "") -> str:
    """What a Cassandra that answers says to this user, whose password is their name."""
    try:
        CqlConnection(port, user=name, password=name)
    except CqlRefused as error:
        return str(error)
    except OSError:
        return ""
    raise AssertionError(f"it lets {name or 'anybody'} in")


def test_valkey_asks_for_the_password_which_is_no_argument(tmp_path: Path) -> None:
    """Would break: a queue without a password, or one that `ps` shows."""
    port, service = choose(set()), compose.services(ENV)["valkey"]
    env = at_home(tmp_path, valkey_server=f'exec {valkey._binary()} "$@" --port {port} --bind 127.0.0.1 --save ""')
    with subprocess.Popen(service["command"], env=env, cwd=tmp_path, stdout=subprocess.DEVNULL) as server:
        try:
            until(lambda: asks(port), what="it requires a password")
            with redis.Redis(port=port, password=ENV["REDIS_PASSWORD"]) as client:
                assert client.ping()
            assert ENV["REDIS_PASSWORD"] not in Path(f"/proc/{server.pid}/cmdline").read_text()
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.CassandraServer]:
    """A Cassandra with the options of the service, whose first superuser is Cassandra's own."""
    options = compose.services(ENV)["cassandra"]["environment"]["JVM_EXTRA_OPTS"].split()
    made = local.CassandraOptions(password_auth=False, heap_mb=384, fast_start=True, jvm=options)
    server = local.CassandraServer(tmp_path_factory.mktemp("cassandra"), options=made)
    server.start(wait=False)
    yield server
    server.remove()


def test_cassandra_has_one_role_with_the_password_of_the_environment(
    cassandra: local.CassandraServer, tmp_path: Path
) -> None:
    """Would break: the server is open, or its well-known superuser stays; the health check passes too early, or never."""
    port, services = cassandra.port, compose.services(ENV)
    here = f'args=("${{@/#cassandra/127.0.0.1}}"); exec {sys.executable} -m cqlshlib "${{args[@]}}"'
    env = {**at_home(tmp_path, cqlsh=here), "CQLSH_PORT": str(port)}
    health = services["cassandra"]["healthcheck"]["test"][1:]
    until(lambda: refusal(port), 120, "it requires a password")
    assert subprocess.run(health, env=env, capture_output=True, check=False).returncode != 0
    for _ in range(2):  # the service runs at each `up`
        subprocess.run(services["keyspace"]["entrypoint"], env=env, capture_output=True, check=True, timeout=120)
    done = subprocess.run(health, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "5.0.6" in done.stdout, done
    assert "incorrect" in refusal(port, "cassandra")
    with CqlConnection(port, user="sync", password=ENV["CASSANDRA_PASSWORD"]) as ours:
        ours.execute("CREATE TABLE music.mine (id int PRIMARY KEY)")
        assert ours.execute("SELECT count(*) FROM system_auth.roles")[-1] == 1
