"""Processes that count and are killed: forked from one that has imported everything, each with a failpoint."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

from support.commands import ROOT
from sync import failpoints
from sync.errors import SyncError, WriteRefused, WriteUnsure
from sync.settings import Config, Settings
from sync.stores import DualWriteStore
from sync.wiring.dual_write.worker import drain_job

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["support.counter_children"])


def start(role: str, plan: dict[str, str], settings: Settings, config: Config, **more: Any) -> ForkServerProcess:
    """A process that counts (`count`) or drains (`drain`), with these failpoints."""
    process = _CONTEXT.Process(target=_work, args=(role, plan, settings, config, more))
    with patch.dict(os.environ, PYTHONPATH=str(ROOT / "tests")):  # the process from which they are forked imports this module
        process.start()
    return process


def _work(role: str, plan: dict[str, str], settings: Settings, config: Config, more: dict[str, Any]) -> None:
    failpoints._PLAN.update(plan)
    if role == "drain":
        end = time.monotonic() + more["seconds"]
        while time.monotonic() < end:
            drain_job(settings, config, "plays", lambda: False)
            time.sleep(0.02)
        return
    with DualWriteStore(settings, config) as store:
        count(store, Path(more["record"]), more["keys"], random.Random(more["seed"]), more["times"])


def count(store: DualWriteStore, record: Path, keys: list[str], rng: random.Random, times: int) -> None:
    """Increment one of these keys so many times; each is recorded before, and when it is answered."""
    file = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for n in range(times):
        key, amount, fate = rng.choice(keys), rng.randint(1, 9), "may"
        name = f"{os.getpid()}.{rng.random()}.{n}"
        os.write(file, json.dumps({"n": name, "key": key, "amount": amount}).encode() + b"\n")
        try:
            store.increment("plays", {"song": UUID(key)}, {"times": amount})
            fate = "must"
        except WriteRefused:
            fate = "never"
        except (WriteUnsure, SyncError):
            pass
        os.write(file, json.dumps({"n": name, "fate": fate}).encode() + b"\n")


def bounds(record: Path, key: str) -> tuple[int, int]:
    """What was acknowledged of a key, and that with all whose outcome is not known."""
    fates: dict[str, str] = {}
    asked: dict[str, tuple[str, int]] = {}
    for line in record.read_text().splitlines():
        entry = json.loads(line)
        if "fate" in entry:
            fates[entry["n"]] = entry["fate"]
        else:
            asked[entry["n"]] = entry["key"], entry["amount"]
    mine = [(fates.get(n, "may"), amount) for n, (k, amount) in asked.items() if k == key]
    return sum(a for fate, a in mine if fate == "must"), sum(a for fate, a in mine if fate != "never")
