"""The embedded servers' parts that need no server: recognising processes, remembering, configuration, last words."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sync.errors import LocalServerError
from sync.local import CassandraOptions, ValkeyServer, ports
from sync.local.cassandra import config, java
from sync.local.cassandra.role import Role
from sync.local.memory import Memory
from sync.local.postgres_user import elsewhere
from sync.local.processes import Mark, child_env, find


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    """A process with `/our/folder` among its arguments."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "/our/folder"]) as child:
        process = psutil.Process(child.pid)
        while "/our/folder" not in process.cmdline():  # right after its start it has none yet
            time.sleep(0.01)
        yield process
        child.kill()


def test_a_process_is_ours_by_program_and_whole_argument(sleeper: psutil.Process) -> None:
    program = Path(sys.executable).name
    assert Mark(program, "/our/folder").fits(sleeper)
    assert find(Mark(program, "/our/folder"), pid=1) == sleeper
    assert not Mark("java", "/our/folder").fits(sleeper)
    assert not Mark(program, "/our/fold").fits(sleeper)
    assert not Mark(program, sys.executable).fits(sleeper)
    sleeper.kill()
    sleeper.wait(5)
    assert not Mark(program, "/our/folder").fits(sleeper)
    assert find(Mark(program, "/our/folder"), pid=sleeper.pid) is None


@pytest.mark.parametrize("damaged", ["", "{", "[1]", '{"client": "x"}', "\0\0"])
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "state.json").write_text(damaged)
    memory = Memory(tmp_path, "Server")
    assert memory.read() == {}
    with pytest.raises(LocalServerError, match="Server has no port yet"):
        memory.ports(("client",))
    memory.write(client=1, pid=2)
    assert memory.read() == {"client": 1, "pid": 2}


def test_ports_stay_while_they_are_free(tmp_path: Path) -> None:
    memory = Memory(tmp_path, "Server")
    first = memory.choose_ports(("client", "storage"), None)
    assert len(set(first.values())) == 2
    assert memory.choose_ports(("client", "storage"), None) == first
    with socket.socket() as thief:
        thief.bind((ports.LOOPBACK, first["client"]))
        thief.listen()
        second = memory.choose_ports(("client", "storage"), None)
        with pytest.raises(LocalServerError, match=f"port {first['client']} is taken by process"):
            memory.choose_ports(("client", "storage"), first["client"])
    assert second["client"] != first["client"]
    assert second["storage"] == first["storage"]
    assert memory.choose_ports(("client", "storage"), first["client"])["client"] == first["client"]


def test_cassandra_keeps_everything_in_its_folder_and_options_win(tmp_path: Path) -> None:
    options = CassandraOptions(password_auth=True, yaml={"num_tokens": 4}, jvm=('-Dquoted="a\\b"',))
    jars = [tmp_path / "jamm-0.4.0.jar", tmp_path / "cassandra-all.jar"]
    config.write(tmp_path, {"client": 1, "storage": 2}, options, jars)
    written = json.loads((tmp_path / "cassandra.yaml").read_text())
    places = [value for name, value in written.items() if name.endswith("_directory")] + written["data_file_directories"]
    assert len(places) == 5 and all(place.startswith(str(tmp_path)) for place in places)
    assert (written["num_tokens"], written["authenticator"]) == (4, "PasswordAuthenticator")
    assert written["listen_address"] == written["rpc_address"] == "127.0.0.1"
    arguments = (tmp_path / config.SERVER_ARGUMENTS).read_text().splitlines()
    assert r'"-Dquoted=\"a\\b\""' in arguments
    assert arguments[-1] == f'"{jars[0]}:{jars[1]}"'


def test_cassandras_password_is_made_once_and_stays_with_the_data(tmp_path: Path) -> None:
    """Would break: after a crash, or where the data were removed by hand, nobody can log in."""
    role, kept, next_one = Role(tmp_path), tmp_path / "password", tmp_path / "password.next"
    role.prepare()
    made = next_one.read_text()
    assert next_one.stat().st_mode & 0o777 == 0o600 and role.password == ""
    role.prepare()  # after a crash before the role was made
    assert next_one.read_text() == made
    next_one.replace(kept)
    (tmp_path / "data").mkdir()
    (tmp_path / "cassandra.yaml").write_text('{"authenticator": "PasswordAuthenticator"}')
    role.prepare()
    assert role.password == made and not next_one.exists()
    kept.rename(tmp_path / "away")
    with pytest.raises(LocalServerError, match=r"password is gone; put it back, or remove .* and start again"):
        role.prepare()
    (tmp_path / "away").rename(kept)
    (tmp_path / "data").rmdir()
    role.prepare()
    assert role.password == "" and next_one.read_text() == made


def test_a_class_path_counts_only_while_every_jar_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jar = tmp_path / "cassandra.jar"
    asked: list[str] = []

    def resolve(version: str, report: object, check_cancelled: object) -> list[Path]:
        asked.append("again")
        jar.write_bytes(b"whole")
        return [jar]

    monkeypatch.setattr(java, "_resolve", resolve)
    for harm in (lambda: None, lambda: jar.write_bytes(b"cut"), jar.unlink):
        harm()
        assert java.class_path(lambda line: None, lambda: None) == [jar]
        assert java.class_path(lambda line: None, lambda: None) == [jar]
    assert len(asked) == 3


def test_last_words_are_the_last_error_that_says_something(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path)
    assert server.last_words() == "it said nothing"
    server.log.parent.mkdir()
    server.log.write_text("INFO all is well\nINFO bye\n\n")
    assert server.last_words() == "INFO bye"
    server.log.write_text("ERROR no space\nError: A fatal exception has occurred. Program will exit.\nINFO bye\n")
    assert server.last_words() == "ERROR no space"


def test_a_server_gets_no_setting_from_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGPORT", "PGDATA", "JAVA_TOOL_OPTIONS", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(name, "xx")
    env = child_env(MORE="1")
    assert "xx" not in env.values()
    assert env["MORE"] == "1" and env["LC_ALL"].startswith("C")


def test_a_copied_folder_does_not_share_the_data_kept_elsewhere_but_a_moved_one_takes_them(tmp_path: Path) -> None:
    home, first, copy, moved = (tmp_path / name for name in ("home", "first", "copy", "moved"))
    for folder in (home, first, copy):
        folder.mkdir()
    (home / "belongs-to").write_text(str(first))
    for folder in (first, copy):
        (folder / "elsewhere").symlink_to(home)
    assert elsewhere(first) == home
    assert elsewhere(copy) is None
    first.rename(moved)
    assert elsewhere(moved) == home
    assert elsewhere(copy) is None
