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


def test_nothing_fires_while_all_is_well(site: Watched) -> None:
    """Would break: an alert that always fires, which people learn to pass over."""
    site.worker()
    site.writer()
    text = site.scrape()
    assert {rule: found for rule in rules() if (found := firing(rule, text))} == {}


def test_servers_that_are_away(site: Watched) -> None:
    """Would break: a dead server makes an error of the scrape, so that nothing at all is known."""
    away = {
        "postgres": {"postgres_host": "127.0.0.1", "postgres_port": 1},
        "cassandra": {"cassandra_contact_points": "127.0.0.1", "cassandra_port": 1},
    }
    for server, changes in away.items():
        text = site.scrape(**changes)
        assert [labels["server"] for labels in firing("SyncServerDown", text)] == [server]
    assert "sync_epoch 1.0" in site.scrape(**away["cassandra"]), "what Postgres knows is exported all the same"
    site.valkey.stop()
    try:
        fires("SyncServerDown", site.scrape, {"server": "redis"})
        quiet("SyncNoWorker", site.scrape())
    finally:
        site.valkey.start()
    until(lambda: not firing("SyncServerDown", site.scrape()), what="Redis is back")


def test_a_killed_worker(site: Watched) -> None:
    """Would break: nobody learns that the last worker is gone, since it took its metrics with it."""
    worker, port = site.worker()
    until(lambda: not firing("SyncNoWorker", site.scrape()), what="the worker is registered")
    quiet("SyncNotWatched", asked(port, "/metrics")[1])
    os.kill(worker.pid, signal.SIGKILL)  # its processes notice, and end
    fires("SyncNoWorker", site.scrape)
    fires("SyncNotWatched", lambda: asked(port, "/metrics")[1])


def test_intents_that_nobody_settles(site: Watched) -> None:
    """Would break: keys differ for hours, and nobody knows."""
    writer = site.writer()
    site.place.sql(
        "CREATE FUNCTION strange() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.title = 'refused' THEN "
        "RAISE EXCEPTION 'a strange error' USING ERRCODE = 'XX000'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER strange BEFORE INSERT OR UPDATE ON songs FOR EACH ROW EXECUTE FUNCTION strange()",
    )
    try:
        key = str(uuid4())
        tell(writer, "put", key, "refused")
        worker, _ = site.worker()
        fires("SyncIntentsStuck", site.scrape)
        quiet("SyncIntentsOld", site.scrape())
        site.place.sql("UPDATE sync.intent SET created_at = created_at - interval '1 hour'")
        fires("SyncIntentsOld", site.scrape)
        site.place.sql("DROP TRIGGER strange ON songs", "UPDATE sync.intent SET lease_until = NULL")
        until(lambda: not firing("SyncIntentsStuck", site.scrape()), what="a worker settles it")
        assert not worker.ended
    finally:
        site.place.sql("DROP FUNCTION strange CASCADE")


def test_a_writer_that_hangs_and_is_fenced(site: Watched) -> None:
    """Would break: a process that hangs keeps a cut-over waiting, and nobody knows why."""
    writer = site.writer()
    quiet("SyncWriterSilent", site.scrape())
    writer.send_signal(signal.SIGSTOP)
    try:
        fires("SyncWriterSilent", site.scrape)
        ((name,),) = site.place.sql("SELECT id FROM sync.writer WHERE state = 'active'")
        assert site.place.commands.run("writers", "--fence", name).code == 0
        fires("SyncWriterUnclean", site.scrape)
        site.place.sql("UPDATE sync.writer SET unrecorded = 3 WHERE state = 'unclean'")
        fires("SyncWritesUnrecorded", site.scrape)
    finally:
        site.stop()
        site.place.sql("DELETE FROM sync.writer")


