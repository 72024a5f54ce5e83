"""Metrics: names, labels and meaning are the same in the code, in docs/metrics.md, in the alert rules and on the board."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from support.prometheus import ROOT, rules, scraped, shown_labels, used

from sync.adapters.queue_state import explain_failure
from sync.adapters.store_metrics import LateStoreMetrics, StoreMetrics, new_metrics, store_metrics
from sync.core.metrics import JOBS, METRICS, OF_STATE, STATE, UP, WORKERS, samples
from sync.workers.health import Shared, worker_lines

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EMPTY: dict[str, Any] = {
    "epoch": 1, "primary": "astra", "phase": "schema", "attention": [], "tables": [], "drift_under_way": [], "last_drift": None,
    "intents": {"tables": {}, "oldest_age_seconds": None, "stuck": 0, "spooled": 0}, "rejects": {}, "writers": [], "gates": [],
    "gates_error": None, "feeds": [], "shadow_reads": {"compared": 0, "skipped": 0, "differing": 0, "since_repair": 0},
}  # fmt: skip
FULL: dict[str, Any] = EMPTY | {
    "attention": ["one", "two"],
    "tables": [
        {
            "table": "songs", "ranges": {"total": 8, "done": 3, "running": 1, "failed": 1}, "rows_read": 30, "rows_written": 20,
            "rows_stale": 9, "rows_rejected": 1, "ranges_abandoned": 1, "clean_passes": 1, "throttled": {"share": 0.25},
        },
    ],
    "drift_under_way": [{"table": "songs", "ranges": {"total": 4, "done": 1, "running": 2, "failed": 0}, "throttled": None}],
    "last_drift": {"clean": False, "finished_at": (NOW - timedelta(hours=2)).isoformat(), "findings": 7, "repaired": 3},
    "intents": {
        "tables": {"songs": {"states": {"open": 2, "finished": 5}, "rechecks": 4}}, "oldest_age_seconds": 12.5, "stuck": 1,
        "spooled": 3,
    },
    "rejects": {"songs": 1},
    "writers": [
        {"id": "a", "state": "active", "heartbeat_age_seconds": 1.0, "clock_skew_us": -2_000_000},
        {"id": "b", "state": "active", "heartbeat_age_seconds": 31.0, "clock_skew_us": None},
        {"id": "c", "state": "unclean", "heartbeat_age_seconds": 99.0, "clock_skew_us": 0},
    ],
    "gates": [{"name": "backfill", "green": True}, {"name": "proof", "green": False}],
    "feeds": [
        {"name": "f", "behind_seconds": 3.0, "followed": False, "ended": False, "gaps": 2, "strays": 1, "keys": 9},
        {"name": "g", "behind_seconds": None, "followed": False, "ended": True, "gaps": 0, "strays": 0, "keys": 0},
    ],
}  # fmt: skip


def values(status: dict[str, Any]) -> dict[str, float]:
    return {f"{s.metric.name}{list(s.labels)}": float(s.value) for s in samples(status, 30, NOW)}


def test_a_status_becomes_these_values() -> None:
    """Would break: a board shows another figure than `sync status`, or a label stands where another one belongs."""
    found = values(FULL)
    wanted = {
        "sync_epoch[]": 1, "sync_primary['astra']": 1, "sync_primary['postgres']": 0, "sync_phase['schema']": 1,
        "sync_phase['cut over']": 0, "sync_attention[]": 2, "sync_backfill_rows['songs', 'read']": 30,
        "sync_backfill_rows['songs', 'already_there']": 9, "sync_backfill_ranges['songs', 'pending']": 3,
        "sync_backfill_ranges['songs', 'failed']": 1, "sync_backfill_waiting['songs']": 1, "sync_clean_passes['songs']": 1,
        "sync_throttle_share['songs', 'backfill']": 0.25, "sync_throttle_share['songs', 'pass']": 1,
        "sync_pass_ranges['songs', 'pending']": 1, "sync_pass_clean[]": 0, "sync_pass_age_seconds[]": 7200,
        "sync_pass_findings[]": 4, "sync_pass_repaired[]": 3, "sync_intents_open['songs', 'finished']": 5,
        "sync_rechecks_open['songs']": 4, "sync_intent_oldest_seconds[]": 12.5, "sync_intents_stuck[]": 1,
        "sync_unrecorded_writes[]": 3, "sync_rejects['songs']": 1, "sync_writers['active']": 1, "sync_writers['silent']": 1,
        "sync_writers['unclean']": 1, "sync_writer_heartbeat_age_seconds['b']": 31, "sync_writer_clock_skew_seconds['a']": -2,
        "sync_gate_green['backfill']": 1, "sync_gate_green['proof']": 0, "sync_gates_judged[]": 1,
        "sync_follower_behind_seconds['f']": 3, "sync_follower_followed['f']": 0, "sync_follower_followed['g']": 1,
        "sync_follower_gaps['f']": 2, "sync_follower_strays['f']": 1, "sync_follower_keys['f']": 9,
        "sync_shadow_reads['compared']": 0, "sync_shadow_differences[]": 0,
    }  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted
    assert "sync_follower_behind_seconds['g']" not in found, "what has ended is not behind"
    assert {s.metric for s in samples(FULL, 30, NOW)} == set(OF_STATE)


def test_before_anything_there_are_no_made_up_values() -> None:
    """Would break: a pass that never was counts as clean, or as a second old."""
    found = values(EMPTY)
    assert not [name for name in found if name.startswith(("sync_pass", "sync_backfill", "sync_gate_", "sync_rejects"))]
    assert found["sync_intent_oldest_seconds[]"] == 0
    assert values(EMPTY | {"gates_error": "Cassandra is away"})["sync_gates_judged[]"] == 0


@pytest.mark.parametrize(
    ("running", "abandoned", "done", "waits"), [(0, 0, 3, 1), (2, 2, 3, 1), (2, 1, 3, 0), (0, 0, 8, 0), (0, 0, 7, 0)]
)
def test_a_backfill_waits_while_nobody_holds_a_range(running: int, abandoned: int, done: int, waits: int) -> None:
    """Would break: a killed worker's range counts as one that is copied, or a finished copy as one that waits."""
    failed = 1 if done == 7 else 0
    ranges = {"total": 8, "done": done, "running": running, "failed": failed}
    table = FULL["tables"][0] | {"ranges": ranges, "ranges_abandoned": abandoned}
    assert values(EMPTY | {"tables": [table]})["sync_backfill_waiting['songs']"] == waits


