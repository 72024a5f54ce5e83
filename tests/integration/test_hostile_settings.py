"""No setting of a role, of a database or of the client's environment changes a verdict, an exit code or a figure.

The same story runs twice over the same source: into a database with the defaults, and into one that has every setting
that changes how values are written, found or waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

import pytest
from psycopg import sql
from support.commands import Done
from support.places import NewPlace, Place

from sync.adapters.postgres.connection.connect import connect
from sync.settings import load_config
from sync.stores import DualWriteStore

pytest_plugins = ("support.fixtures",)
pytestmark = pytest.mark.slow
TOML = """
schema_files = []
[dual_write]
heartbeat_seconds = 0.3
[drift]
grace_seconds = 0.05
"""
SOURCE = (
    "CREATE TABLE KS.events (dev text, at timestamp, day date, clock time, id uuid, n double, f float, b blob, t text, d decimal, "
    "m map<text, text>, l list<int>, du duration, addr inet, v vector<float, 3>, PRIMARY KEY ((dev, day), at, clock))",
    "CREATE CUSTOM INDEX ON KS.events (v) USING 'StorageAttachedIndex' WITH OPTIONS = {'similarity_function': 'cosine'}",
    *(
        "INSERT INTO KS.events (dev, at, day, clock, id, n, f, b, t, d, m, l, du, addr, v) VALUES "
        f"('ü\\{i % 3}', '2024-0{1 + i % 9}-10 02:30:00.123+0000', '1999-12-31', '01:02:03.000{i % 10}', {UUID(int=i)}, {i}.1, {i}.3, "
        f"0x00ff{i:02x}, 'é''\\n\\{i}', {i}.50, {{'k\\': 'ß', 'NULL': '{i}'}}, [{i}, 2], 1mo2d3h, '10.0.0.{i}', [1, {i}.5, 0.25])"
        for i in range(24)
    ),
)
KEY = {"dev": "new", "day": date(2024, 2, 29), "at": datetime(2024, 3, 10, 2, 30, tzinfo=UTC), "clock": time(2, 30)}
HOSTILE = {
    "TimeZone": "America/New_York", "DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard", "extra_float_digits": "-15",
    "bytea_output": "escape", "standard_conforming_strings": "off", "escape_string_warning": "on", "backslash_quote": "on",
    "client_encoding": "LATIN1", "array_nulls": "off", "transform_null_equals": "on", "quote_all_identifiers": "on",
    "xmloption": "document", "gin_fuzzy_search_limit": "1", "client_min_messages": "debug1",
    "default_transaction_isolation": "serializable", "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on", "statement_timeout": "100", "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "50", "idle_session_timeout": "500", "transaction_timeout": "200",
    "enable_indexscan": "off", "enable_seqscan": "off", "enable_bitmapscan": "off", "enable_sort": "off",
    "enable_hashagg": "off", "plan_cache_mode": "force_generic_plan", "jit": "off", "row_security": "off",
    "synchronous_commit": "off", "session_replication_role": "replica", "default_table_access_method": "heap",
    "hnsw.ef_search": "1", "lc_messages": "C", "lc_monetary": "C", "lc_numeric": "C", "lc_time": "C",
    "search_path": 'hostile, "$user", public, pg_catalog',
}  # fmt: skip
SHADOWS = (
    "CREATE SCHEMA hostile",
    "CREATE FUNCTION hostile.md5(text) RETURNS text LANGUAGE sql AS $$ SELECT repeat('0', 32) $$",
    "CREATE FUNCTION hostile.md5(bytea) RETURNS text LANGUAGE sql AS $$ SELECT repeat('0', 32) $$",
    "CREATE FUNCTION hostile.textsend(text) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$",
)
ENVIRONMENT = {
    "TZ": "Asia/Kathmandu", "PGTZ": "Asia/Kathmandu", "PGDATESTYLE": "German", "PGCLIENTENCODING": "SQL_ASCII",
    "PGOPTIONS": "-c statement_timeout=45 -c IntervalStyle=iso_8601", "LANG": "de_DE.ISO-8859-1", "LC_ALL": "C",
    "PYTHONHASHSEED": "7", "PYTHONIOENCODING": "ascii",
}  # fmt: skip
_OWN = {"seconds", "checking_seconds", "started_at", "finished_at", "since", "at", "closed_ms", "waits", "latency", "pass", "run",
        "source_version", "target_version", "registered_at", "heartbeat_at", "heartbeat_age_seconds", "id", "pid",
        "oldest_age_seconds", "rows_per_second", "figure", "last_drift", "writers", "eta_seconds", "settled_max",
        "servers", "workers", "about"}  # fmt: skip
"""What differs from run to run."""


def _plain(found: Any) -> Any:
    if isinstance(found, dict):
        return {k: _plain(v) for k, v in found.items() if k not in _OWN}
    if isinstance(found, str):
        return found.replace("hostile.events", "public.events")  # where search_path makes it
    return [_plain(v) for v in found] if isinstance(found, list) else found


class Story:
    """What each command of a migration said, with its exit code."""

    def __init__(self, place: Place, own_python: bool) -> None:
        self.place, self.told, self._own_python = place, list[tuple[str, int, Any]](), own_python

    def run(self, *command: str) -> None:
        """Run a command; one that shows values or judges gets a Python of its own, which the whole environment reaches."""
        judges = self._own_python and ("--sample" in command or "--show-values" in command or "--yes" in command)
        run = self.place.commands.fresh if judges else self.place.commands.run
        done: Done = run(*command, timeout=120)
        self.told.append((" ".join(command), done.code, _plain(done.json) if done.out else done.err))

    def tell(self) -> None:
        """From the empty database to the rollback."""
        self.run("migrate", "--workers", "1", "--sample", "40", "--json")
        with closing(connect(self.place.settings, autocommit=True)) as connection:
            events = [h for (h,) in connection.execute("SELECT oid::regclass::text FROM pg_class WHERE relname = 'events'")]
            connection.execute(
                f"UPDATE {events[0]} SET n = 0.1 + 0.2, b = 'x', du = '1 day' WHERE id = '{UUID(int=5)}'".encode()
            )
        self.run("drift-report", "--workers", "1", "--json", "--show-values", "--sample-search", "5")
        self.run("drift-report", "--workers", "1", "--json", "--repair")
        config = load_config(self.place.commands.folder / "sync.toml")
        with closing(DualWriteStore(self.place.settings, config)) as store:
            self._write(store)
            for command in ("cutover", "rollback"):
                for _ in range(2):
                    self.run("drift-report", "--workers", "1", "--json")
                self.run(command, "--yes", "--json")
                self._write(store)
        self.run("preflight", "--json")
        self.run("status", "--json")
        self.run("rejects", "--json")

    def _write(self, store: DualWriteStore) -> None:
        row = {"n": 0.1, "t": "ü\\", "b": b"\\\x00", "m": {"a\\": "'"}, "v": [1.0, 0.5, 0.25], "l": [1, 2]}
        store.put("events", {**KEY, **row})
        store.update("events", KEY, {"n": 1 / 3})
        found = store.search("events", "v", [1.0, 0.5, 0.25], limit=3)
        self.told.append(("store", store.count("events"), [store.get("events", KEY), found[0][0]["dev"], len(found)]))


@pytest.fixture(scope="module")
def stories(new_place: NewPlace) -> Iterator[tuple[list[Any], list[Any]]]:
    """What was told without these settings, and with them."""
    told = []
    with new_place() as place:
        place.cql(*SOURCE)
        place.configure(TOML)
        story = Story(place, False)
        story.tell()
        told.append(story.told)
    with new_place() as place:
        place.cql(*SOURCE)
        place.configure(TOML)
        place.sql(*SHADOWS)
        with connect(place.settings.model_copy(update={"postgres_database": "postgres"}), autocommit=True) as admin:
            name = sql.Identifier(place.keyspace)
            for setting, value in HOSTILE.items():
                path = sql.SQL(value) if setting == "search_path" else sql.Literal(value)
                key = sql.SQL(".").join(map(sql.Identifier, setting.split(".")))
                admin.execute(sql.SQL("ALTER DATABASE {} SET {} = {}").format(name, key, path))
        story = Story(Place(place.cassandra, place.settings, place.commands.but(**ENVIRONMENT)), True)
        story.tell()
        told.append(story.told)
    yield told[0], told[1]


def test_the_exit_codes_are_those_of_a_migration(stories: tuple[list[Any], list[Any]]) -> None:
    """Would break: a story that fails in both databases alike, and so proves nothing."""
    usual, _ = stories
    codes = {}
    for command, code, said in usual:
        codes.setdefault(command.split(" --")[0], []).append(code)
        assert code in (0, 2) or command == "store", said
    assert codes["migrate"] == codes["cutover"] == codes["rollback"] == [0]
    assert codes["drift-report"] == [2, 2, 0, 0, 0, 0], usual


def test_no_setting_changes_what_a_command_says(stories: tuple[list[Any], list[Any]]) -> None:
    """Would break: a session that reads, writes or waits as its role, its database or its environment says."""
    usual, hostile = stories
    for expected, found in zip(usual, hostile, strict=True):
        assert found == expected, f"{expected[0]}: {found}"
