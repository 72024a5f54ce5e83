"""Static columns of every kind beside partition keys of every kind: through the copy, both sides' writes, rechecks, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from support.capture import announce, changed, changed_partition
from support.dual import Table
from support.places import NewPlace, Place

from sync.settings import load_config
from sync.stores import CqlStore, DualWriteStore, PostgresStore

pytest_plugins = ("support.fixtures",)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Row = dict[str, Any]
TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.2
[drift]
grace_seconds = 0.05
"""
PLACE = "CREATE TYPE KS.place (street text, number int)"
STATIC = "sv vector<float, 3> STATIC, sm map<text, int> STATIC, su place STATIC, sf frozen<place> STATIC"


@dataclass(frozen=True)
class Kind:
    """A table's partition key and the column behind it, as CQL; the n-th value of each."""

    partition: str
    behind: str
    key: Callable[[int], Row]
    clustering: Callable[[int], Any] = lambda n: n


def place(n: int) -> Row:
    return {"street": f"s{n}" if n % 3 else None, "number": n}


KINDS = {
    "udt": Kind("k frozen<place>", "c int", lambda n: {"k": place(n)}),
    "set": Kind("k frozen<set<int>>", "c int", lambda n: {"k": set(range(n))}),
    "list": Kind("k frozen<list<text>>", "c int", lambda n: {"k": ["x"] * n}),
    "map": Kind("k frozen<map<text, int>>", "c int", lambda n: {"k": {"a": n, "b": -n}}),
    "tuple": Kind("k frozen<tuple<int, text>>", "c int", lambda n: {"k": (n, "x" if n % 2 else None)}),
    "vector": Kind("k vector<float, 2>", "c int", lambda n: {"k": [1.0, float(n)]}),
    "composite": Kind(
        "a int, b text, d date",
        "c vector<float, 2>",
        lambda n: {"a": n, "b": "", "d": date(2000 + n, 1, 1)},
        lambda n: [n, -n],
    ),
    "nested": Kind("k frozen<map<int, frozen<set<text>>>>", "c frozen<place>", lambda n: {"k": {n: {"x"}}}, place),
}


def create(name: str, kind: Kind) -> str:
    keys = ", ".join(kind.key(0))
    return f"CREATE TABLE KS.t_{name} ({kind.partition}, {kind.behind}, {STATIC}, v int, PRIMARY KEY (({keys}), c))"


def static(n: int, **changes: Any) -> Row:
    """Static columns."""
    return {"sv": [1.0, 2.0, float(n)], "sm": {"n": n}, "su": place(n), "sf": place(n + 1), **changes}


@pytest.fixture(scope="module")
def home(new_place: NewPlace) -> Iterator[Place]:
    """A table of each kind: partitions 0 to 5 with static columns and two rows each, 6 with static columns, 7 with rows."""
    with new_place() as made:
        made.cql(PLACE, *(create(name, kind) for name, kind in KINDS.items()))
        made.configure(TOML)
        with CqlStore(made.settings) as store:
            for name, kind in KINDS.items():
                for n in (0, 1, 2, 3, 4, 5, 6):
                    store.put(f"t_{name}.static", {**kind.key(n), **static(n)})
                for n in (0, 1, 2, 3, 4, 5, 7):
                    store.put_many(f"t_{name}", [{**kind.key(n), "c": kind.clustering(c), "v": n} for c in (1, 2)])
        yield made


def run(place: Place, *argv: str, code: int = 0) -> Any:
    done = place.commands.run(*argv)
    assert done.code == code, done
    return done


def held(place: Place) -> dict[str, list[Row]]:
    """What both sides hold, by table; they are equal. Keys are asked for: Postgres orders no vectors as Cassandra does."""
    found = {}
    with CqlStore(place.settings) as source, PostgresStore(place.settings) as target:
        for name, kind in KINDS.items():
            partitions = [kind.key(n) for n in range(12)]
            rows = [{**key, "c": kind.clustering(c)} for key in partitions for c in (1, 2)]
            for table, keys in ((f"t_{name}.static", partitions), (f"t_{name}", rows)):
                one, other = source.get_many(table, keys), target.get_many(table, keys)
                assert plain(other) == plain(one), table
                found[table] = [row for row in one if row]
                assert source.count(table) == target.count(table) == len(found[table]), table
    return found


