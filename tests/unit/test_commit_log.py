"""The reader of Cassandra's commit log, on bytes: what it refuses, and that damage is never a silent loss."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.log_bytes import OTHER, TABLE, entry, header, insert, mutation, segment, table

from sync.adapters.commitlog.segments import SegmentFile
from sync.core.capture.changes import ChangedKey, Gap
from sync.core.capture.commitlog.descriptor import Damaged, SegmentRefused, read_descriptor, segment_id
from sync.core.capture.commitlog.mutations import Mutation, read_mutation
from sync.core.capture.commitlog.place import Place, place_of
from sync.core.capture.commitlog.sections import entries
from sync.core.capture.commitlog.tables import COMPLEX, UNKNOWN, VARIABLE, ColumnRow, length_of, log_table, partition_cells
from sync.core.capture.commitlog.told import told

KEY = struct.pack(">i", 5)
ONE = insert(KEY, 9, "text")
EPOCH = 1_442_880_000_000_000


def read(data: bytes, *others: bytes) -> Mutation:
    tables = {TABLE: table(), OTHER: table(OTHER, "other")}
    return read_mutation(data, tables, frozenset({TABLE, *others}))


def keys(found: Mutation) -> list[ChangedKey | Gap]:
    return [one for update in found.updates for one in told(update, 1.0)]


def test_a_row_is_told_with_its_timestamp() -> None:
    """Would break: everything."""
    assert keys(read(mutation(ONE))) == [ChangedKey("t", (KEY,), (struct.pack(">i", 9),), EPOCH + 107, 1.0)]


@pytest.mark.parametrize("version", [0, 6, 9, 10])
def test_an_unknown_format_is_refused_by_its_number(version: int) -> None:
    """Would break: a later Cassandra's log is read as if it were this one's."""
    with pytest.raises(SegmentRefused, match=f"format is {version}"):
        read_descriptor(header(version))


def test_an_encrypted_segment_is_refused() -> None:
    """Would break: what cannot be read counts as damage, again and again."""
    with pytest.raises(SegmentRefused, match="encrypted"):
        read_descriptor(header(encCipher="AES/CBC/PKCS5Padding", encKeyAlias="k", encIV="00"))


def test_an_unknown_compressor_is_refused_by_its_name(tmp_path: Path) -> None:
    """Would break: the user does not learn which setting is in the way."""
    path = tmp_path / "CommitLog-8-1234.log"
    path.write_bytes(segment(b"", compressionClass="SnappyCompressor", compressionParameters={}))
    with pytest.raises(SegmentRefused, match="SnappyCompressor"):
        SegmentFile(path).section(0)


def test_a_header_that_is_not_written_yet_is_waited_for() -> None:
    """Would break: a segment that was just made counts as damaged."""
    assert read_descriptor(b"") is None
    assert read_descriptor(bytes(4096)) is None
    assert read_descriptor(header()[:19]) is None


def test_a_damaged_header_is_damage() -> None:
    """Would break: a wrong id, with which every marker would be wrong."""
    data = bytearray(header())
    data[6] ^= 1
    with pytest.raises(Damaged):
        read_descriptor(bytes(data))


def test_an_unknown_table_before_ours_leaves_our_partition() -> None:
    """Would break: a batch over a table that was dropped hides the other table's key."""
    strange = insert(KEY, 9, "text", table=b"?" * 16)
    found = read(mutation(strange, ONE))
    assert found.unknown == b"?" * 16
    assert keys(found) == [ChangedKey("t", (KEY,), None, None, 1.0)]


def test_an_unknown_column_leaves_the_partition() -> None:
    """Would break: a column that was added a moment ago hides a key."""
    found = read(mutation(ONE.replace(b"\x01v", b"\x01w")))
    assert found.strange
    assert keys(found) == [ChangedKey("t", (KEY,), None, None, 1.0)]


def test_updates_that_do_not_end_with_their_mutation_leave_the_partition() -> None:
    """Would break: rows that were read with wrong types, so that wrong keys are told."""
    for data in (mutation(ONE) + b"\0", mutation(ONE)[:-1], mutation(ONE, insert(KEY, 1, "x", OTHER))[:-3]):
        assert keys(read(data)) == [ChangedKey("t", (KEY,), None, None, 1.0)], data


def test_a_table_between_is_passed_over() -> None:
    """Would break: an update of a table that is not followed ends the reading of its batch."""
    assert [one.clustering for one in keys(read(mutation(insert(KEY, 1, "x", OTHER), ONE)))] == [(struct.pack(">i", 9),)]