def exported() -> dict[str, tuple[str, ...]]:
    """The labels of every metric by its exported name: of the state, of a worker command, and of an application."""
    found = {m.name + "_total" * (m.kind == "counter"): m.labels for m in METRICS}
    found |= {v.name: tuple(v.labels) for v in scraped(worker_lines(Shared()).decode()) if not v.name.endswith("_created")}
    counted = store_metrics()
    assert isinstance(counted, StoreMetrics)
    counted.wrote("both", "written", 0.1)
    counted.read("source", "answered", 0.1)
    for family in REGISTRY.collect():
        if family.name.startswith("sync_"):
            labels = {tuple(label for label in s.labels if label != "le") for s in family.samples}
            assert len(labels) == 1, family
            found[family.name + "_total" * (family.type == "counter")] = labels.pop()
    return found


def documented() -> dict[str, tuple[str, ...]]:
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(sync_\w+)` \| ([^|]*?) ?\|", text, re.MULTILINE)
    assert len(rows) == len({name for name, _ in rows})
    return {name: tuple(labels.split(", ")) if labels else () for name, labels in rows}


def test_the_page_names_what_is_exported() -> None:
    """Would break: a metric that nobody explains, or one that is explained and is not there."""
    assert documented() == exported()
    assert {UP, STATE, WORKERS, JOBS} | set(OF_STATE) == set(METRICS)


def _without_suffix(name: str) -> str:
    return name if name in exported() else re.sub(r"_(bucket|count|sum)$", "", name)


def faults(expression: str, shown: str = "") -> list[str]:
    """What of an expression, and of the text beside it, is not exported."""
    metrics, grouped = used(expression)
    known = exported()
    missing = [name for name in metrics if _without_suffix(name) not in known]
    if missing or not metrics:
        return missing or [f"no metric in {expression}"]
    all_labels = {label for name in metrics for label in known[_without_suffix(name)]}
    asked = {label for name, labels in metrics.items() for label in labels if label not in known[_without_suffix(name)]}
    return sorted(asked | ((grouped | shown_labels(shown)) - all_labels))


def test_alerts_use_what_is_exported_and_the_page_names_them() -> None:
    """Would break: an alert that can never fire, because its metric was renamed."""
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    for name, rule in rules().items():
        assert faults(rule["expr"], " ".join(rule["annotations"].values())) == [], name
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"} and set(rule["annotations"]) == {
            "summary",
            "action",
        }
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert f"`{name}`" in text
    assert set(re.findall(r"`(Sync\w+)`", text)) == set(rules())


def test_the_board_uses_what_is_exported() -> None:
    """Would break: an empty panel."""
    board = json.loads((ROOT / "deploy/grafana/sync.json").read_text("utf-8"))
    asked = [(t["expr"], t["legendFormat"]) for p in board["panels"] for t in p["targets"]]
    asked += [(a["expr"], "") for a in board["annotations"]["list"]]
    assert len(asked) > 20
    assert {expr: found for expr, legend in asked if (found := faults(expr, legend))} == {}
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    assert len(set(places)) == len(places) and all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in board["panels"])
    assert len({p["id"] for p in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize(
    ("expression", "shown", "found"),
    [
        ("sync_upp == 0", "", ["sync_upp"]),
        ('sync_up{host="a"} == 0', "", ["host"]),
        ("max by (table) (sync_up)", "", ["table"]),
        ("sync_up == 0", "{{ $labels.table }}", ["table"]),
        ("1 > 0", "", ["no metric in 1 > 0"]),
        ('sum by (side, le) (rate(sync_write_seconds_bucket{outcome="written"}[5m]))', "{{side}}", []),
    ],
)
def test_what_is_not_exported_is_found(expression: str, shown: str, found: list[str]) -> None:
    """Would break: the two tests above compare nothing."""
    assert faults(expression, shown) == found


def test_without_the_package_stores_count_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would break: an application without prometheus-client cannot open a store."""
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    counted = new_metrics()
    assert not isinstance(counted, StoreMetrics)
    counted.wrote("both", "written", 1.0)
    counted.read("source", "answered", 1.0)
    counted.waited(1.0)
    counted.accepted()


def test_names_that_the_application_has_taken(caplog: pytest.LogCaptureFixture) -> None:
    """Would break: a store cannot be opened, because the application counts something under the same name."""
    assert isinstance(store_metrics(), StoreMetrics)  # so they are taken
    assert not isinstance(new_metrics(), StoreMetrics)
    assert "stores count nothing: prometheus_client: Duplicated timeseries" in caplog.text


def written(registry: Any = REGISTRY) -> float:
    """How many writes both sides have."""
    found = [s.value for family in registry.collect() for s in family.samples if s.name == "sync_write_seconds_count"]
    return sum(found)


def test_what_waits_is_counted_before_it_is_read() -> None:
    """Would break: a scrape misses the newest writes, or counts one twice, or loses some that came meanwhile."""
    counted = store_metrics()
    assert isinstance(counted, LateStoreMetrics)
    before = written()
    for number in range(5):
        counted.wrote("both", "written", 0.1)
        assert written() == before + number + 1
    counted.wrote("both", "written", 0.1)
    assert written(REGISTRY.restricted_registry(["sync_write_seconds_count"])) == before + 6
    begin = threading.Barrier(9)

    def write() -> None:
        begin.wait()
        for _ in range(2000):
            counted.wrote("source", "written", 0.001)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    begin.wait()
    while any(thread.is_alive() for thread in threads):
        assert written() <= before + 6 + 16_000
    assert written() == before + 6 + 16_000


def test_a_health_process_that_is_killed_while_it_reads() -> None:
    """Would break: it holds a lock at that moment, and the command waits for it for good."""
    shared = Shared()

    def reads() -> None:
        if lock := getattr(shared._values, "get_lock", None):
            lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    reader = multiprocessing.get_context("fork").Process(target=reads)
    reader.start()
    reader.join()
    noted = threading.Thread(target=shared.note, args=(2, 1), daemon=True)
    noted.start()
    noted.join(20)
    assert not noted.is_alive() and shared.read()[:2] == (2, 1)


SEVERAL = """
import os, sys
from sync.adapters.store_metrics import StoreMetrics, store_metrics
from sync.flows.write_router import WriteRouter
from sync.workers.health import Shared, worker_lines
shared = Shared()
shared.note(2, 1)
for _ in range(2):
    lines = worker_lines(shared).decode().splitlines()
    print([line for line in lines if line.startswith("sync_worker_replaced_total")][0])
class Epochs:
    primary = "astra"
    def wait_open(self, seconds):
        return 0.0
print(WriteRouter(Epochs(), 1.0, store_metrics().wrote).run({"astra": lambda: True}))
store_metrics().waited(1.0)
store_metrics().accepted()
store_metrics().read("source", "answered", 1.0)
print(isinstance(store_metrics(), StoreMetrics))
"""


@pytest.mark.parametrize("where", ["folder", "no folder", "full"])
def test_with_files_of_several_processes(tmp_path: Path, where: str) -> None:
    """Would break: a figure that grows with each look; or a file that cannot be written makes an error of a write that was made."""
    folder = tmp_path / "files"
    if where != "no folder":
        folder.mkdir()
    code = SEVERAL
    if where == "full":
        code = code.replace(
            "class Epochs", "def full(*_):\n    raise OSError(28, 'No space left on device')\n"
            "import prometheus_client.values\nfrom prometheus_client.mmap_dict import MmapedDict\n"
            "store_metrics()\nMmapedDict.write_value = MmapedDict._init_value = full\nclass Epochs",
        )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["sync_worker_replaced_total 1.0"] * 2 + ["True", str(where != "no folder")], (
        done.stderr
    )
    if where == "folder":
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(folder))
        assert written(registry) == 1, "who reads the file waits for nothing"
    said = {"folder": "", "no folder": "stores count nothing: ", "full": "stores count wrongly: prometheus_client: OSError"}
    assert done.stderr.startswith(said[where]) and done.stderr.count("\n") == (where != "folder")


@pytest.mark.parametrize(
    ("traceback", "why"),
    [
        ("…\nsync.errors.WorkFailed: songs: the target is full\n", "songs: the target is full"),
        ("psycopg.errors.NotNullViolation: null\nDETAIL:  row (1, secret)", "NotNullViolation; the worker's log says more"),
        ('Traceback…\nValueError: "planted value"\n', "ValueError; the worker's log says more"),
        (
            "Work-horse terminated unexpectedly; waitpid returned 9 (signal 9); ",
            "its process was killed, often for want of memory; what it held is taken over",
        ),
        (
            "rq.timeouts.JobTimeoutException: Task exceeded maximum timeout value",
            "it took too long and was ended; its ranges are taken over",
        ),
        ("", "RQ recorded no reason"),
    ],
)
def test_a_failed_job_is_explained_without_values(traceback: str, why: str) -> None:
    """Would break: `sync status` prints a row's values out of an error, or a traceback."""
    assert explain_failure(traceback) == why


def test_the_files_are_there() -> None:
    """Would break: a page links to files that the repository does not have."""
    assert {path.name for path in (ROOT / "deploy/prometheus").iterdir()} == {"alerts.yml", "prometheus.yml"}
    assert Path(ROOT / "deploy/grafana/sync.json").exists()


def test_first_stores_that_are_opened_at_once_count_as_one() -> None:
    """Would break: two threads register the same names, the second is refused, and this process counts nothing."""
    program = """
import threading, time
from sync.adapters import store_metrics as module
new = module.new_metrics
def slowly():
    time.sleep(0.2)
    return new()
module.new_metrics = slowly
threads = [threading.Thread(target=module.store_metrics) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
print(type(module.store_metrics()).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("LateStoreMetrics\n", "")
