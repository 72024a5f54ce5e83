"""`sync worker --metrics-port`, the metrics of stores, JSON logs and hooks, on real servers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from uuid import uuid4

import psutil
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from support.commands import SECRET, secrets_of
from support.hooks import Hook, hook
from support.prometheus import scraped
from support.proxies import Proxy
from support.running_commands import Running, until
from support.watched import CONFIG, Watched, asked, free_port

from sync.core.metrics import METRICS
from sync.settings import load_config
from sync.stores import DualWriteStore
from sync.wiring.metrics import metrics_text
from sync.wiring.readings import Readings
from sync.wiring.servers import servers_away
from sync.workers.health import Shared, worker_lines

pytest_plugins = ("support.fixtures", "support.watched")
pytestmark = pytest.mark.slow
PLANTED = f"{SECRET}-private-value"


def reasons(port: int) -> tuple[int, str]:
    status, text = asked(port, "/readyz")
    return status, " ".join(json.loads(text)["reasons"]) if text else "gone"


def health_of(worker: Running, port: int) -> psutil.Process:
    """The process that listens."""
    (found,) = [p for p in worker.children() if any(c.laddr.port == port for c in p.net_connections("tcp"))]
    return found


def test_a_worker_serves_what_the_page_says(watch: Watched) -> None:
    """Would break: a metric is missing in an answer, or a worker that cannot work counts as ready."""
    worker, port = watch.worker()
    until(lambda: reasons(port) == (200, ""), what="it is ready")
    status, text = asked(port, "/metrics")
    assert status == 200
    names = {metric.name + "_total" * (metric.kind == "counter") for metric in METRICS}
    names |= {value.name for value in scraped(worker_lines(Shared()).decode())}
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} == names
    until(lambda: "sync_workers 1.0" in asked(port, "/metrics")[1], what="its worker is registered")
    assert asked(port, "/elsewhere")[0] == 404
    watch.valkey.stop()
    try:
        until(lambda: reasons(port)[0] == 503, what="it is not ready")
        assert "Redis at 127.0.0.1" in reasons(port)[1]
        assert asked(port, "/healthz")[0] == 200, "a restart would cure nothing"
        assert asked(port, "/metrics")[0] == 200
    finally:
        watch.valkey.start()
    until(lambda: reasons(port) == (200, ""), what="it is ready again")
    for secret in secrets_of(watch.place.commands.env):
        assert secret not in text
    worker.interrupt()
    result = worker.wait(60)
    assert (result.code, asked(port, "/healthz")[0]) == (130, 0), result


@pytest.mark.parametrize("server", ["postgres", "cassandra", "redis"])
def test_a_server_that_hangs_is_away(watch: Watched, server: str) -> None:
    """Would break: the page waits for what never comes, Prometheus gives it up, and nothing says which server hangs."""
    (redis_port,) = re.findall(r":(\d+)(?:/|$)", watch.valkey.url)
    ports = {"postgres": watch.settings.postgres_port, "cassandra": watch.settings.cassandra_port, "redis": int(redis_port)}
    proxy, readings = Proxy("127.0.0.1", ports[server]), Readings(2, 60)
    config = load_config(watch.place.commands.folder / "sync.toml")
    redis_url = SecretStr(watch.valkey.url.replace(redis_port, str(proxy.port)))
    changes: dict[str, object] = {"redis_url": redis_url} if server == "redis" else {f"{server}_port": proxy.port}
    settings = watch.settings.model_copy(update=changes)
    try:
        well = metrics_text(settings, config, Readings(60, 60)).decode()
        assert [v.value for v in scraped(well) if v.name == "sync_up"] == [1, 1, 1]
        proxy.stall()
        assert servers_away(settings, readings)[server] == "no answer within 2 s"
        values = scraped(metrics_text(settings, config, readings).decode())
        assert {v.labels["server"]: v.value for v in values if v.name == "sync_up"} == dict.fromkeys(ports, 1) | {server: 0}
        known = {v.name: v.value for v in values if not v.labels}
        assert ("sync_epoch" in known) is (server != "postgres"), "what Postgres knows is exported all the same"
        assert known.get("sync_gates_judged", 0) == (server == "redis"), "no gate is judged without the source"
        assert len([t for t in threading.enumerate() if t.name == f"sync-reading-{server}"]) <= 1, (
            "it is asked once at a time"
        )
    finally:
        proxy.close()


def test_its_processes_come_back_and_go_with_it(watch: Watched) -> None:
    """Would break: metrics are lost with one process, or an orphan keeps the port, so that the command cannot start again."""
    worker, port = watch.worker()
    first = health_of(worker, port)
    first.kill()
    until(lambda: asked(port, "/healthz")[0] == 200 and health_of(worker, port).pid != first.pid, what="it is served again")
    own = [p for p in worker.children() if p.pid != health_of(worker, port).pid and p.ppid() == worker.pid]
    forked, _overdue = sorted(own, key=lambda process: process.create_time())  # in this order they were started
    forked.kill()
    until(lambda: "sync_worker_replaced_total 1.0" in asked(port, "/metrics")[1], what="a worker is replaced")
    new = [p for p in worker.children() if p.ppid() == worker.pid]
    assert len([p for p in new if any(c.status == "LISTEN" for c in p.net_connections("tcp"))]) == 1, "workers hold no port"
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: not [p for p in new if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], what="they end with it")
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_port_that_is_taken(watch: Watched) -> None:
    """Would break: a traceback, or a worker that runs without the metrics that somebody waits for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = watch.place.commands.line("worker", "--metrics-port", str(port))
    assert (
        said
        == f"--metrics-port {port}: cannot listen on 127.0.0.1: address already in use; choose another port or --metrics-host"
    )
    assert watch.place.commands.line("worker", "--metrics-port", "70000").startswith("--metrics-port 70000: cannot listen")


