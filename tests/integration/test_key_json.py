"""How commands show keys and quoted errors: in one form for programs, with nothing that a terminal would interpret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from support.commands import Done
from support.places import NewPlace, Place

from sync.core.cql import parse_type
from sync.core.keys.json_form import key_cells
from sync.core.rows import SourceColumn

pytest_plugins = ("support.fixtures",)

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\n\r"
PLAIN = "schema_files = []\n[drift]\ngrace_seconds = 0.02\ntries = 3\n"
ESCAPED = "\\x1b]0;owned\\x07"


def is_shown(done: Done) -> bool:
    """Whether the output has nothing that a terminal would interpret."""
    return all(line.isprintable() for text in (done.out, done.err) for line in text.split("\n"))


def leave_intent(place: Place) -> None:
    """Insert an intent as a worker leaves it when the server's error quoted the key."""
    place.sql(
        "INSERT INTO sync.intent (table_name, key, token, kind, state, version, epoch, owner, attempts, error) "
        "SELECT 'songs', int4send(octet_length(album)) || convert_to(album, 'UTF8') || int4send(4) || int4send(n), "
        "_sync_token, 'recheck', 'finished', 1, 1, 'test', 3, 'said ' || album FROM songs"
    )


@pytest.fixture
def fresh(new_place: NewPlace) -> Iterator[Place]:
    """A place of the test's own."""
    with new_place() as made:
        made.configure(PLAIN)
        yield made


@pytest.fixture
def hostile(fresh: Place) -> Place:
    """A copied table with a hostile key, and with a text that Postgres cannot hold."""
    place = fresh
    place.cql("CREATE TABLE KS.songs (album text, n int, title text, PRIMARY KEY (album, n))")
    place.cassandra.session.execute(
        f'INSERT INTO "{place.keyspace}".songs (album, n, title) VALUES (%s, 7, %s)', (HOSTILE, "a")
    )
    place.cassandra.session.execute(
        f'INSERT INTO "{place.keyspace}".songs (album, n, title) VALUES (%s, 8, %s)', (HOSTILE, "\0")
    )
    assert place.commands.run("schema", "apply").code == 0
    assert place.commands.run("backfill", "--workers", "1", timeout=120).code == 0
    return place


@pytest.mark.slow
def test_no_command_lets_a_key_speak_to_the_terminal(hostile: Place) -> None:
    """Would break: anybody who can name an album can clear the operator's screen, rename the window or hide output."""
    key = {"album": HOSTILE, "n": 7}
    hostile.sql("UPDATE songs SET title = 'other'")
    commands = hostile.commands
    found: dict[str, Any] = {}
    for argv in (("drift-report", "--workers", "1", "--show-values"), ("rejects",), ("intents",), ("status",), ("writers",)):
        if argv == ("intents",):
            leave_intent(hostile)
        shown = commands.run(*argv, timeout=120)
        assert is_shown(shown), argv
        listed = commands.run(*argv, "--json", timeout=120)
        assert is_shown(listed), argv
        found[argv[0]] = listed.json
        if argv[0] in ("rejects", "intents", "drift-report"):
            assert ESCAPED in shown.out.replace("\\u001b", "\\x1b").replace("\\u0007", "\\x07"), shown.out
    migrated = commands.run("migrate", "--workers", "1", timeout=180)
    assert is_shown(migrated) and "title" not in migrated.err
    assert [r["key"] for r in found["rejects"]["rejects"]] == [{**key, "n": 8}]
    assert [i["key"] for i in found["intents"]["intents"]] == [key]
    (table,) = found["drift-report"]["tables"]
    assert [list(f["key"].items()) for f in table["findings"]] == [list(key.items())], "in the order of the key's columns"
    csv = commands.run("drift-report", "--workers", "1", "--format", "csv", timeout=120)
    assert is_shown(csv)


