"""`put_many` on doubles alone: which rows are written together, and that each has its own answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from sync.core.mutations import Key, Mutation
from sync.errors import SyncError, WriteRefused, WriteRefusedNow, WriteUnsure
from sync.flows.dual_write_batch import Ends
from sync.stores.both_sides.many_puts import ManyPuts

REFUSED, CHANGED, UNSURE, AWAY = WriteRefused("no"), WriteRefused("changed"), WriteUnsure("perhaps"), WriteRefusedNow("away")


class Store(ManyPuts):
    """`answers` are the errors of each batch by place; `looks` what is raised when the flows are asked for."""

    def __init__(self, answers: Sequence[dict[int, SyncError]] = (), looks: Sequence[SyncError | None] = ()) -> None:
        self._many, self._calls = ThreadPoolExecutor(1), nullcontext()  # type: ignore[assignment]
        self.answers, self.looks = list(answers), list(looks)
        self.batches: list[list[bytes]] = []
        self.alone: list[bytes] = []
        batch = SimpleNamespace(journal=SimpleNamespace(takes_rows=True), write=self._written)
        self.flows: Any = SimpleNamespace(put=self._put, batch=batch)

    @staticmethod
    def _put(row: dict[str, bytes]) -> Mutation:
        return Mutation("put", Key("t", (row["id"],), row["id"], 0), {"a": row.get("a")})

    def _written(self, puts: Sequence[Mutation]) -> Ends:
        self.batches.append([put.key.canonical for put in puts])
        return Ends(self.answers.pop(0) if self.answers else {})

    @property
    def _maker(self) -> Any:
        raise NotImplementedError

    @property
    def _router(self) -> Any:
        return SimpleNamespace(epochs=SimpleNamespace(primary="astra"), run=lambda by: by["astra"]())

    def _of(self, table: str) -> Any:
        if self.looks and (error := self.looks.pop(0)):
            raise error
        return self.flows

    def _retry_on_change(self, table: str, call: Callable[[Any], Any]) -> Any:
        return call(self.flows)

    def _again(self, table: str, call: Callable[[Any], Any]) -> Any:
        return call(self.flows)

    def _has_changed(self, flows: Any, refusal: SyncError) -> bool:
        raise CHANGED

    def _write(self, flows: Any, mutation: Mutation) -> bool:
        self.alone.append(mutation.key.canonical)
        return True


def ids(*keys: bytes) -> list[dict[str, bytes]]:
    return [{"id": key} for key in keys]


def test_a_row_s_schema_that_cannot_be_read_again_is_that_row_s_answer_alone() -> None:
    """Would break: the caller hears "refused" of a row that may be there, and the rows of later turns are not tried."""
    store = Store([{0: UNSURE, 1: REFUSED}])
    with pytest.raises(WriteUnsure, match="perhaps"):
        store.put_many("t", ids(b"a", b"b", b"c", b"d", b"c", b"d", b"b"))
    assert store.batches == [[b"a", b"b", b"c", b"d"], [b"c", b"d"]], "not behind one that failed"
    store = Store([{0: REFUSED}])
    with pytest.raises(WriteRefused, match="changed"):
        store.put_many("t", ids(b"a", b"b"))


def test_flows_that_cannot_be_had_are_the_answer_of_their_batch_alone() -> None:
    """Would break: the same, where the table is made again while the source is away."""
    store = Store([{0: UNSURE}], [None, None, AWAY])
    with pytest.raises(WriteUnsure, match="perhaps"):
        store.put_many("t", ids(b"a", b"b", b"c", b"b", b"c"))


def test_batches_are_bounded_by_bytes_too() -> None:
    """Would break: 64 rows of some megabytes each are one statement, eight times at once (invariant 7)."""
    store = Store()
    large = [{"id": b"%d" % n, "a": b"x" * 3_000_000} for n in range(5)]
    assert store.put_many("t", [*large, {"id": b"huge", "a": b"x" * 9_000_000}, *ids(*(b"s%d" % n for n in range(70)))])
    assert [len(batch) for batch in store.batches] == [2, 2, 64, 6]
    assert store.alone == [b"4", b"huge"]