def counted() -> dict[tuple[str, ...], float]:
    """What this process's stores have counted, by metric and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in REGISTRY.collect()
        if family.name.startswith("sync_")
        for sample in family.samples
        if sample.name.endswith(("_count", "_total"))
    }


def test_a_store_counts_what_it_does(watch: Watched) -> None:
    """Would break: an application's board shows no writes, or counts one as two."""
    before = counted()
    config = load_config(watch.place.commands.folder / "sync.toml")
    key = {"id": uuid4()}
    with DualWriteStore(watch.settings, config) as store:
        for title in "abc":
            store.put("songs", {**key, "title": title})
        assert store.get("songs", key) == {**key, "title": "c"}
    found = {name: value - before.get(name, 0) for name, value in counted().items() if value != before.get(name, 0)}
    assert found == {
        ("sync_write_seconds_count", "both", "written"): 3,
        ("sync_write_seconds_count", "source", "written"): 3,
        ("sync_write_seconds_count", "target", "written"): 3,
        ("sync_read_seconds_count", "source", "answered"): 1,
    }


def test_json_logs_hold_no_values(watch: Watched) -> None:
    """Would break: a log collector gets lines that are no JSON, or a row's private values, or a password."""
    place = watch.place
    place.cql(f"INSERT INTO KS.songs (id, title) VALUES ({uuid4()}, '{PLANTED}')")
    place.sql(
        "CREATE OR REPLACE FUNCTION strange() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.title LIKE '%private%' THEN RAISE EXCEPTION 'a strange error' USING ERRCODE = 'XX000', "
        "DETAIL = 'Failing row contains (' || NEW.title || ')'; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER strange BEFORE INSERT OR UPDATE ON songs FOR EACH ROW EXECUTE FUNCTION strange()"
    )
    try:
        failed = Watched(place.__class__(place.cassandra, place.settings, place.commands.but(SYNC_LOG="json")), watch.valkey)
        first = failed.command("backfill", "--workers", "1")
        assert first.wait(120).code == 1
        refused = failed.command("drift-report", "--repair", "--workers", "1")
        assert refused.wait(120).code == 2
        shown = place.commands.run("status")
        assert "failed job: copy ranges of songs (runs " in shown.out and ": a strange error" in shown.out, shown
        assert (
            place.commands.run("status", "--json").json["failed_jobs"][0]["job"].startswith(("copy ranges", "check ranges"))
        )
        place.sql("DROP TRIGGER strange ON songs")
        worker, _ = failed.worker()
        with DualWriteStore(watch.settings, load_config(place.commands.folder / "sync.toml")) as store:
            store.put("songs", {"id": uuid4(), "title": PLANTED})
        place.cql(f"INSERT INTO KS.songs (id, title) VALUES ({uuid4()}, '{PLANTED}')")
        again = failed.command("backfill", "--workers", "1")
        assert again.wait(120).code == 0
        repaired = failed.command("drift-report", "--repair", "--workers", "1")
        assert repaired.wait(120).code in (0, 2)
        worker.interrupt()
        worker.wait(60)
    finally:
        place.sql("DROP FUNCTION strange CASCADE")
        failed.stop()
    everything = [each.err for each in (first, refused, again, repaired, worker)]
    lines = [json.loads(line) for text in everything for line in text.splitlines()]
    assert all({"time", "level", "logger", "message", "process"} <= line.keys() for line in lines)
    ranges = [line for line in lines if line["message"] in ("songs: a range is copied", "songs: a range is checked")]
    assert {line["message"] for line in ranges} == {"songs: a range is copied", "songs: a range is checked"}
    assert all(line["table"] == "songs" and line["range"].startswith("(") and ":" in line["worker"] for line in ranges)
    assert any(line["level"] == "error" and "a strange error" in line["message"] for line in lines)
    text = "\n".join(everything)
    for secret in {PLANTED, SECRET} | secrets_of(place.commands.env):
        assert secret not in text


