"""Every kind of statement, and the keys that it changes: a partition's cells with a row's, or with None for all its rows."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

Change = tuple[tuple[bytes, ...], tuple[bytes, ...] | None]


@dataclass(frozen=True)
class Case:
    """A table (`{t}` is its name), statements, and what they have to announce of it; `also`: of other tables, by suffix."""

    name: str
    table: str
    statements: tuple[str, ...]
    told: frozenset[Change]
    before: tuple[str, ...] = ()


def i(number: int) -> bytes:
    return struct.pack(">i", number)


def big(number: int) -> bytes:
    return struct.pack(">q", number)


def keys(*changes: Change) -> frozenset[Change]:
    return frozenset(changes)


_WIDE = "CREATE TABLE {t} (p int, c int, v text, n bigint, PRIMARY KEY (p, c)) WITH cdc = true"
_PLAIN = "CREATE TABLE {t} (k text PRIMARY KEY, v text, n int) WITH cdc = true"
_STATIC = "CREATE TABLE {t} (p int, c int, s text static, ls list<int> static, v int, PRIMARY KEY (p, c)) WITH cdc = true"
_ALL = (
    "CREATE TABLE {t} (p int, c int, a ascii, b bigint, bl blob, bo boolean, d date, de decimal, do double, du duration, f float, "
    "i inet, si smallint, ti tinyint, t time, ts timestamp, tu timeuuid, u uuid, vi varint, tx text, "
    "tup tuple<int, text>, fl frozen<list<int>>, vf vector<float, 3>, vt vector<text, 2>, vs vector<smallint, 2>, "
    "PRIMARY KEY (p, c)) WITH cdc = true"
)
_ALL_VALUES = (
    "'a', 1, 0x00ff, true, '2020-01-01', 1.5, 2.5, 1h30m, 3.5, '127.0.0.1', 7, 8, '12:00:00', '2020-01-01T00:00:00Z', "
    "50554d6e-29bb-11e5-b345-feff819cdc9f, 50554d6e-29bb-41e5-b345-feff819cdc9f, 123456789012345678901234567890, 'text', "
    "(1, 'x'), [1, 2, 3], [1.0, 2.0, 3.0], ['a', 'b'], [1, 2]"
)
_ALL_NAMES = "a, b, bl, bo, d, de, do, du, f, i, si, ti, t, ts, tu, u, vi, tx, tup, fl, vf, vt, vs"
_COLLECTIONS = (
    "CREATE TABLE {t} (p int, c text, l list<text>, s set<int>, m map<text, bigint>, fm frozen<map<int, int>>, v int, "
    "PRIMARY KEY (p, c)) WITH cdc = true"
)
_UDT = "CREATE TABLE {t} (p int, c int, u {t}_type, fu frozen<{t}_type>, lu list<frozen<{t}_type>>, v int, PRIMARY KEY (p, c)) WITH cdc = true"
_UDT_TYPE = "CREATE TYPE {t}_type (a int, b text)"
_TIME = UUID("50554d6e-29bb-11e5-b345-feff819cdc9f")
_MANY = (
    "CREATE TABLE {t} (p int, c int, " + ", ".join(f"v{n} int" for n in range(90)) + ", PRIMARY KEY (p, c)) WITH cdc = true"
)
_CLUSTERED = (
    "CREATE TABLE {t} (p int, a tinyint, b time, c timeuuid, d text, e double, v int, PRIMARY KEY (p, a, b, c, d, e)) "
    "WITH cdc = true AND CLUSTERING ORDER BY (a DESC, b ASC, c DESC, d DESC, e ASC)"
)

VECTORS = (
    ", vf vector<float, 3>, vt vector<text, 2>, vs vector<smallint, 2>",
    ", vf, vt, vs",
    ", [1.0, 2.0, 3.0], ['a', 'b'], [1, 2]",
)
"""What Cassandra 4 does not have, in a table, its columns and its values."""

CASES = (
    Case("insert", _WIDE, ("INSERT INTO {t} (p, c, v, n) VALUES (1, 2, 'x', 3)",), keys(((i(1),), (i(2),)))),
    Case("key_only", _WIDE, ("INSERT INTO {t} (p, c) VALUES (1, 2)",), keys(((i(1),), (i(2),)))),
    Case("update", _WIDE, ("UPDATE {t} SET v = 'y' WHERE p = 1 AND c = 3",), keys(((i(1),), (i(3),)))),
    Case("several_rows", _WIDE, ("UPDATE {t} SET v = 'y' WHERE p = 1 AND c IN (3, 4)",), keys(((i(1),), (i(3),)), ((i(1),), (i(4),)))),
    Case("null", _WIDE, ("UPDATE {t} SET v = null WHERE p = 1 AND c = 4",), keys(((i(1),), (i(4),)))),
    Case("column_delete", _WIDE, ("DELETE n FROM {t} WHERE p = 1 AND c = 4",), keys(((i(1),), (i(4),)))),
    Case("row_delete", _WIDE, ("DELETE FROM {t} WHERE p = 1 AND c = 5",), keys(((i(1),), (i(5),)))),
    Case("partition_delete", _WIDE, ("DELETE FROM {t} WHERE p = 7",), keys(((i(7),), None))),
    Case("range_delete", _WIDE, ("DELETE FROM {t} WHERE p = 8 AND c > 3 AND c <= 9",), keys(((i(8),), None))),
    Case("open_range_delete", _WIDE, ("DELETE FROM {t} WHERE p = 8 AND c >= 3",), keys(((i(8),), None))),
    Case("prefix_delete", _CLUSTERED, ("DELETE FROM {t} WHERE p = 8 AND a = 1 AND b = '12:00:00'",), keys(((i(8),), None))),
    Case(
        "range_boundaries", _WIDE,
        ("BEGIN UNLOGGED BATCH DELETE FROM {t} WHERE p = 8 AND c >= 1 AND c < 5; DELETE FROM {t} WHERE p = 8 AND c >= 5 AND c < 9; "
         "INSERT INTO {t} (p, c, v) VALUES (8, 20, 'x'); APPLY BATCH",),
        keys(((i(8),), None)),
    ),
    Case("ttl", _WIDE, ("INSERT INTO {t} (p, c, v) VALUES (1, 2, 'x') USING TTL 600",), keys(((i(1),), (i(2),)))),
    Case("ttl_of_a_cell", _WIDE, ("UPDATE {t} USING TTL 600 SET v = 'x' WHERE p = 1 AND c = 2",), keys(((i(1),), (i(2),)))),
    Case("old_timestamp", _WIDE, ("INSERT INTO {t} (p, c, v) VALUES (1, 2, 'x') USING TIMESTAMP 5",), keys(((i(1),), (i(2),)))),
    Case("plain_insert", _PLAIN, ("INSERT INTO {t} (k, v) VALUES ('a', 'b')",), keys(((b"a",), ()))),
    Case("plain_delete", _PLAIN, ("DELETE FROM {t} WHERE k = 'a'",), keys(((b"a",), ()))),
    Case("long_key", _PLAIN, (f"INSERT INTO {{t}} (k, n) VALUES ('{'x' * 5000}', 1)",), keys(((b"x" * 5000,), ()))),
    Case("static", _STATIC, ("UPDATE {t} SET s = 'x' WHERE p = 1",), keys(((i(1),), None))),
    Case("static_with_a_row", _STATIC, ("INSERT INTO {t} (p, c, s, v) VALUES (1, 2, 'x', 3)",), keys(((i(1),), None))),
    Case("static_list", _STATIC, ("UPDATE {t} SET ls = ls + [1, 2] WHERE p = 1",), keys(((i(1),), None))),
    Case("row_beside_statics", _STATIC, ("INSERT INTO {t} (p, c, v) VALUES (1, 2, 3)",), keys(((i(1),), (i(2),)))),
    Case("every_type", _ALL, (f"INSERT INTO {{t}} (p, c, {_ALL_NAMES}) VALUES (1, 2, {_ALL_VALUES})",), keys(((i(1),), (i(2),)))),
    Case(
        "every_type_in_two_rows", _ALL,
        (f"BEGIN UNLOGGED BATCH INSERT INTO {{t}} (p, c, {_ALL_NAMES}) VALUES (1, 2, {_ALL_VALUES}); "
         f"INSERT INTO {{t}} (p, c, {_ALL_NAMES}) VALUES (1, 3, {_ALL_VALUES}); APPLY BATCH",),
        keys(((i(1),), (i(2),)), ((i(1),), (i(3),))),
    ),
    Case("collections", _COLLECTIONS, (
        "INSERT INTO {t} (p, c, l, s, m, fm, v) VALUES (1, 'a', ['x', 'y'], {1, 2}, {'k': 5}, {1: 2}, 4)",
        "UPDATE {t} SET l = l + ['z'], s = s - {1}, m['q'] = 7 WHERE p = 1 AND c = 'b'",
        "UPDATE {t} SET l = null, s = {} WHERE p = 1 AND c = 'c'",
        "DELETE m['k'] FROM {t} WHERE p = 1 AND c = 'd'",
        "UPDATE {t} USING TTL 600 SET s = s + {9} WHERE p = 1 AND c = 'e'",
    ), keys(*(((i(1),), (letter.encode(),)) for letter in "abcde"))),
    Case("udts", _UDT, (
        "INSERT INTO {t} (p, c, u, fu, lu, v) VALUES (1, 1, {a: 1, b: 'x'}, {a: 1, b: 'x'}, [{a: 1, b: 'y'}], 4)",
        "UPDATE {t} SET u.b = 'z' WHERE p = 1 AND c = 2",
        "UPDATE {t} SET u = null, v = 3 WHERE p = 1 AND c = 3",
    ), keys(*(((i(1),), (i(n),)) for n in (1, 2, 3))), before=(_UDT_TYPE,)),
    Case("counters", "CREATE TABLE {t} (p int, c int, n counter, m counter, PRIMARY KEY (p, c)) WITH cdc = true", (
        "UPDATE {t} SET n = n + 1, m = m - 4 WHERE p = 1 AND c = 2",
        "DELETE n FROM {t} WHERE p = 1 AND c = 3",
    ), keys(((i(1),), (i(2),)), ((i(1),), (i(3),)))),
    Case("lwt", _WIDE, (
        "INSERT INTO {t} (p, c, v) VALUES (1, 2, 'x') IF NOT EXISTS",
        "UPDATE {t} SET v = 'y' WHERE p = 1 AND c = 2 IF v = 'x'",
        "DELETE FROM {t} WHERE p = 2 AND c = 3 IF EXISTS",
    ), keys(((i(1),), (i(2),)))),
    Case("batch", _WIDE, (
        "BEGIN BATCH INSERT INTO {t} (p, c, v) VALUES (1, 1, 'x'); INSERT INTO {t} (p, c, v) VALUES (2, 1, 'x'); "
        "DELETE FROM {t} WHERE p = 3 AND c = 1; APPLY BATCH",
    ), keys(*(((i(n),), (i(1),)) for n in (1, 2, 3)))),
    Case("composite_key", "CREATE TABLE {t} (a text, b int, c blob, d text, v int, PRIMARY KEY ((a, b, c), d)) WITH cdc = true", (
        "INSERT INTO {t} (a, b, c, d, v) VALUES ('', 1, 0x, '', 2)", "DELETE FROM {t} WHERE a = 'x' AND b = 2 AND c = 0x00",
    ), keys(((b"", i(1), b""), (b"",)), ((b"x", i(2), b"\0"), None))),
    Case("clustering_types", _CLUSTERED, (
        f"INSERT INTO {{t}} (p, a, b, c, d, e, v) VALUES (1, 5, '00:00:01', {_TIME}, '', 1.5, 2)",
    ), keys(((i(1),), (b"\x05", big(10**9), _TIME.bytes, b"", struct.pack(">d", 1.5))))),
    Case("many_columns", _MANY, (
        "INSERT INTO {t} (p, c, v3) VALUES (1, 1, 3)",
        "BEGIN UNLOGGED BATCH INSERT INTO {t} (p, c, " + ", ".join(f"v{n}" for n in range(90)) + ") VALUES (2, 1, "
        + ", ".join(map(str, range(90))) + "); INSERT INTO {t} (p, c, v5, v77) VALUES (2, 2, 1, 1); "
        "INSERT INTO {t} (p, c, " + ", ".join(f"v{n}" for n in range(80)) + ") VALUES (2, 3, " + ", ".join(map(str, range(80)))
        + "); APPLY BATCH",
    ), keys(((i(1),), (i(1),)), *(((i(2),), (i(n),)) for n in (1, 2, 3)))),
    Case("wide_value", _WIDE, (f"INSERT INTO {{t}} (p, c, v) VALUES (1, 2, '{'v' * 300000}')",), keys(((i(1),), (i(2),)))),
    Case("column_added", _WIDE, (
        "INSERT INTO {t} (p, c, v) VALUES (1, 1, 'x')", "ALTER TABLE {t} ADD w list<int>",
        "INSERT INTO {t} (p, c, w) VALUES (1, 2, [1])",
    ), keys(((i(1),), (i(1),)), ((i(1),), (i(2),)))),
    Case("column_dropped", _WIDE, (
        "INSERT INTO {t} (p, c, v, n) VALUES (1, 1, 'x', 1)", "ALTER TABLE {t} DROP n", "INSERT INTO {t} (p, c, v) VALUES (1, 2, 'x')",
    ), keys(((i(1),), (i(1),)), ((i(1),), (i(2),)))),
    Case("udt_dropped", _UDT, (
        "INSERT INTO {t} (p, c, fu, v) VALUES (1, 1, {a: 1, b: 'x'}, 1)", "ALTER TABLE {t} DROP fu",
        "INSERT INTO {t} (p, c, v) VALUES (1, 2, 4)",
    ), keys(((i(1),), (i(1),)), ((i(1),), (i(2),))), before=(_UDT_TYPE,)),
    Case("materialized_view", _WIDE, (
        "CREATE MATERIALIZED VIEW {t}_view AS SELECT * FROM {t} WHERE p IS NOT NULL AND c IS NOT NULL AND n IS NOT NULL PRIMARY KEY (n, p, c)",
        "INSERT INTO {t} (p, c, n) VALUES (1, 2, 30)",
        "UPDATE {t} SET n = 31 WHERE p = 1 AND c = 2",
    ), keys(((i(1),), (i(2),)))),
    Case("json", _WIDE, ("""INSERT INTO {t} JSON '{{"p": 4, "c": 5, "v": "x"}}'""",), keys(((i(4),), (i(5),)))),
)  # fmt: skip
