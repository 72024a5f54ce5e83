"""Each alert rule of deploy/prometheus/alerts.yml: its condition is made on real servers, and its expression comes true.

`firing` evaluates the rule's own expression on what is really exported.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from uuid import uuid4

import pytest
from support.prometheus import firing, rules
from support.running_commands import until
from support.watched import Watched, asked, tell

pytest_plugins = ("support.fixtures", "support.watched")
pytestmark = pytest.mark.slow
TRIED: set[str] = set()


def fires(rule: str, scrape: Callable[[], str], labels: dict[str, str] | None = None) -> None:
    """See the rule fire, for a sample with these labels, within a minute."""
    until(lambda: any((labels or {}).items() <= found.items() for found in firing(rule, scrape())), what=f"{rule} fires")
    TRIED.add(rule)


def quiet(rule: str, text: str) -> None:
    assert firing(rule, text) == [], f"{rule} fires while all is well"


def test_nothing_fires_while_all_is_well(watch: Watched) -> None:
    """Would break: an alert that always fires, which people learn to pass over."""
    watch.worker()
    watch.writer()
    text = watch.scrape()
    assert {rule: found for rule in rules() if (found := firing(rule, text))} == {}


def test_servers_that_are_away(watch: Watched) -> None:
    """Would break: a dead server makes an error of the scrape, so that nothing at all is known."""
    away = {
        "postgres": {"postgres_host": "127.0.0.1", "postgres_port": 1},
        "cassandra": {"cassandra_contact_points": "127.0.0.1", "cassandra_port": 1},
    }
    for server, changes in away.items():
        text = watch.scrape(**changes)
        assert [labels["server"] for labels in firing("SyncServerDown", text)] == [server]
    assert "sync_epoch 1.0" in watch.scrape(**away["cassandra"]), "what Postgres knows is exported all the same"
    watch.valkey.stop()
    try:
        fires("SyncServerDown", watch.scrape, {"server": "redis"})
        quiet("SyncNoWorker", watch.scrape())
    finally:
        watch.valkey.start()
    until(lambda: not firing("SyncServerDown", watch.scrape()), what="Redis is back")


def test_a_killed_worker(watch: Watched) -> None:
    """Would break: nobody learns that the last worker is gone, since it took its metrics with it."""
    worker, port = watch.worker()
    until(lambda: not firing("SyncNoWorker", watch.scrape()), what="the worker is registered")
    quiet("SyncNotWatched", asked(port, "/metrics")[1])
    os.kill(worker.pid, signal.SIGKILL)  # its processes notice, and end
    fires("SyncNoWorker", watch.scrape)
    fires("SyncNotWatched", lambda: asked(port, "/metrics")[1])


def test_intents_that_nobody_settles(watch: Watched) -> None:
    """Would break: keys differ for hours, and nobody knows."""
    writer = watch.writer()
    watch.place.sql(
        "CREATE FUNCTION strange() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.title = 'refused' THEN "
        "RAISE EXCEPTION 'a strange error' USING ERRCODE = 'XX000'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER strange BEFORE INSERT OR UPDATE ON songs FOR EACH ROW EXECUTE FUNCTION strange()",
    )
    try:
        key = str(uuid4())
        tell(writer, "put", key, "refused")
        worker, _ = watch.worker()
        fires("SyncIntentsStuck", watch.scrape)
        quiet("SyncIntentsOld", watch.scrape())
        watch.place.sql("UPDATE sync.intent SET created_at = created_at - interval '1 hour'")
        fires("SyncIntentsOld", watch.scrape)
        watch.place.sql("DROP TRIGGER strange ON songs", "UPDATE sync.intent SET lease_until = NULL")
        until(lambda: not firing("SyncIntentsStuck", watch.scrape()), what="a worker settles it")
        assert not worker.ended
    finally:
        watch.place.sql("DROP FUNCTION strange CASCADE")


def test_a_writer_that_hangs_and_is_fenced(watch: Watched) -> None:
    """Would break: a process that hangs keeps a cut-over waiting, and nobody knows why."""
    writer = watch.writer()
    quiet("SyncWriterSilent", watch.scrape())
    writer.send_signal(signal.SIGSTOP)
    try:
        fires("SyncWriterSilent", watch.scrape)
        ((name,),) = watch.place.sql("SELECT id FROM sync.writer WHERE state = 'active'")
        assert watch.place.commands.run("writers", "--fence", name).code == 0
        fires("SyncWriterUnclean", watch.scrape)
        watch.place.sql("UPDATE sync.writer SET unrecorded = 3 WHERE state = 'unclean'")
        fires("SyncWritesUnrecorded", watch.scrape)
    finally:
        watch.stop()
        watch.place.sql("DELETE FROM sync.writer")


def test_a_planted_difference(watch: Watched) -> None:
    """Would break: the two sides differ, and the alert for it looks at another pass, or never fires."""
    quiet("SyncDriftFound", watch.scrape())
    ((key,),) = watch.place.sql("SELECT id FROM songs ORDER BY id LIMIT 1")
    watch.place.sql(f"UPDATE songs SET title = 'planted' WHERE id = '{key}'")
    done = watch.place.commands.run("drift-report", "--workers", "1", "--format", "json")
    assert done.code == 2 and done.json["tables"][0]["findings"], done
    fires("SyncDriftFound", watch.scrape)
    tell(watch.writer(), "get", str(key))
    fires("SyncShadowDifferences", watch.scrape)
    watch.worker()  # it settles the recheck that the shadow read has left
    until(lambda: watch.place.sql("SELECT count(*) FROM sync.intent") == [(0,)], what="it is settled")
    assert watch.place.commands.run("drift-report", "--repair", "--workers", "1").code in (0, 2)
    quiet("SyncDriftFound", watch.scrape())
    watch.place.sql("UPDATE sync.drift_pass SET finished_at = finished_at - interval '2 days'")
    fires("SyncPassOld", watch.scrape)
    watch.place.prove()
    quiet("SyncPassOld", watch.scrape())
    quiet("SyncShadowDifferences", watch.scrape())


def test_a_backfill_whose_host_is_gone(watch: Watched) -> None:
    """Would break: a copy that nobody works on looks like one that is slow."""
    watch.place.cql("CREATE TABLE IF NOT EXISTS KS.long (id int PRIMARY KEY, title text)")
    for n in range(60):
        watch.place.cql(f"INSERT INTO KS.long (id, title) VALUES ({n}, 'x')")
    watch.place.cassandra.session.execute(
        f'INSERT INTO "{watch.place.keyspace}".long (id, title) VALUES (%s, %s)', (99, "a\0b")
    )
    assert watch.place.commands.run("schema", "apply").code == 0
    running = watch.command("backfill", "--table", "long", "--workers", "1", "--rate", "2")
    until(lambda: "sync_backfill_rows_total" in watch.scrape() and _read(watch) > 0, what="it copies")
    running.kill_all()
    fires("SyncBackfillStalled", watch.scrape, {"table": "long"})
    watch.place.sql("UPDATE sync.range SET state = 'failed' WHERE table_name = 'long' AND state <> 'done'")
    fires("SyncBackfillFailed", watch.scrape, {"table": "long"})
    done = watch.place.commands.run("backfill", "--table", "long", "--workers", "1")
    assert done.code == 0, done
    fires("SyncRejects", watch.scrape, {"table": "long"})
    for rule in ("SyncBackfillStalled", "SyncBackfillFailed"):
        quiet(rule, watch.scrape())


def _read(watch: Watched) -> int:
    return int(watch.place.sql("SELECT coalesce(sum(rows_read), 0) FROM sync.range WHERE table_name = 'long'")[0][0])


def test_a_follower_that_is_gone(watch: Watched) -> None:
    """Would break: changes by others are no longer announced, and only the cut-over's gate says so."""
    lines = watch.place.commands.folder / "changes.jsonl"
    lines.write_text("")
    follower = watch.command("follow", "keys", str(lines), "--name", "changes", "--wait")
    until(lambda: 'sync_follower_followed{feed="changes"} 1.0' in watch.scrape(), what="it is followed")
    for rule in ("SyncFollowerGone", "SyncFollowerBehind", "SyncFollowerGap"):
        quiet(rule, watch.scrape())
    follower.kill_all()
    fires("SyncFollowerGone", watch.scrape, {"feed": "changes"})
    watch.place.sql("UPDATE sync.feed SET told_until = clock_timestamp() - interval '5 minutes'")
    fires("SyncFollowerBehind", watch.scrape, {"feed": "changes"})
    watch.place.sql(
        "INSERT INTO sync.gap (feed, table_name, until, counts_from, why) "
        "VALUES ('changes', '', clock_timestamp(), clock_timestamp(), 'lines were lost')"
    )
    fires("SyncFollowerGap", watch.scrape, {"feed": "changes"})


def test_every_rule_was_tried() -> None:
    """Would break: a rule is added that nobody has seen fire. (It needs the tests above, so all of this file.)"""
    assert set(rules()) == TRIED
