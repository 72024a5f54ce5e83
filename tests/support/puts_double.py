"""A store of both sides whose flows are doubles: which rows are put together, and what becomes of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from sync.core.mutations import Key, Mutation
from sync.errors import SyncError, WriteRefused
from sync.flows.dual_write_batch import Ends
from sync.ports import Intent
from sync.stores.both_sides.halves import Halves
from sync.stores.both_sides.puts import Puts
from sync.stores.calls import Calls

REFUSED, CHANGED = WriteRefused("no"), WriteRefused("changed")


class Store(Puts):
    """`answers` are the errors of each batch by place; `looks` what is raised when the flows are asked for.

    A batch with a key of `locked` is left by the target; such a row's half waits as `hold` does, and one alone as `busy`.
    """

    def __init__(
        self, answers: Sequence[dict[int, SyncError]] = (), looks: Sequence[SyncError | None] = (), threads: int = 1
    ) -> None:
        self._many, self._calls = ThreadPoolExecutor(threads), Calls(lambda: None)
        self._halves = Halves(self._many, threads, self._calls)
        self._process: Any = SimpleNamespace(check=lambda: None)
        self._side: Any = SimpleNamespace(is_registered=True, registration=SimpleNamespace(primary="astra"))
        self.answers, self.looks, self.locked = list(answers), list(looks), set[bytes]()
        self.batches: list[list[bytes]] = []
        self.alone: list[bytes] = []
        self.halves: list[bytes] = []
        self.marked: list[int] = []
        self.counted: list[SyncError | None] = []
        self.hold: Callable[[], object] = lambda: None
        self.busy: Callable[[], object] = lambda: None
        one = SimpleNamespace(second_half=self._waits, mark=self._mark, observe=lambda *_: None)
        batch = SimpleNamespace(
            journal=SimpleNamespace(takes_rows=True), write=self._written, second_half=self._free_half, one=one
        )
        self.apart = set[bytes]()
        shared = SimpleNamespace(
            is_apart=False, together=self._written, goes_alone=lambda put: put.key.canonical in self.apart
        )
        self.flows: Any = SimpleNamespace(put=self._made, batch=batch, puts=shared)
        self._known: Any = SimpleNamespace(known=lambda _: self.flows)

    @staticmethod
    def _made(row: dict[str, bytes], ttl: int | None = None) -> Mutation:
        if row["id"] == b"bad":
            raise REFUSED
        return Mutation("put", Key("t", (row["id"],), row["id"], 0), {"a": row.get("a")})

    def _written(self, puts: Sequence[Mutation]) -> Ends:
        keys = [put.key.canonical for put in puts]
        self.batches.append(keys)
        left = {n: Intent(n, 1, 1) for n, _ in enumerate(keys)} if self.locked & set(keys) else {}
        return Ends(self.answers.pop(0) if self.answers else {}, [], left)

    def _free_half(self, put: Mutation, _: Intent) -> bool:
        if put.key.canonical in self.locked:
            return False
        self.halves.append(put.key.canonical)
        return True

    def _waits(self, put: Mutation, _: Intent) -> None:
        self.hold()
        self.halves.append(put.key.canonical)

    def _mark(self, intents: Sequence[Intent], state: str, error: str) -> None:
        assert state == "finished"
        self.marked.extend(intent.id for intent in intents)

    @property
    def _maker(self) -> Any:
        raise NotImplementedError

    @property
    def _router(self) -> Any:
        return SimpleNamespace(
            epochs=SimpleNamespace(primary="astra"),
            route=lambda by: by["astra"](),
            ended=lambda error, seconds: self.counted.append(error),
        )

    def _of(self, table: str) -> Any:
        if self.looks and (error := self.looks.pop(0)):
            raise error
        return self.flows

    def _put(self, table: str, row: Any, ttl: int | None) -> bool:
        return self._write(self.flows, self.flows.put(row, ttl))

    def _retry_on_change(self, table: str, call: Callable[[Any], Any]) -> Any:
        return call(self.flows)

    def _again(self, table: str, call: Callable[[Any], Any]) -> Any:
        return call(self.flows)

    def _has_changed(self, flows: Any, refusal: SyncError) -> bool:
        raise CHANGED

    def _write(self, flows: Any, mutation: Mutation) -> bool:
        self.alone.append(mutation.key.canonical)
        self.busy()
        return True


def ids(*keys: bytes) -> list[dict[str, bytes]]:
    """A row for each key."""
    return [{"id": key} for key in keys]