@pytest.fixture
def listener(watch: Watched) -> Iterator[Hook]:
    with hook() as made:
        watch.place.configure(f'{CONFIG}[notify]\nurl = "{made.url}"\n')
        yield made
    watch.place.configure(CONFIG)


def test_hooks_tell_what_has_happened(watch: Watched, listener: Hook) -> None:
    """Would break: nobody is told of a switch; or a sick receiver makes a command fail that has done its work."""
    run = watch.place.commands.run
    writer = watch.writer()
    assert run("backfill", "--workers", "1").code == 0
    watch.place.prove()
    assert run("cutover", "--yes").code == 0
    listener.answer = 500
    done = run("rollback", "--yes", "--fast")
    assert done.code == 0 and "notify: “rollback” was not told: webhook at 127.0.0.1: it answered 500" in done.err
    listener.answer = 200
    events = [told["event"] for told in listener.told]
    assert events[0] == "backfill done" and set(events[1:-2]) <= {"pass clean", "pass not clean"}
    assert events[-3:] == ["pass clean", "cutover", "rollback"]
    by_event = {told["event"]: told for told in listener.told}
    assert by_event["backfill done"]["tables"][0]["table"] == "songs" and by_event["backfill done"]["ok"] is True
    assert by_event["cutover"]["primary"] == "postgres" and by_event["cutover"]["epoch"] == 2
    worker, _ = watch.worker()
    writer.send_signal(signal.SIGSTOP)
    until(lambda: listener.told[-1]["event"] == "writer silent", what="a silent writer is told")
    watch.writer().send_signal(signal.SIGSTOP)
    until(lambda: len([t for t in listener.told if t["event"] == "writer silent"]) > 1, what="so is another one")
    silent = [w["writer"] for told in listener.told if told["event"] == "writer silent" for w in told["writers"]]
    assert len(set(silent)) == len(silent) == 2, "each once"
    told = json.dumps(listener.told)
    for secret in secrets_of(watch.place.commands.env):
        assert secret not in told
    assert not worker.ended


def test_a_receiver_that_hangs_withholds_no_result(watch: Watched, listener: Hook) -> None:
    """Would break: Ctrl-C while a receiver hangs loses the report of an hour, and its exit code says that it was interrupted."""
    watch.place.configure(f'{CONFIG}[notify]\nurl = "{listener.url}"\ntimeout_seconds = 60\n')
    watch.writer()
    for argv, whole in (
        (["backfill", "--workers", "1", "--json"], "tables"),
        (["drift-report", "--workers", "1", "--format", "json"], "next_step"),
        (["cutover", "--yes", "--json"], "gates"),
        (["rollback", "--yes", "--fast", "--json"], "gates"),
    ):
        if argv[0] == "cutover":
            listener.answer = 200
            watch.place.prove()
        listener.answer = "silent"
        listener.told.clear()
        command = watch.command(*argv)
        until(lambda command=command: command.ended or listener.told, what=f"{argv[0]} tells the receiver")  # type: ignore[misc]
        assert not command.ended, command.err
        command.interrupt()
        done = command.wait(60)
        assert done.code == 0 and whole in json.loads(done.out), done
        assert "was not told: it was interrupted" in done.err and "Resume with" not in done.err


def test_a_port_of_an_address_that_is_not_ours(watch: Watched) -> None:
    """Would break: `--metrics-host` is passed over, and the names of tables are readable from anywhere."""
    said = watch.place.commands.line("worker", "--metrics-port", str(free_port()), "--metrics-host", "192.0.2.1")
    assert "cannot listen on 192.0.2.1" in said