def test_an_error_of_the_server_does_not_speak_either(hostile: Place) -> None:
    """Would break: the same, through text that Postgres quotes in an error."""
    hostile.sql(f"UPDATE sync.run SET error = 'quoted {HOSTILE.replace(chr(10), ' ')}'")
    assert is_shown(hostile.commands.run("status"))
    assert is_shown(hostile.commands.run("status", "--json"))


@pytest.mark.slow
def test_one_form_in_every_command_that_can_be_read_back(fresh: Place) -> None:
    """Would break: a program that looks up a reported key finds nothing, because it is escaped twice or of another type."""
    place = fresh
    place.cql(
        "CREATE TABLE KS.odd (t text, i int, b bigint, v varint, d decimal, u uuid, x blob, f float, o boolean, "
        "PRIMARY KEY (t, i, b, v, d, u, x, f, o))"
    )
    key = {
        "t": 'back\\slash "quoted"\ttab', "i": -1, "b": 2**62, "v": 10**25, "d": "1.5", "u": str(UUID(int=7)),
        "x": "0xca5c", "f": 1.1, "o": True,
    }  # fmt: skip
    insert = f'INSERT INTO "{place.keyspace}".odd ({", ".join(key)}) VALUES ({", ".join(["%s"] * len(key))})'
    values = {**key, "d": Decimal("1.5"), "u": UUID(int=7), "x": b"\xca\x5c"}
    assert place.commands.run("schema", "apply").code == 0
    assert place.commands.run("backfill", "--workers", "1", timeout=120).code == 0
    place.cassandra.session.execute(insert, tuple(values.values()))
    types = {"t": "text", "i": "int", "b": "bigint", "v": "varint", "d": "decimal", "u": "uuid", "x": "blob", "f": "float", "o": "boolean"}  # fmt: skip
    columns = [SourceColumn(name, parse_type(cql), "clustering") for name, cql in types.items()]
    missing = place.commands.run("drift-report", "--workers", "1", "--json", timeout=120).json
    ((found,),) = ([f["key"] for f in t["findings"]] for t in missing["tables"])
    assert list(found.items()) == list(key.items())
    assert place.commands.run("drift-report", "--workers", "1", "--repair", timeout=120).code in (0, 2)
    place.cql("TRUNCATE KS.odd")
    extra = place.commands.run("drift-report", "--workers", "1", "--json", timeout=120).json
    ((again,),) = ([f["key"] for f in t["findings"]] for t in extra["tables"])
    assert again == found
    where = " AND ".join(f"{name} = %s" for name in key)
    place.cassandra.session.execute(insert, tuple(values.values()))
    cells = key_cells(columns, json.loads(json.dumps(found)))
    decoded = dict(zip(key, cells, strict=True))
    assert (decoded["i"], decoded["x"]) == (b"\xff\xff\xff\xff", b"\xca\x5c")
    ((count,),) = place.cassandra.session.execute(
        f'SELECT count(*) FROM "{place.keyspace}".odd WHERE {where}', tuple(values.values())
    )
    assert count == 1


def test_an_empty_int_is_no_zero(fresh: Place) -> None:
    """Would break: `sync rejects` names another row, one that was copied."""
    place = fresh
    place.cql("CREATE TABLE KS.few (p text, n int, v text, PRIMARY KEY (p, n))")
    prepared = place.cassandra.session.prepare(f'INSERT INTO "{place.keyspace}".few (p, n, v) VALUES (?, blobAsInt(?), ?)')
    for cell in (b"", b"\0\0\0\0"):
        place.cassandra.session.execute(prepared, ("p", cell, "v"))
    assert place.commands.run("schema", "apply").code == 0
    assert place.commands.run("backfill", "--workers", "1", timeout=120).code == 0
    assert place.sql("SELECT n FROM few") == [(0,)]
    (listed,) = place.commands.run("rejects", "--json").json["rejects"]
    assert listed["key"] == {"p": "p", "n": ""}
    assert 'p=p, n=""' in place.commands.run("rejects").out