def test_a_planted_difference(site: Watched) -> None:
    """Would break: the two sides differ, and the alert for it looks at another pass, or never fires."""
    quiet("SyncDriftFound", site.scrape())
    ((key,),) = site.place.sql("SELECT id FROM songs ORDER BY id LIMIT 1")
    site.place.sql(f"UPDATE songs SET title = 'planted' WHERE id = '{key}'")
    done = site.place.commands.run("drift-report", "--workers", "1", "--format", "json")
    assert done.code == 2 and done.json["tables"][0]["findings"], done
    fires("SyncDriftFound", site.scrape)
    tell(site.writer(), "get", str(key))
    fires("SyncShadowDifferences", site.scrape)
    site.worker()  # it settles the recheck that the shadow read has left
    until(lambda: site.place.sql("SELECT count(*) FROM sync.intent") == [(0,)], what="it is settled")
    assert site.place.commands.run("drift-report", "--repair", "--workers", "1").code in (0, 2)
    quiet("SyncDriftFound", site.scrape())
    site.place.sql("UPDATE sync.drift_pass SET finished_at = finished_at - interval '2 days'")
    fires("SyncPassOld", site.scrape)
    site.place.prove()
    quiet("SyncPassOld", site.scrape())
    quiet("SyncShadowDifferences", site.scrape())


def test_a_backfill_whose_host_is_gone(site: Watched) -> None:
    """Would break: a copy that nobody works on looks like one that is slow."""
    site.place.cql("CREATE TABLE IF NOT EXISTS KS.long (id int PRIMARY KEY, title text)")
    for n in range(60):
        site.place.cql(f"INSERT INTO KS.long (id, title) VALUES ({n}, 'x')")
    site.place.cassandra.session.execute(
        f'INSERT INTO "{site.place.keyspace}".long (id, title) VALUES (%s, %s)', (99, "a\0b")
    )
    assert site.place.commands.run("schema", "apply").code == 0
    running = site.command("backfill", "--table", "long", "--workers", "1", "--rate", "2")
    until(lambda: "sync_backfill_rows_total" in site.scrape() and _read(site) > 0, what="it copies")
    running.kill_all()
    fires("SyncBackfillStalled", site.scrape, {"table": "long"})
    site.place.sql("UPDATE sync.range SET state = 'failed' WHERE table_name = 'long' AND state <> 'done'")
    fires("SyncBackfillFailed", site.scrape, {"table": "long"})
    done = site.place.commands.run("backfill", "--table", "long", "--workers", "1")
    assert done.code == 0, done
    fires("SyncRejects", site.scrape, {"table": "long"})
    for rule in ("SyncBackfillStalled", "SyncBackfillFailed"):
        quiet(rule, site.scrape())


def _read(site: Watched) -> int:
    return int(site.place.sql("SELECT coalesce(sum(rows_read), 0) FROM sync.range WHERE table_name = 'long'")[0][0])


def test_a_follower_that_is_gone(site: Watched) -> None:
    """Would break: changes by others are no longer announced, and only the cut-over's gate says so."""
    lines = site.place.commands.folder / "changes.jsonl"
    lines.write_text("")
    follower = site.command("follow", "keys", str(lines), "--name", "changes", "--wait")
    until(lambda: 'sync_follower_followed{feed="changes"} 1.0' in site.scrape(), what="it is followed")
    for rule in ("SyncFollowerGone", "SyncFollowerBehind", "SyncFollowerGap"):
        quiet(rule, site.scrape())
    follower.kill_all()
    fires("SyncFollowerGone", site.scrape, {"feed": "changes"})
    site.place.sql("UPDATE sync.feed SET told_until = clock_timestamp() - interval '5 minutes'")
    fires("SyncFollowerBehind", site.scrape, {"feed": "changes"})
    site.place.sql(
        "INSERT INTO sync.gap (feed, table_name, until, counts_from, why) "
        "VALUES ('changes', '', clock_timestamp(), clock_timestamp(), 'lines were lost')"
    )
    fires("SyncFollowerGap", site.scrape, {"feed": "changes"})


def test_every_rule_was_tried() -> None:
    """Would break: a rule is added that nobody has seen fire. (It needs the tests above, so all of this file.)"""
    assert set(rules()) == TRIED
