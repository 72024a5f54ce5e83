"""A process of an application that writes to both sides: `python -m switches.writer ORDER` (JSON), until SIGTERM.

It opens its store from the environment, as any application does. Each write is logged to disk before it is tried, and again
when it is answered: what the log says was acknowledged must be in both stores at the end. It also reads its own keys back
from the current primary: a new primary must have what the old one acknowledged.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from uuid import UUID

import psycopg

from sync import DualWriteStore, open_store
from sync.adapters.postgres.connection.connect import connect
from sync.errors import SyncError, WriteRefused, WriteUnsure
from sync.settings import load_settings

TABLE = "pairs"
Values = dict[str, str | None]
NOT_KNOWN = object()


class Log:
    """Lines of JSON that survive when the process is killed."""

    def __init__(self, path: Path) -> None:
        self._file, self._lock, self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), Lock(), 0

    def next(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def note(self, **what: Any) -> None:
        os.write(self._file, json.dumps({"at": time.monotonic(), **what}).encode() + b"\n")


@dataclass
class Hand:
    """One thread of the process, with its own keys and keys that others write as well."""

    store: Any
    log: Log
    name: str
    own: list[str]
    shared: list[str]
    pause: float
    known: dict[str, Any] = field(default_factory=dict)

    def work(self, ended: Event) -> None:
        dice = random.Random(self.name)
        while not ended.is_set():
            self._write(dice, dice.choice(self.own if dice.random() < 0.6 or not self.shared else self.shared))
            time.sleep(dice.uniform(0, 2 * self.pause))

    def _write(self, dice: random.Random, key: str) -> None:
        n, kind = self.log.next(), dice.choice(["put", "put", "update", "update", "delete"])
        values = self._values(dice, kind, f"{self.name}.{n}")
        self.log.note(n=n, kind=kind, key=key, values=values)
        fate, error = "must", ""
        try:
            if not call(self.store, kind, key, values):
                fate = "absent"
        except WriteRefused as refused:
            fate, error = "never", str(refused)
        except WriteUnsure as unsure:
            fate, error = "may", str(unsure)
        except SyncError as wrong:
            fate, error = "may", f"{type(wrong).__name__}: {wrong}"
        self.log.note(n=n, fate=fate, error=error, primary=self.store.primary)
        if key in self.own:
            self._learn(key, kind, values, fate)
            if dice.random() < 0.3:
                self._look(key)

    @staticmethod
    def _values(dice: random.Random, kind: str, text: str) -> Values:
        if kind == "put":
            return {"a": f"{text}a", "b": dice.choice([f"{text}b", None])}
        return {dice.choice("ab"): dice.choice([f"{text}u", f"{text}u", None])} if kind == "update" else {}

    def _learn(self, key: str, kind: str, values: Values, fate: str) -> None:
        before = self.known.get(key, NOT_KNOWN)
        if fate == "may":
            self.known[key] = NOT_KNOWN
        elif fate == "absent" and before not in (None, NOT_KNOWN):
            self.log.note(fault=f"{key}: an update found no row, though {before} was acknowledged")
        elif fate == "must" and kind == "delete":
            self.known[key] = None
        elif fate == "must" and kind == "put":
            self.known[key] = values
        elif fate == "must" and before is not NOT_KNOWN:
            self.known[key] = {"a": None, "b": None, **(before or {}), **values}

    def _look(self, key: str) -> None:
        """Nobody else writes this key: the primary must hold what was acknowledged last."""
        if (expected := self.known.get(key, NOT_KNOWN)) is NOT_KNOWN:
            return
        try:
            found = self.store.get(TABLE, {"id": UUID(key)})
        except SyncError as error:
            self.log.note(unread=str(error))
            return
        row = found and {"a": found["a"], "b": found["b"]}
        if row != expected:
            self.log.note(fault=f"{key}: {self.store.primary} holds {row}, though {expected} was acknowledged")


@dataclass
class SqlHand(Hand):
    """One that knows nothing of the program: it writes the target by SQL, and is refused while Astra is primary."""

    def __post_init__(self) -> None:
        self.connection = connect(load_settings(), autocommit=True)
        self.connection.execute(f"SET default_transaction_isolation = '{random.Random(self.name).choice(ISOLATIONS)}'")

    def _write(self, dice: random.Random, key: str) -> None:
        n, kind = self.log.next(), dice.choice(["put", "put", "update", "update", "delete"])
        values = self._values(dice, kind, f"{self.name}.{n}")
        self.log.note(n=n, kind=kind, key=key, values=values)
        fate, error = "must", ""
        try:
            done = self.connection.execute(_STATEMENTS[kind](values), {"id": key, **values}).rowcount
            fate = "absent" if kind == "update" and not done else "must"
        except psycopg.Error as refused:
            fate, error = ("absent" if refused.sqlstate in NOT_NOW else "never"), f"{refused.sqlstate}: {refused}"
        self.log.note(n=n, fate=fate, error=error, primary="postgres")


ISOLATIONS = ("read committed", "repeatable read")
NOT_NOW = ("SY001", "40001")
"""Astra is primary; the snapshot is older than a switch, or than another write of the row."""
_STATEMENTS: dict[str, Callable[[Values], bytes]] = {
    "put": lambda _: (
        b"INSERT INTO pairs (id, a, b) VALUES (%(id)s, %(a)s, %(b)s) ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = excluded.b"
    ),
    "update": lambda values: (
        f"UPDATE pairs SET {', '.join(f'{name} = %({name})s' for name in values)} WHERE id = %(id)s".encode()
    ),
    "delete": lambda _: b"DELETE FROM pairs WHERE id = %(id)s",
}


def call(store: DualWriteStore, kind: str, key: str, values: Values) -> bool:
    where = {"id": UUID(key)}
    if kind == "put":
        return store.put(TABLE, {**where, **values})
    if kind == "update":
        return store.update(TABLE, where, values)
    return store.delete(TABLE, where)


def main(order: dict[str, Any]) -> None:
    """Write until SIGTERM, then sign off."""
    ended = Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    logging.basicConfig(level=logging.WARNING, format="%(relativeCreated)d %(message)s")
    log = Log(Path(order["log"]))
    if order["sql"]:
        work([
            SqlHand(None, log, f"{order['name']}{i}", own, order["shared"], order["pause"]) for i, own in enumerate(order["own"])
        ], ended)  # fmt: skip
        log.note(closed=True)
        return
    store = open_store()
    assert isinstance(store, DualWriteStore)
    with store:
        told, waited = store._registration, store._registration.record_wait

        def note_wait(seconds: float) -> None:
            log.note(waited=seconds * 1000)
            waited(seconds)

        told.record_wait = note_wait  # type: ignore[method-assign]
        log.note(writer=told.writer.id)
        hands = [
            Hand(store, log, f"{order['name']}{i}", own, order["shared"], order["pause"])
            for i, own in enumerate(order["own"])
        ]
        work(hands, ended)
    log.note(closed=True)


def work(hands: Sequence[Hand], ended: Event) -> None:
    """Each in a thread of its own, until the end."""
    threads = [Thread(target=hand.work, args=(ended,)) for hand in hands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
