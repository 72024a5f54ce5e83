"""Mutations as bytes: what is sent again is what was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.mutations import pack_cells, unpack_cells

keys = st.lists(st.binary(max_size=40), min_size=1, max_size=4).map(tuple)
names = st.text(st.characters(codec="utf-8"), max_size=20)
cells = st.dictionaries(names, st.none() | st.binary(max_size=60), max_size=6)


@given(keys, cells)
def test_cells_come_back_as_they_were(key: tuple[bytes, ...], named: dict[str, bytes | None]) -> None:
    """Would break: a write is sent again with another value or column, or with an empty cell instead of a null."""
    assert unpack_cells(pack_cells(key, named)) == (key, named)
    assert list(unpack_cells(pack_cells(key, named))[1]) == list(named)


@pytest.mark.parametrize("cell", [None, b"", b"\xff\xff\xff\xff", b"\x00" * 70_000])
def test_null_empty_and_large_cells_are_told_apart(cell: bytes | None) -> None:
    """Would break: a null cell is sent again as an empty one, or the other way round."""
    assert unpack_cells(pack_cells((b"k", b""), {"a": cell, "b": b"x"})) == ((b"k", b""), {"a": cell, "b": b"x"})


def test_a_key_alone() -> None:
    """Would break: deletes, which carry no cells."""
    assert unpack_cells(pack_cells((b"k",), {})) == ((b"k",), {})
