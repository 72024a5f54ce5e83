"""Each gate of a cut-over is red once: the cut-over is refused for that reason alone, and possible again once it is fixed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from uuid import uuid4

import pytest
from support.places import NewPlace

from switches.scene import Scene, scene
from sync.adapters.postgres.connection.connect import connect
from sync.core.cutover.gates import CanaryFact
from sync.wiring.backfill.worker import map_tables
from sync.wiring.cutover.canary import run_canary

pytest_plugins = ("support.fixtures",)
WRITER = (
    "INSERT INTO sync.writer (id, slot, host, pid, epoch, state, unrecorded, heartbeat_at, fenced_at, recorded_at) VALUES "
    "('w', 999, 'test', 0, {epoch}, '{state}', {unrecorded}, clock_timestamp() - interval '{silent} s', {fenced}, {recorded})"
)
NO_WRITER = "DELETE FROM sync.writer"
INTENTS = (
    "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner, mutation, attempts, error, lease_until) "
    "SELECT 'pairs', int8send(n), 0, 'put', 'finished', 1, 1, 'w', '', {attempts}, 'refused', 'infinity' "
    "FROM generate_series(1, {count}) AS n"
)
NO_INTENT = "DELETE FROM sync.intent"
RANGE = "UPDATE sync.range SET state = '{}' WHERE id = (SELECT min(id) FROM sync.range)"
KEEP = "CREATE TABLE kept AS SELECT * FROM sync.drift_pass"
GIVE_BACK = (
    "DELETE FROM sync.drift_pass",
    "INSERT INTO sync.drift_pass OVERRIDING SYSTEM VALUE SELECT * FROM kept",
    "DROP TABLE kept",
)
DIFFERENCE = (
    "INSERT INTO sync.shadow_difference (table_name, key, source_key, token, kind, shown, columns, epoch, writer, found_at) "
    "VALUES ('pairs', 'k', 'k', 0, '{kind}', '{{}}', '{{}}', 1, 'w', {at})"
)
NO_DIFFERENCE = "DELETE FROM sync.shadow_difference"
READ = """INSERT INTO sync.read_shape (table_name, shape) VALUES ('pairs', '{"kind": "find", "where": [["a", "="]], "order": []}')"""
REJECT = (
    "INSERT INTO sync.reject (table_name, source_key, column_name, run_id, token, key, reason, action) "
    "VALUES ('pairs', '', 'a', 1, 0, '{}', 'NUL', 'reject')"
)


def a_writer(epoch: int = 1, state: str = "active", unrecorded: int = 0, silent: int = 0, recorded: str = "NULL") -> str:
    old = "clock_timestamp() - interval '1 hour'" if state == "unclean" else "NULL"
    return WRITER.format(epoch=epoch, state=state, unrecorded=unrecorded, silent=silent, fenced=old, recorded=recorded)


@dataclass(frozen=True)
class Red:
    """What makes a gate red, what it then says, and what makes it green again."""

    gate: str
    says: str
    spoil: tuple[str, ...]
    mend: tuple[str, ...]
    flags: tuple[str, ...] = ("--no-writers",)


NOTHING, ONE = ("SELECT 1",), ("--writers", "1")
REDS = {
    "a range is not copied": Red("backfill", "of 1 range of 1 table", (RANGE.format("pending"),), (RANGE.format("done"),)),
    "a range has failed": Red("backfill", "1 failed", (RANGE.format("failed"),), (RANGE.format("done"),)),
    "rejects": Red("rejects", "1 row that", (REJECT,), ("DELETE FROM sync.reject",)),
    "an invalid index": Red(
        "indexes", "pairs_a",
        ("CREATE INDEX pairs_a ON pairs (a)", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pairs_a'::regclass"),
        ("DROP INDEX pairs_a",),
    ),
    "an index that is to be built": Red(
        "indexes", "public.pairs_b", ("INSERT INTO sync.index VALUES ('public.pairs_b', 'pairs', '')",), ("DELETE FROM sync.index",)
    ),
    "an unclean writer": Red("writers", "fenced and has not been cleared", (a_writer(state="unclean"),), (NO_WRITER,), ONE),
    "a silent writer": Red("writers", "sent its last heartbeat", (a_writer(silent=100),), (NO_WRITER,), ONE),
    "a writer with unrecorded writes": Red("writers", "3 unrecorded", (a_writer(unrecorded=3),), (NO_WRITER,), ONE),
    "a writer in another epoch": Red("writers", "in epoch 0", (a_writer(epoch=0),), (NO_WRITER,), ONE),
    "no writer": Red("writers", "none is registered", NOTHING, NOTHING, ()),
    "no writer where one is to be": Red("writers", "none is registered; --writers 1 are expected", NOTHING, NOTHING, ONE),
    "fewer writers than there are": Red("writers", "--writers 2 are expected", (a_writer(),), (NO_WRITER,), ("--writers", "2")),
    "a writer where there is to be none": Red("writers", "--writers 0 are expected", (a_writer(),), (NO_WRITER,)),
    "intents fail": Red("intents", "failed: refused", (INTENTS.format(attempts=2, count=1),), (NO_INTENT,)),
    "too many intents": Red("intents", "1,001 open", (INTENTS.format(attempts=0, count=1001),), (NO_INTENT,)),
    "a difference that a shadow read found": Red(
        "shadow reads", "since the last clean pass: pairs 1 key", (DIFFERENCE.format(kind="different", at="clock_timestamp()"),), (NO_DIFFERENCE,)
    ),
    "a read that Postgres cannot answer": Red("reads", "pairs: find a = (pairs: a has no index", (READ,), ("DELETE FROM sync.read_shape",)),
    "no pass": Red("proof", "no pass yet", (KEEP, "DELETE FROM sync.drift_pass"), GIVE_BACK),
    "one pass": Red(
        "proof", "1 clean", (KEEP, "DELETE FROM sync.drift_pass WHERE id < (SELECT max(id) FROM sync.drift_pass)"), GIVE_BACK
    ),
    "passes before a repair": Red(
        "proof", "repaired",
        (KEEP, "UPDATE sync.drift_pass SET proof = jsonb_set(proof, '{0,repaired}', '1') WHERE id = (SELECT max(id) FROM sync.drift_pass)"), GIVE_BACK,
    ),
    "passes before a finding": Red(
        "proof", "was not clean",
        (KEEP, "UPDATE sync.drift_pass SET proof = jsonb_set(proof, '{0,clean}', 'false') WHERE id = (SELECT max(id) FROM sync.drift_pass)"), GIVE_BACK,
    ),
    "passes before a change of the schema": Red(
        "proof", "schema or sync.toml changed", ("ALTER TABLE pairs ADD COLUMN extra text",), ("ALTER TABLE pairs DROP COLUMN extra",)
    ),
    "passes in another data centre": Red(
        "proof", "read data centre elsewhere",
        (KEEP, "UPDATE sync.drift_pass SET data_center = 'elsewhere' WHERE id = (SELECT max(id) FROM sync.drift_pass)"), GIVE_BACK,
    ),
    "passes before an unrecorded write": Red(
        "proof", "recorded late", (a_writer(state="signed_off", recorded="clock_timestamp()"),), (NO_WRITER,)
    ),
    "passes before the end of a write that could not be repeated": Red(
        "proof", "began before a write that could not be repeated",
        ("INSERT INTO sync.disturbance (table_name, why) VALUES ('pairs', 'a write that could not be repeated')",),
        ("DELETE FROM sync.disturbance",),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Scene]:
    """Ready for its cut-over; three rows, so that the canary compares them all."""
    with new_place() as place, scene(place, rows=3) as made:
        made.prove()
        yield made


def check(home: Scene, red: Red | None) -> None:
    """The cut-over is refused by this gate alone, or by none; nothing has changed."""
    done = home.run("cutover", *(["--yes", *red.flags] if red else ["--dry-run", "--no-writers"]), "--json")
    reds = {gate["name"]: gate for gate in done.json["gates"] if not gate["green"]}
    assert done.code == (2 if red else 0), done
    assert set(reds) == ({red.gate} if red else set()), done
    assert done.json["switched"] is False
    assert home.epoch == (1, "astra", "open")
    if red:
        assert red.says in reds[red.gate]["figure"], reds
        assert reds[red.gate]["remedy"]
        assert red.gate in done.err


def test_what_shadow_reads_found_may_be_no_reason(home: Scene) -> None:
    """Would break: what a pass has disproved, or no pass can change, keeps the gate red."""
    before = "(SELECT max(started_at) FROM sync.drift_pass) - interval '1 ms'"
    unreadable = DIFFERENCE.format(kind="unreadable", at="clock_timestamp()").replace("'k'", "'u'")
    home.place.sql(DIFFERENCE.format(kind="extra", at=before), unreadable)
    try:
        check(home, None)
    finally:
        home.place.sql(NO_DIFFERENCE)


@pytest.mark.parametrize("what", REDS)
def test_a_red_gate_refuses_alone(home: Scene, what: str) -> None:
    """Would break: a cut-over loses what this gate protects; or a gate stays red, or turns others red."""
    red = REDS[what]
    home.place.sql(*red.spoil)
    try:
        check(home, red)
    finally:
        home.place.sql(*red.mend)
    check(home, None)


def test_a_canary_that_does_not_come_back_refuses(home: Scene) -> None:
    """Would break: the way to Astra is broken, which is found out only after the cut-over."""
    rows = home.place.cql("SELECT id, a FROM KS.pairs")
    for row in rows:
        home.place.cql(f"UPDATE KS.pairs SET a = 'other' WHERE id = {row.id}")
    check(home, Red("canary", "a row came back with another a", (), ()))
    for row in rows:
        home.place.cql(f"UPDATE KS.pairs SET a = '{row.a}' WHERE id = {row.id}")
    check(home, None)


def test_a_table_of_counters_is_no_obstacle(home: Scene) -> None:
    """Would break: counters hold up the cut-over; or the canary changes one."""
    home.place.cql("CREATE TABLE KS.hits (id uuid PRIMARY KEY, n counter, m counter)")
    try:
        home.place.cql(*(f"UPDATE KS.hits SET n = n + {n} WHERE id = {uuid4()}" for n in (3, -4)))
        for command in (["schema", "apply"], ["backfill", "--workers", "1"]):
            done = home.run(*command)
            assert done.code == 0, done
        for _ in range(2):  # the earlier passes were clean, but did not include this table
            home.prove()
        check(home, None)
        with closing(connect(home.place.settings, autocommit=True)) as connection:
            mapped = list(map_tables(home.place.cassandra, connection, home.place.settings, home.config, ["hits"]).values())
            (fact,) = run_canary(home.place.cassandra, connection, mapped, home.config, True)
        assert fact == CanaryFact("hits", 2, sent=True)
        assert sorted((row.n, row.m) for row in home.place.cql("SELECT n, m FROM KS.hits")) == [(-4, None), (3, None)]
    finally:
        home.place.cql("DROP TABLE KS.hits")