def test_a_column_that_came_back_as_another_type_is_not_guessed() -> None:
    """Would break: an int's four bytes are read as a text's length."""
    now = [
        ColumnRow("p", "partition_key", 0, "int"),
        ColumnRow("n", "regular", -1, "bigint"),
        ColumnRow("v", "regular", -1, "text"),
    ]
    was = [
        ColumnRow("n", "regular", -1, "text"),
        ColumnRow("v", "regular", -1, "blob"),
        ColumnRow("gone", "regular", -1, "int"),
    ]
    columns = log_table(TABLE, "ks", "t", now, was, frozenset()).columns
    assert columns == {b"n": UNKNOWN, b"v": VARIABLE, b"gone": 4}


@pytest.mark.parametrize(
    ("cql", "length"),
    [
        ("int", 4), ("timeuuid", 16), ("smallint", VARIABLE), ("date", VARIABLE), ("frozen<list<int>>", VARIABLE),
        ("list<int>", COMPLEX), ("map<text, frozen<list<int>>>", COMPLEX), ("address", COMPLEX), ('"Home Address"', COMPLEX),
        ("frozen<address>", VARIABLE), ("vector<float, 3>", 12), ("vector<vector<bigint, 2>, 3>", 48), ("vector<text, 2>", VARIABLE),
        ("vector<smallint, 2>", VARIABLE), ("tuple<int, text>", COMPLEX), ("'org.apache.cassandra.db.marshal.LexicalUUIDType'", UNKNOWN),
    ],
)  # fmt: skip
def test_how_long_a_value_is(cql: str, length: int) -> None:
    """Would break: the next row is looked for at a wrong place."""
    assert length_of(cql, frozenset({"address", "Home Address"})) == length


def test_a_composite_partition_key_is_taken_apart() -> None:
    """Would break: the key of another partition is told; or a gap is not."""
    columns = [ColumnRow(name, "partition_key", n, "text") for n, name in enumerate("ab")]
    pair = log_table(TABLE, "ks", "t", columns, (), frozenset())
    assert partition_cells(pair, b"\0\1x\0\0\0\0") == (b"x", b"")
    assert partition_cells(pair, b"\0\1x\0\0\1") is None
    assert partition_cells(pair, b"\0\1x\0") is None


def test_names_and_places() -> None:
    """Would break: an index file is taken for a segment; a position does not lead back."""
    assert segment_id("CommitLog-7-1700000000001.log") == 1700000000001
    assert segment_id("CommitLog-7-1700000000001_cdc.idx") is None
    assert place_of(str(Place(7, 8, 9))) == Place(7, 8, 9)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    """Would break: an exception without a name ends the follower."""
    for update in (TABLE, OTHER):
        with suppress(Damaged):
            read(b"\1" + update + data)


@given(st.integers(0, 10_000), st.integers(1, 255))
@example(3, 51)  # the size of the first entry becomes 0, as behind the last one
def test_a_damaged_section_is_never_a_silent_loss(place: int, flip: int) -> None:
    """Would break: a byte that changed on the disk hides a key, and nobody learns that there was one."""
    section = b"".join(entry(mutation(insert(struct.pack(">i", n), n, "x" * n))) for n in range(20))
    damaged = bytearray(section)
    damaged[place % len(section)] ^= flip
    found, lost = set(), False
    try:
        for _, data in entries(bytes(damaged)):
            if data is None:
                lost = True
                continue
            found |= {one.partition for one in keys(read(data)) if isinstance(one, ChangedKey)}
    except Damaged:
        lost = True
    assert lost or len(found) == 20


def test_zeros_are_the_end_of_a_segment_and_damage_elsewhere() -> None:
    """Would break: a page of zeros, which a machine that lost its power leaves, hides what came behind it."""
    first, second = entry(mutation(ONE)), entry(mutation(ONE))
    assert len(list(entries(first + bytes(500), padded=True))) == 1
    for data, padded in ((first + bytes(500), False), (first + bytes(len(second)) + second, True)):
        with pytest.raises(Damaged):
            list(entries(data, padded=padded))


@given(st.data())
def test_a_mutation_with_changed_bytes_still_tells_its_partition(data: st.DataObject) -> None:
    """Would break: what a wrong schema makes of rows. (Checksums are right here: real damage does not come so far.)"""
    whole = mutation(ONE)
    place = data.draw(st.integers(22, len(whole) - 1))  # behind the table's id and the key
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    found = keys(read(bytes(changed)))
    assert found and all(isinstance(one, ChangedKey) and one.partition == (KEY,) for one in found)
