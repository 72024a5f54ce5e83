"""Keys as every command shows them: one JSON form for each, which gives the key's bytes back; nothing a terminal would interpret."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cells import Raw, cell, varint
from support.values import strategy

from sync.console import check_report, write_report
from sync.core.cql import parse_type
from sync.core.encode.base import INT32
from sync.core.keys.json_form import cell_json, key_cells, key_json
from sync.core.rows import SourceColumn
from sync.core.visible import key_text, visible, visible_json, visible_lines
from sync.errors import SettingsError

TYPES = [
    "text", "ascii", "tinyint", "smallint", "int", "bigint", "varint", "decimal", "float", "double", "boolean", "uuid",
    "timeuuid", "timestamp", "date", "time", "inet", "blob", "frozen<list<decimal>>", "frozen<set<double>>",
    "frozen<map<int, text>>", "frozen<map<boolean, varint>>", "frozen<map<float, blob>>", "frozen<tuple<int, text, float>>",
    "vector<float, 2>",
]  # fmt: skip
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\n\r\u2028\u200b"


def decimal(unscaled: int, scale: int) -> Raw:
    return Raw(INT32.pack(scale) + varint(unscaled))


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_distinct_keys_are_shown_apart_and_read_back(name: str, data: st.DataObject) -> None:
    """Would break: a program that takes a key from a report looks for a key that is not there, or for another row's."""
    cql = parse_type(name)
    column = SourceColumn("k", cql, "partition_key")
    some = st.one_of(strategy(cql).map(lambda value: cell(cql, value) or b""), st.binary(max_size=12))
    seen: dict[str, bytes] = {}
    for raw in data.draw(st.lists(some, max_size=6)):
        shown = json.dumps(key_json([column], [raw]))
        assert seen.setdefault(shown, raw) == raw
        assert key_cells([column], json.loads(shown)) == (raw,)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("text", 'a"b\\c\td', 'a"b\\c\td'),
        ("text", "", ""),
        ("text", Raw(b"a\x00b"), {"$cell": "0x610062"}),
        ("text", Raw(b"\xff"), {"$cell": "0xff"}),
        ("int", 7, 7),
        ("int", Raw(b""), ""),
        ("bigint", 2**63 - 1, 9223372036854775807),
        ("varint", 10**30, 10**30),
        ("varint", Raw(b"\x00\x05"), {"$cell": "0x0005"}),
        ("decimal", decimal(150, 2), "1.50"),
        ("decimal", decimal(1, -2), "1E+2"),
        ("double", 0.5, 0.5),
        ("float", 1.1, 1.1),
        ("double", float("nan"), "NaN"),
        ("double", -0.0, "-0.0"),
        ("boolean", True, True),
        ("boolean", Raw(b"\x02"), {"$cell": "0x02"}),
        ("blob", b"", "0x"),
        ("blob", b"\xca\xfe", "0xcafe"),
        ("timestamp", 1296705909789, "2011-02-03 04:05:09.789Z"),
        ("inet", b"\x01\x02\x03\x04", "1.2.3.4"),
        ("frozen<list<int>>", [1, 2], [1, 2]),
        ("frozen<map<int, text>>", [(1, "a")], {"1": "a"}),
        ("int", Raw(b"\x00"), {"$cell": "0x00"}),
    ],
)
def test_the_forms_of_the_page(name: str, value: Any, shown: Any) -> None:
    """Would break: keys in JSON are not as docs/types.md says; or an empty int is shown as 0, which is another row's key."""
    cql = parse_type(name)
    found = cell_json(cql, cell(cql, value))
    assert (found, type(found)) == (shown, type(shown))


def test_people_read_the_same() -> None:
    """Would break: a text is taken for a number, for the next column, or for an instruction to the terminal."""
    assert key_text({"id": 7, "title": "Air on G", "n": "7", "e": "", "q": 'a"b, c=d', "b": True}) == (
        'id=7, title=Air on G, n="7", e="", q="a\\"b, c=d", b=true'
    )
    assert key_text({"id": HOSTILE}).isprintable()
    assert key_text({HOSTILE: 1}).isprintable()


def test_nothing_is_left_that_a_terminal_obeys() -> None:
    """Would break: an application's user writes a key that clears an operator's screen, or shows another command."""
    assert visible("naïve 日本 ♫") == "naïve 日本 ♫"
    assert visible(HOSTILE).isprintable()
    assert visible_lines("one\ntwo\x1b[2J").split("\n") == ["one", "two\\x1b[2J"]
    text = visible_json({"k": HOSTILE, "astral": "\U000e0001"})
    assert text.isprintable()
    assert json.loads(text) == {"k": HOSTILE, "astral": "\U000e0001"}


def test_a_float_of_four_bytes_keeps_its_digits() -> None:
    """Would break: 1.1 is shown as 1.100000023841858, which nobody wrote."""
    (value,) = struct.unpack(">f", struct.pack(">f", 3.3))
    assert cell_json(parse_type("float"), struct.pack(">f", value)) == 3.3


def test_a_report_is_its_owners_and_goes_through_no_link(tmp_path: Path) -> None:
    """Would break: other users of the machine read a report's values, or have one of the operator's files overwritten."""
    mine, report = tmp_path / "mine", tmp_path / "report.json"
    mine.write_text("kept")
    report.symlink_to(mine)
    old = os.umask(0)
    try:
        check_report(report)
        write_report(report, "figures")
    finally:
        os.umask(old)
    assert (mine.read_text(), report.read_text(), report.is_symlink()) == ("kept", "figures", False)
    assert report.stat().st_mode & 0o777 == 0o600
    report.chmod(0o644)
    write_report(report, "again")
    assert (report.read_text(), report.stat().st_mode & 0o777) == ("again", 0o600)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "report.json"]
    with pytest.raises(SettingsError, match="Is a directory"):
        check_report(tmp_path)
    with pytest.raises(SettingsError, match="No such file"):
        check_report(tmp_path / "nowhere" / "report")