def plain(value: Any) -> Any:
    """The same for equal values of both sides: what is JSON in Postgres a store of one side reads as JSON."""
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def by_another(place: Place, kind: Kind, name: str) -> None:
    """Rows of partition 3 go and its static columns change; partition 4 goes as a whole."""
    with CqlStore(place.settings) as store:
        store.delete_many(f"t_{name}", kind.key(3))
        store.put(f"t_{name}.static", {**kind.key(3), **static(33, su=None)})
        store.delete_many(f"t_{name}", kind.key(4))
        store.delete(f"t_{name}.static", kind.key(4))


def rechecked(place: Place, kind: Kind, name: str) -> None:
    """Followers tell of both partitions by their keys alone, and workers look at them."""
    config = load_config(place.commands.folder / "sync.toml")
    for table_name in (f"t_{name}", f"t_{name}.static"):
        with closing(Table(place.cassandra, place.settings, config, table_name)) as table:
            for n in (3, 4):
                whole = table_name.endswith(".static")
                announce(
                    table, changed(table, table.key(**kind.key(n))) if whole else changed_partition(table, **kind.key(n))
                )
            table.drained()


def test_there_and_back(home: Place) -> None:
    """Would break: a key's bytes and its value in Postgres name two partitions, and static columns go astray."""
    for command in (("schema", "apply"), ("preflight",), ("backfill", "--workers", "1")):
        run(home, *command)
    assert home.sql("SELECT DISTINCT table_name, column_name, reason FROM sync.reject") == []
    home.prove()
    copied = held(home)
    assert {len(rows) for name, rows in copied.items() if name.endswith(".static")} == {7}
    with DualWriteStore(home.settings, load_config(home.commands.folder / "sync.toml")) as store:
        for name, kind in KINDS.items():
            store.put(f"t_{name}.static", {**kind.key(8), **static(8, sv=None)})
            store.update(f"t_{name}.static", kind.key(0), {"sm": {"other": 1}, "su": {"street": "x", "number": None}})
            store.delete(f"t_{name}.static", kind.key(1))
            store.put(f"t_{name}", {**kind.key(6), "c": kind.clustering(1), "v": 6})
            assert store.delete_many(f"t_{name}", kind.key(2))
            assert (store.get(f"t_{name}.static", kind.key(8)) or {})["sf"] == place(9), name
    written = held(home)
    for name, kind in KINDS.items():
        by_another(home, kind, name)
        rechecked(home, kind, name)
    after = held(home)
    for name in KINDS:
        assert len(written[f"t_{name}"]) - len(after[f"t_{name}"]) == 4, name
        assert len(written[f"t_{name}.static"]) - len(after[f"t_{name}.static"]) == 1, name
    home.sql("DELETE FROM sync.feed")  # to forget it is a gap, after which no pass proves anything for a minute
    check_drift(home)
    check_switches(home)


def check_drift(home: Place) -> None:
    """Differences in the static columns of each kind are found and repaired."""
    with CqlStore(home.settings) as source:
        for name, kind in KINDS.items():
            source.put(f"t_{name}.static", {**kind.key(5), **static(55)})
    found = run(home, "drift-report", "--workers", "1", "--repair", "--format", "json", code=2).json["tables"]
    kinds = {table["table"]: [finding["kind"] for finding in table["findings"]] for table in found}
    assert kinds == {f"t_{name}{suffix}": ["different"] * bool(suffix) for name in KINDS for suffix in ("", ".static")}
    held(home)


def check_switches(home: Place) -> None:
    """Written with Postgres as primary, and after the way back."""
    with DualWriteStore(home.settings, load_config(home.commands.folder / "sync.toml")) as store:
        for command, n in (("cutover", 10), ("rollback", 11)):
            home.prove()
            run(home, command, "--yes")
            for name, kind in KINDS.items():
                store.put(f"t_{name}.static", {**kind.key(n), **static(n)})
                store.update(f"t_{name}.static", kind.key(0), {"sv": [9.0, 9.0, n]})
                store.put(f"t_{name}", {**kind.key(n), "c": kind.clustering(1), "v": n})
                store.delete(f"t_{name}.static", kind.key(n - 5))
                assert store.delete_many(f"t_{name}", kind.key(n - 10))
        home.prove()
    ended = held(home)
    for name in KINDS:
        rows = ended[f"t_{name}.static"]
        assert len(rows) == 6 and {row["sv"][2] for row in rows if row["sv"]} >= {10.0, 11.0}, name
