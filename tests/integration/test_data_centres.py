"""LOCAL_QUORUM is a quorum of one data centre: which one it is must be known, and the same for all processes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from psycopg import sql
from support.commands import Commands, Zygote, environment
from support.dual import prepare
from support.two_data_centres import TwoDataCentres

from sync import local
from sync.adapters.cassandra.connection.connect import open_cassandra
from sync.adapters.postgres.connection.connect import connect
from sync.adapters.postgres.cutover.writers import fence, list_writers
from sync.errors import PreflightError, SettingsError
from sync.settings import Config, Settings
from sync.stores import CqlStore, DualWriteStore
from sync.wiring.backfill.worker import copy_job
from sync.wiring.drift.worker import check_job
from sync.wiring.dual_write.worker import drain_job
from workers.tasks import reconcile

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
BOTH = "{'class': 'NetworkTopologyStrategy', 'dc1': 1, 'dc2': 1}"
ONLY_DC1 = "{'class': 'NetworkTopologyStrategy', 'dc1': 1}"
ANYWHERE = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
ELSEWHERE = r"writes in dc1, this process reads dc2: set CASSANDRA_LOCAL_DC=dc1"
CONFIG = Config(schema_files=())


@pytest.fixture(scope="module")
def keyspaces(two_data_centres: TwoDataCentres) -> dict[str, str]:
    """A keyspace with a table, for each way of replication."""
    made = {}
    for replication in (BOTH, ONLY_DC1, ANYWHERE):
        name = made[replication] = f"k_{uuid4().hex[:8]}"
        two_data_centres.execute(
            f"CREATE KEYSPACE {name} WITH replication = {replication}",
            f"CREATE TABLE {name}.pairs (id uuid PRIMARY KEY, a text)",
        )
    return made


@pytest.fixture
def home(base_settings: Settings, two_data_centres: TwoDataCentres, keyspaces: dict[str, str]) -> Iterator[Settings]:
    """A migration from dc1 that has begun, in a database of its own."""
    name = f"two_{uuid4().hex[:8]}"
    with closing(connect(base_settings, autocommit=True)) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            given = base_settings.model_copy(update={"postgres_database": name})
            settings = two_data_centres.settings(given, "dc1", keyspaces[BOTH])
            prepare(settings, CONFIG, "pairs")
            yield settings
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def in_dc2(settings: Settings) -> Settings:
    return settings.model_copy(update={"cassandra_local_dc": "dc2"})


def rows(settings: Settings, statement: str) -> list[tuple[object, ...]]:
    with closing(connect(settings, autocommit=True)) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_several_data_centres_want_one_that_is_stated(
    base_settings: Settings, two_data_centres: TwoDataCentres, keyspaces: dict[str, str]
) -> None:
    """Would break: each request goes to whichever data centre comes next, and misses what has not arrived there yet."""
    for at in ("dc1", "dc2"):
        unstated = two_data_centres.settings(base_settings, None, keyspaces[BOTH], at)
        with pytest.raises(SettingsError, match=r"several data centres \(dc1, dc2\): set CASSANDRA_LOCAL_DC"):
            CqlStore(unstated)
        with open_cassandra(unstated.model_copy(update={"cassandra_local_dc": at})) as cassandra:
            assert cassandra.data_center == at
            coordinators = {cassandra.session.execute("SELECT data_center FROM system.local").one()[0] for _ in range(6)}
            assert coordinators == {at}


def test_one_data_centre_need_not_be_stated(base_settings: Settings) -> None:
    """Would break: people with one data centre, as most have, must find out its name."""
    with open_cassandra(base_settings.model_copy(update={"cassandra_local_dc": None})) as cassandra:
        assert cassandra.data_center == "datacenter1"


@pytest.mark.parametrize(
    ("replication", "says"),
    [(ONLY_DC1, r"no replicas in data centre dc2; it has them in dc1: set CASSANDRA_LOCAL_DC"), (ANYWHERE, "SimpleStrategy")],
)
def test_a_data_centre_without_replicas_is_refused(
    base_settings: Settings, two_data_centres: TwoDataCentres, keyspaces: dict[str, str], replication: str, says: str
) -> None:
    """Would break: preflight says "Ready.", and every request fails; or a quorum may be of nodes anywhere."""
    settings = two_data_centres.settings(base_settings, "dc2", keyspaces[replication], "dc2")
    with pytest.raises(SettingsError, match=says):
        CqlStore(settings)


def test_a_writer_in_another_data_centre_does_not_start(home: Settings) -> None:
    """Would break: what one process has written is read where it has not arrived yet, and the old row is copied."""
    with DualWriteStore(home, CONFIG) as store:
        store.put("pairs", {"id": uuid4(), "a": "1"})
        with pytest.raises(SettingsError, match=ELSEWHERE):
            DualWriteStore(in_dc2(home), CONFIG)
        with closing(connect(home, autocommit=True)) as connection:
            assert [w["data_center"] for w in list_writers(connection)] == ["dc1"], "who was refused is not registered"
    with DualWriteStore(in_dc2(home), CONFIG) as store:  # all of dc1 is settled, and nobody writes there any more
        store.put("pairs", {"id": uuid4(), "a": "2"})


def test_intents_of_a_writer_that_has_gone_are_settled_in_its_data_centre(
    home: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Would break: a worker elsewhere reads the old row, copies it, and removes the intent: an acknowledged write is lost."""
    queued = Config(
        schema_files=(), dual_write=CONFIG.dual_write.model_copy(update={"async_secondary": frozenset({"pairs"})})
    )
    with DualWriteStore(home, queued) as store:
        store.put("pairs", {"id": uuid4(), "a": "1"})
    rows(home, "UPDATE sync.intent SET lease_until = NULL")
    for name, value in environment(in_dc2(home)).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=ELSEWHERE):
        reconcile("pairs")
    assert re.search("pairs: .*" + ELSEWHERE, caplog.text), "a worker says why intents wait"
    assert rows(home, "SELECT count(*) FROM sync.intent") == [(1,)]
    assert drain_job(home, CONFIG, "pairs", lambda: False) == 1
    assert drain_job(in_dc2(home), CONFIG, "pairs", lambda: False) == 0


