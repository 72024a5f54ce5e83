"""Every kind of table: what is carried, and what preflight has to name."""

from __future__ import annotations

KINDS = (
    "CREATE TYPE KS.place (street text, number int)",
    "CREATE TABLE KS.kinds (id int PRIMARY KEY, m map<text, int>, l list<int>, s set<int>, u place, fu frozen<place>, "
    "fm frozen<map<text, int>>, fl frozen<list<frozen<place>>>, t tuple<int, text>)",
    "CREATE TABLE KS.seen (id int PRIMARY KEY, v text, s set<text>)",
    "CREATE INDEX seen_by_v ON KS.seen (v)",
    "CREATE TABLE KS.based (a int, b text, n int, v text, PRIMARY KEY ((a, b), n))",
    "CREATE MATERIALIZED VIEW KS.based_by_n AS SELECT * FROM KS.based WHERE a IS NOT NULL AND b IS NOT NULL "
    "AND n IS NOT NULL PRIMARY KEY (n, a, b)",
    "CREATE TABLE KS.once (id int PRIMARY KEY, v text)",
    "CREATE TABLE KS.keys (id int PRIMARY KEY)",
    "INSERT INTO KS.keys (id) VALUES (1)",
    "CREATE TABLE KS.statics (id int, n int, s text static, v text, PRIMARY KEY (id, n))",
    "INSERT INTO KS.statics (id, n, s, v) VALUES (1, 1, 's', 'v')",
    "CREATE TABLE KS.counts (id int PRIMARY KEY, c counter)",
    "UPDATE KS.counts SET c = c + 3 WHERE id = 1",
    "CREATE TABLE KS.dense (id int, n int, v text, PRIMARY KEY (id, n)) WITH COMPACT STORAGE",
    "CREATE TABLE KS.expires (id int PRIMARY KEY, v text) WITH default_time_to_live = 8640000",
    "CREATE TABLE KS.expire (id int PRIMARY KEY, v text, m map<text, int>)",
    "INSERT INTO KS.expire (id, v) VALUES (1, 'a') USING TTL 8640000",
    "CREATE TABLE KS.parts (id int PRIMARY KEY, v text, m map<text, int>)",
    "INSERT INTO KS.parts (id, v) VALUES (1, 'a')",
    "UPDATE KS.parts USING TTL 8640000 SET m['a'] = 1 WHERE id = 1",
)
OF_FIVE = ("CREATE TABLE KS.near (id int PRIMARY KEY, v vector<float, 3>, w text)", "CREATE INDEX ON KS.near (v) USING 'sai'")
ONCE = "[tables.once]\nlightweight_transactions = true\n"
KEPT = "".join(f'[tables.{name}]\nttl = "keep"\n' for name in ("keys", "expires", "expire", "parts"))
PUTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "kinds": (
        {"id": 5},
        {
            "m": {"a": 1},
            "l": [1],
            "s": {1},
            "u": {"street": "q", "number": 4},
            "fu": {"street": "q", "number": 4},
            "t": (1, "b"),
        },
    ),
    "seen": ({"id": 5}, {"v": "x", "s": {"a"}}),
    "based": ({"a": 1, "b": "y", "n": 2}, {"v": "r"}),
    "once": ({"id": 5}, {"v": "r"}),
    "keys": ({"id": 5}, {}),
    "statics": ({"id": 1, "n": 5}, {"v": "x"}),
    "expires": ({"id": 5}, {"v": "x"}),
    "parts": ({"id": 5}, {"m": {"b": 1}}),
}
NEAR: dict[str, tuple[dict[str, object], dict[str, object]]] = {"near": ({"id": 5}, {"v": [1.0, 2.0, 3.0], "w": "x"})}
