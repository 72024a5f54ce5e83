"""A migration under an application that knows nothing of `sync`: its writes are found in the node's commit log."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cassandra.cluster import Session
from support.backfills import SIMPLE, Site
from support.commitlog import CDC
from support.environments import settings_in
from support.running_commands import until
from support.servers import DURABLE, stack_in, up

from sync import local
from sync.adapters.cassandra.connection.connect import open_cassandra

pytestmark = pytest.mark.slow
WRITER = Path(__file__).parents[1] / "support" / "foreign_writer.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Servers of its own, the node with CDC."""
    folder = tmp_path_factory.mktemp("cdc") / "servers"
    up(folder, replace(DURABLE, yaml=CDC))
    stack = stack_in(folder)
    settings = settings_in(stack.endpoints().env()).model_copy(update={"astra_db_keyspace": "shop"})
    try:
        with open_cassandra(settings) as cassandra:
            make(cassandra.session)
            found = Site(settings, cassandra, tmp_path_factory.mktemp("site"))
            try:
                yield found
            finally:
                found.close()
    finally:
        local.down(folder)


def make(session: Session) -> None:
    session.execute(f"CREATE KEYSPACE shop WITH replication = {SIMPLE}")
    session.execute(
        "CREATE TABLE shop.songs (album text, track int, title text, tags set<text>, PRIMARY KEY (album, track)) WITH cdc = true"
    )
    session.execute("CREATE TABLE shop.people (name text PRIMARY KEY, age int) WITH cdc = true")


@contextmanager
def foreign_writer(site: Site) -> Iterator[subprocess.Popen[str]]:
    """The other application; in Node.js where SYNC_TEST_NODE_MODULES has its cassandra-driver."""
    modules = os.environ.get("SYNC_TEST_NODE_MODULES")
    node = shutil.which("node")
    program = [node, str(WRITER.with_suffix(".js"))] if modules and node else [sys.executable, str(WRITER)]
    s = site.settings
    password = s.cassandra_password.get_secret_value() if s.cassandra_password else ""
    arguments = [str(s.cassandra_contact_points), str(s.cassandra_port), str(s.cassandra_username), password, site.keyspace]
    env = {"PATH": os.environ["PATH"], **({"NODE_PATH": modules} if modules else {})}
    child = subprocess.Popen([*program, *arguments], env=env, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def written(child: subprocess.Popen[str], hundreds: int) -> None:
    """Wait for so many hundred statements."""
    assert child.stdout
    for _ in range(hundreds):
        assert child.stdout.readline().strip(), "the application died"


def told(site: Site, moment: float) -> bool:
    return bool(site.sql("SELECT 1 FROM sync.feed WHERE told_until >= to_timestamp(%s)", (moment,)))


def test_what_others_write_arrives(site: Site) -> None:
    """Would break: a migration is proved clean, and what a service in another language wrote is not in Postgres."""
    raw = Path(str(site.cql("SELECT value FROM system_views.settings WHERE name = 'cdc_raw_directory'")[0].value))
    site.configure(more="[capture]\nwrite_timeout_seconds = 1")
    assert site.run("schema", "apply").code == 0
    with foreign_writer(site) as application:
        written(application, 5)
        follower = site.start("follow", "commitlog", "--cdc-raw", str(raw), "--quiet")
        site.start("worker", "--quiet")
        written(application, 2)
        copied = site.run("backfill", "--workers", "0", "--quiet")
        assert copied.code == 0, copied
        written(application, 10)
        os.kill(follower.pid, signal.SIGKILL)  # it holds nothing that is not recorded
        written(application, 5)
        follower = site.start("follow", "commitlog", "--cdc-raw", str(raw), "--quiet")
        written(application, 5)
    ended = time.time()
    until(lambda: told(site, ended), 120, what="the feed has told everything; it says: " + follower.err)
    until(lambda: site.sql("SELECT count(*) FROM sync.intent")[0][0] == 0, 240, what="the workers have read what was told")
    assert not follower.ended, follower.err
    for _ in range(2):
        report = site.run("drift-report", "--workers", "0", "--quiet")
        assert report.code == 0, report
    rows = {(row.album, row.track, row.title) for row in site.cql("SELECT album, track, title FROM {ks}.songs")}
    assert rows and set(site.sql("SELECT album, track, title FROM songs")) == rows
    follower.interrupt()
    assert "recorded" in follower.wait(60).err
