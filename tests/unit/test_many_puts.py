"""`put_many` on doubles alone: which rows are written together, and that each has its own answer."""

from __future__ import annotations

import pytest
from support.puts_double import REFUSED, Store, ids

from sync.errors import WriteRefused, WriteRefusedNow, WriteUnsure

UNSURE, AWAY = WriteUnsure("perhaps"), WriteRefusedNow("away")


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


def test_each_row_of_a_batch_is_counted_as_a_write() -> None:
    """Would break: the metrics show a write where there were sixty."""
    store = Store([{1: UNSURE}])
    with pytest.raises(WriteUnsure):
        store.put_many("t", ids(b"a", b"b", b"c"))
    assert store.counted == [None, UNSURE, None]
