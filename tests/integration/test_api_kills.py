"""Applications that write through the Data API and are killed: no acknowledged write is lost, and both sides end up equal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from astrapy import Collection
from support.commands import environment
from support.dataapi.server import data_api, settings_of
from support.dual import WINDOW_PASSES, prepare
from support.places import NewPlace, Place

from sync.adapters.astra.api import open_api
from sync.settings import Config, DualWriteTuning, Settings
from sync.wiring.dual_write.worker import drain_job

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
CONFIG = Config(schema_files=(), dual_write=DualWriteTuning(connections=4, primary_timeout_seconds=5.0))
POINTS = (
    "wrapped.announced",
    "wrapped.called",
    "wrapped.marked",
    "reconcile.claimed",
    "reconcile.read",
    "reconcile.before_commit",
)
PASSAGES = (1, 4, 7)
APPLICATION = """
import random, sys
from sync.stores import open_store
dice = random.Random(sys.argv[1])
with open_store() as store:
    for n in range(20):
        key = {"_id": dice.choice("abc")}
        what = dice.choice(["put", "put", "update", "delete"])
        print(n, key["_id"], what, "begun", flush=True)
        if what == "put":
            store.put("docs", {**key, "n": n, "$vector": [1.0, n]})
        elif what == "update":
            store.update("docs", key, {"last": n})
        else:
            store.delete("docs", key)
        print(n, key["_id"], what, "done", flush=True)
"""


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as place:
        yield place


@pytest.fixture(scope="module")
def settings(home: Place) -> Iterator[Settings]:
    with data_api(home.cassandra.session) as double:
        yield settings_of(home.settings, double)


@pytest.fixture(scope="module")
def docs(home: Place, settings: Settings) -> Collection[Any]:
    vectors = {"vector": {"dimension": 2, "metric": "cosine"}}
    made = open_api(settings, 30).database.create_collection("docs", definition=vectors)
    prepare(home.settings, CONFIG, "docs")
    return made


@pytest.mark.parametrize("passage", PASSAGES)
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_application_loses_nothing(
    home: Place, settings: Settings, docs: Collection[Any], tmp_path: Path, point: str, passage: int
) -> None:
    """Would break: a document whose writer died at this step is only in Astra for ever, or a deleted one comes back."""
    (tmp_path / "sync.toml").write_text("schema_files = []\n")
    found = {
        **environment(settings), "SYNC_CONFIG": str(tmp_path / "sync.toml"), "SYNC_DUAL_WRITE": "true", "STORAGE_BACKEND": "astra",
        "SYNC_FAILPOINTS": f"{point}=kill:{passage}",
    }  # fmt: skip
    command = [sys.executable, "-c", APPLICATION, f"{point} {passage}"]
    done = subprocess.run(command, env=found, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -9, f"it was to be killed: {done.stderr}"
    _settle(home, settings)
    _check([line.split() for line in done.stdout.splitlines()], home, docs)


def _settle(home: Place, settings: Settings) -> None:
    """Drain as workers do, once the writer is known to be dead and its calls can no longer arrive."""
    home.sql(WINDOW_PASSES, "UPDATE sync.intent SET lease_until = NULL")
    home.sql("UPDATE sync.writer SET heartbeat_at = heartbeat_at - interval '1 day'")
    drain_job(settings, CONFIG, "docs", lambda: False)
    assert home.sql("SELECT count(*) FROM sync.intent") == [(0,)]


def _check(said: list[list[str]], home: Place, docs: Collection[Any]) -> None:
    in_postgres = {key: json.dumps(doc, sort_keys=True) for key, doc in home.sql("SELECT _id, doc FROM docs")}
    in_astra = {d["_id"]: json.dumps(d, sort_keys=True) for d in docs.find({}, projection={"$vector": False})}
    assert in_postgres == in_astra
    for key in {line[1] for line in said}:
        _, _, what, state = [line for line in said if line[1] == key][-1]
        if state == "done":
            number = next(line[0] for line in reversed(said) if line[1] == key)
            held = json.loads(in_astra.get(key, "null"))
            assert (held or {}).get({"put": "n", "update": "last"}.get(what, "")) == (
                None if what == "delete" else int(number)
            )