def test_workers_of_another_data_centre_refuse(home: Settings) -> None:
    """Would break: a worker beside Postgres, in another region, copies and compares rows that are outdated there."""
    rows(home, "INSERT INTO sync.run (kind, table_name, floor) VALUES ('backfill', 'pairs', 1), ('drift', 'pairs', 1)")
    rows(
        home,
        "INSERT INTO sync.range (run_id, table_name, range_start, range_end) SELECT id, 'pairs', -9223372036854775808, "
        "9223372036854775807 FROM sync.run",
    )
    for number, job in enumerate((copy_job, check_job), 1):
        with DualWriteStore(home, CONFIG), pytest.raises(SettingsError, match=ELSEWHERE):
            job(in_dc2(home), CONFIG, [number], lambda: False)
        rows(home, "UPDATE sync.run SET data_center = 'dc1'")  # as the command that began it does
        with pytest.raises(SettingsError, match=r"of pairs reads dc1, this process reads dc2"):
            job(in_dc2(home), CONFIG, [number], lambda: False)


def test_commands_of_another_data_centre_refuse(
    home: Settings, zygote: Zygote, valkey: local.ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Would break: a pass in another data centre is taken for a proof, and Postgres becomes primary with a row missing."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "sync.toml").write_text("schema_files = []\n")
    commands = Commands(folder, {**environment(in_dc2(home)), "REDIS_URL": valkey.url}, zygote)
    with DualWriteStore(home, CONFIG):
        for argv in (["preflight"], ["backfill"], ["drift-report"], ["cutover", "--yes"]):
            done = commands.run(*argv)
            assert done.code == 1, done
            assert "writes in dc1, this process reads dc2: set CASSANDRA_LOCAL_DC=dc1" in " ".join(
                (done.out + done.err).split()
            )
        assert commands.but(CASSANDRA_LOCAL_DC="dc1").run("preflight").code == 0
        unstated = commands.but(CASSANDRA_LOCAL_DC=None).run("preflight")
        assert unstated.code == 1
        assert "dc1, dc2" in unstated.out


def test_a_fenced_writer_s_data_centre_may_be_left(home: Settings) -> None:
    """Would break: a data centre is lost with its writers, and nothing can go on in the other one."""
    with DualWriteStore(home, CONFIG) as store:
        with closing(connect(home, autocommit=True)) as connection:
            name = store._registration.writer.id
            store._registration._end.set()
            store._registration._thread.join()
            fence(connection, name)
        DualWriteStore(in_dc2(home), CONFIG).close()


def test_intents_in_a_data_centre_that_is_lost_have_a_way_out(home: Settings) -> None:
    """Would break: a writer signs off, its data centre burns down, and its open intents forbid everything elsewhere for good."""
    queued = Config(
        schema_files=(), dual_write=CONFIG.dual_write.model_copy(update={"async_secondary": frozenset({"pairs"})})
    )
    with DualWriteStore(home, queued) as store:
        store.put("pairs", {"id": uuid4(), "a": "1"})
        name = store._registration.writer.id
    rows(home, "UPDATE sync.intent SET lease_until = NULL")
    with pytest.raises(SettingsError, match=f"or, where dc1 is lost, `sync writers --fence {name}`"):
        drain_job(in_dc2(home), CONFIG, "pairs", lambda: False)
    with closing(connect(home, autocommit=True)) as connection:
        fence(connection, name)
        assert [w["state"] for w in list_writers(connection)] == ["unclean"], "no cut-over before a pass has looked"
    assert drain_job(in_dc2(home), CONFIG, "pairs", lambda: False) == 1
    assert rows(home, "SELECT count(*) FROM sync.intent") == [(0,)]
    with closing(connect(home, autocommit=True)) as connection:
        connection.execute("UPDATE sync.writer SET state = 'signed_off'")
        with pytest.raises(PreflightError, match="no active writer"):
            fence(connection, name)  # it has left nothing
