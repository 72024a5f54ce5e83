"""deploy/prometheus by Prometheus's own tools, and the whole chain: a worker, a real Prometheus, an alert."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.prometheus import rules
from support.prometheus_program import PROMETHEUS, prometheus, promtool
from support.running_commands import Running, until
from support.watched import Watched, asked, free_port

pytest_plugins = ("support.fixtures", "support.watched")
STEP = 15
# By rule: its series, what it is while all is well and when it is not, what the alert's labels are besides, and its summary.
CASES: dict[str, tuple[str, str, str, dict[str, str], str]] = {
    "SyncNotWatched": ('sync_up{server="redis"}', "1", "stale", {}, "Nobody exports the migration's metrics"),
    "SyncServerDown": ('sync_up{server="redis"}', "1", "0", {"server": "redis"}, "redis does not answer"),
    "SyncNoWorker": ("sync_workers", "1", "0", {}, "No worker listens to the queue"),
    "SyncIntentsOld": (
        "sync_intent_oldest_seconds", "900", "3700", {}, "A key is not known to be equal on both sides for 1h 1m 40s",
    ),
    "SyncIntentsStuck": ("sync_intents_stuck", "0", "2", {}, "2 intents could not be reconciled"),
    "SyncWritesUnrecorded": (
        "sync_unrecorded_writes", "0", "7", {}, "7 writes are only in the memory of the processes that made them",
    ),
    "SyncWriterSilent": (
        'sync_writers{state="silent"}', "0", "1", {"state": "silent"}, "1 writers are without a heartbeat",
    ),
    "SyncWriterUnclean": (
        'sync_writers{state="unclean"}', "0", "1", {"state": "unclean"},
        "1 writers ended with writes that nobody has recorded",
    ),
    "SyncDriftFound": ("sync_pass_findings", "0", "3", {}, "The last drift pass found 3 rows that differ"),
    "SyncShadowDifferences": ("sync_shadow_differences", "0", "1", {}, "1 keys differed in shadow reads"),
    "SyncPassOld": ("sync_pass_age_seconds", "86400", "90000", {}, "The last drift pass ended 1d 1h 0m 0s ago"),
    "SyncBackfillStalled": (
        'sync_backfill_waiting{table="songs"}', "0", "1", {"table": "songs"}, "Nobody copies songs, and ranges are left",
    ),
    "SyncBackfillFailed": (
        'sync_backfill_ranges{table="songs",state="failed"}', "0", "2", {"table": "songs", "state": "failed"},
        "2 ranges of songs could not be copied",
    ),
    "SyncRejects": ('sync_rejects{table="songs"}', "0", "4", {"table": "songs"}, "Postgres cannot hold 4 rows of songs"),
    "SyncFollowerBehind": (
        'sync_follower_behind_seconds{feed="node"}', "60", "90", {"feed": "node"}, "The feed node is 1m 30s behind",
    ),
    "SyncFollowerGone": ('sync_follower_followed{feed="node"}', "1", "0", {"feed": "node"}, "Nobody follows the feed node"),
    "SyncFollowerGap": ('sync_follower_gaps{feed="node"}', "0", "1", {"feed": "node"}, "The feed node has lost events"),
}  # fmt: skip


def test_promtool_takes_the_files() -> None:
    """Would break: Prometheus does not start with them."""
    code, said = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert code == 0 and "is valid prometheus config file syntax" in said, said
    assert f"SUCCESS: {len(rules())} rules found" in said


@pytest.mark.parametrize(("right", "wrong"), [("absent(sync_up)", "absnt(sync_up)"), ("for: 5m", "for: 5 minutes")])
def test_promtool_finds_what_is_wrong(tmp_path: Path, right: str, wrong: str) -> None:
    """Would break: the test above checks nothing."""
    (tmp_path / "alerts.yml").write_text((PROMETHEUS / "alerts.yml").read_text("utf-8").replace(right, wrong, 1))
    assert promtool("check", "rules", tmp_path / "alerts.yml")[0] == 1


def _seconds(rule: dict[str, Any]) -> int:
    number, unit = re.fullmatch(r"(\d+)([sm])", rule.get("for", "0s")).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


def _tests(name: str, rule: dict[str, Any]) -> dict[str, Any]:
    """A minute all is well, then it is not: nothing fires until that has lasted as long as the rule says, then it does."""
    series, well, wrong, labels, summary = CASES[name]
    lasts = _seconds(rule)
    values = f"{well}x3 stale" if wrong == "stale" else f"{well}x3 {wrong}x{lasts // STEP + 4}"
    alert = {
        "exp_labels": {**labels, "severity": rule["labels"]["severity"]},
        "exp_annotations": {"summary": summary, "action": rule["annotations"]["action"]},
    }
    before = [3 * STEP, *([4 * STEP + lasts - STEP] if lasts else [])]
    return {
        "interval": f"{STEP}s",
        "input_series": [{"series": series, "values": values}],
        "alert_rule_test": [
            *({"eval_time": f"{at}s", "alertname": name, "exp_alerts": []} for at in before),
            {"eval_time": f"{4 * STEP + lasts}s", "alertname": name, "exp_alerts": [alert]},
        ],
    }


def test_each_rule_fires_when_its_time_has_come(tmp_path: Path) -> None:
    """Would break: an alert that needs what no series has, or whose text shows no figure."""
    assert set(CASES) == set(rules())
    tests = [_tests(name, rule) for name, rule in rules().items()]
    file = tmp_path / "alerts.test.yml"
    whole = {"rule_files": [str(PROMETHEUS / "alerts.yml")], "evaluation_interval": f"{STEP}s", "tests": tests}
    file.write_text(yaml.safe_dump(whole))
    assert promtool("test", "rules", file) == (0, f"Unit Testing:  {file}\n  SUCCESS\n\n")
    tests[2]["alert_rule_test"][-1]["exp_alerts"] = []
    file.write_text(yaml.safe_dump(whole))
    code, said = promtool("test", "rules", file)
    assert code == 1 and "SyncNoWorker" in said, "it compares nothing"


@pytest.mark.slow
def test_prometheus_sees_a_worker_go(watch: Watched, tmp_path: Path) -> None:
    """Would break: a scrape that Prometheus refuses, or an alert that its rules never make of what is scraped."""
    worker, port = watch.worker()
    board_port = free_port()
    board = watch.command("dashboard", "--port", str(board_port))
    until(lambda: board.ended or asked(board_port, "/metrics")[0] == 200, what="the dashboard answers")
    with prometheus(tmp_path, port, board_port) as server:

        def fires(*wanted: str) -> bool:
            return sorted(alert["labels"]["alertname"] for alert in server.firing()) == sorted(wanted)

        def end(command: Running) -> None:
            os.kill(command.pid, signal.SIGTERM)
            command.wait(120)

        both = sorted(f"127.0.0.1:{each}" for each in (port, board_port))
        until(lambda: server.scraped() == both and fires(), 240, what="both are scraped, and nothing fires")
        (value,) = server.ask("query?query=max(sync_workers)")["result"]
        assert value["value"][1] == "1"
        end(worker)
        until(lambda: fires("SyncNoWorker"), 240, what="it knows that no worker is left")
        (alert,) = server.firing()
        assert alert["annotations"]["summary"] == "No worker listens to the queue"
        end(board)
        until(lambda: fires("SyncNotWatched"), 240, what="it knows that nobody exports anything")
        watch.command("worker", "-n", "1", "--metrics-port", str(port))
        until(lambda: fires() and server.scraped(), 240, what="all is well again")
