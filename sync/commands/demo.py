"""`sync demo`: the real music corpus, from an embedded Cassandra to an embedded Postgres, while an application writes."""

from __future__ import annotations

import argparse
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sync.commands import demo_collections
from sync.commands.migrate import show
from sync.console import duration, out, print_json, print_table, say
from sync.core.words import counted
from sync.demo.searches import Neighbours, compare_neighbours
from sync.demo.story import WHILE_SECONDS, Story
from sync.errors import LocalServerError
from sync.settings import Config, Settings, load_settings
from sync.stores.one_side.cql import CqlStore
from sync.stores.one_side.postgres import PostgresStore
from sync.wiring.backfill.command import make_plan
from sync.wiring.drift.verify import Verification, verify

FOLDER = Path(".local-demo")
DIMENSION = 64
TUNES = ("Haste to the Wedding", "Garryowen", "Durang's Hornpipe")
_DUAL = {"SYNC_DUAL_WRITE": "true"}
_PLAIN = {"SYNC_DUAL_WRITE": "false", "STORAGE_BACKEND": "postgres", "SYNC_ALLOW_ONE_SIDED": "true"}


def run(args: argparse.Namespace) -> int:
    """Start clean, load, migrate there and back and there, finish; end the servers unless they are to be kept."""
    if args.source == "collections":
        return demo_collections.run(args)
    try:
        from sync import local
        from sync.demo import corpus
    except ImportError as error:
        raise LocalServerError(f"{error.name} is not installed: pip install '.[local]' in a checkout") from None
    started = time.monotonic()
    folder = FOLDER.resolve()
    local.down(folder)
    try:
        if args.writers == "others":
            _start_with_cdc(folder)
        endpoints = local.up(folder, say)
        os.environ |= endpoints.env()
        say("reading the music corpus that comes with music21 …")
        music = corpus.load(args.limit)
        code = _tell(args, music.tables(), folder, started)
    finally:
        if not args.keep:
            local.down(folder)
    if args.keep:
        say(f"the servers are still running: sync local --folder {FOLDER} env; sync local --folder {FOLDER} down ends them")
    return code


def _start_with_cdc(folder: Path) -> None:
    from sync import local

    local.claim(folder)
    options = local.CassandraOptions(yaml={"cdc_enabled": True})
    local.CassandraServer(folder / "cassandra", options=options, report=say).start()


def _tell(args: argparse.Namespace, tables: dict[str, Any], folder: Path, started: float) -> int:
    settings = load_settings(env_file=None)
    _load(settings, tables, cdc=args.writers == "others")
    story = Story(folder, say)
    story.sync("schema", "apply", "--example")
    with story.worker():
        if args.writers == "others":
            _others_there_and_back(story, folder / "cassandra" / "data" / "cdc")
        else:
            with story.application(**_DUAL):
                _there_and_back(story)
        story.drain()
        plan = make_plan(settings, Config(), None)
        found = verify(settings, Config(), plan.tables, plan.ranges, 100, lambda *_: None)
        neighbours = compare_neighbours(settings, TUNES)
        wrong = story.check(settings, (CqlStore, PostgresStore))
        with _on_postgres_alone(story, args.writers):
            story.sync("finish")
            time.sleep(1)
        wrong += story.check(settings, (PostgresStore,))
    result = {**_result(story, wrong), "seconds": round(time.monotonic() - started, 1)}
    _show(args, found, neighbours, result)
    return 0 if result["ok"] and found.ok else 2


def _there_and_back(story: Story) -> None:
    copied = story.sync("backfill", "--writers", "1")
    rows = sum(table["rows_written"] for table in copied["tables"])
    say(f"  {counted(rows, 'row')} copied while the application wrote")
    for command in ("cutover", "rollback", "cutover"):
        story.prove()
        story.switch(command)


def _others_there_and_back(story: Story, raw: Path) -> None:
    """Nobody uses the store: by CQL before a cut-over, by SQL after it."""
    with story.follower(raw):
        with story.others("cassandra"):
            copied = story.sync("backfill")
            rows = sum(table["rows_written"] + table["rows_stale"] for table in copied["tables"])
            say(f"  {counted(rows, 'row')} read while it wrote; what its follower tells of is copied, too")
            time.sleep(WHILE_SECONDS)
        story.catch_up()
        story.prove()
        story.switch("cutover", "--no-writers")
        with story.others("postgres"):
            time.sleep(WHILE_SECONDS)
            story.prove()
            story.switch("rollback", "--no-writers")
        with story.others("cassandra"):
            time.sleep(WHILE_SECONDS)
        story.catch_up()
        story.prove()
        story.switch("cutover", "--no-writers")


def _on_postgres_alone(story: Story, writers: str) -> AbstractContextManager[None]:
    if writers == "others":
        return story.others("postgres")
    say(f"the application was restarted with {' '.join(f'{n}={v}' for n, v in _PLAIN.items())}")
    return story.application(**_PLAIN)


def _load(settings: Settings, tables: dict[str, Any], cdc: bool) -> None:
    from sync.adapters.cassandra.connection.connect import open_cassandra
    from sync.demo.load import insert_rows
    from sync.wiring.schema import apply_source

    apply_source(settings, DIMENSION)
    with open_cassandra(settings) as cassandra:
        say(f"inserting {sum(map(len, tables.values())):,} rows into Cassandra …")
        before = time.monotonic()
        count = insert_rows(cassandra.session, settings.astra_db_keyspace or "", tables)
        say(f"inserted {count:,} rows in {duration(time.monotonic() - before)}")
        for table in tables if cdc else ():
            cassandra.session.execute(f"ALTER TABLE {settings.astra_db_keyspace}.{table} WITH cdc = true")


def _result(story: Story, wrong: int) -> dict[str, Any]:
    refused, unsure = story.told["refused"], story.told["unsure"]
    return {
        "ok": not wrong and not refused and not unsure,
        "acknowledged": story.told["acknowledged"],
        "refused": refused,
        "unsure": unsure,
        "songs": len(story.songs),
        "wrong": wrong,
        "longest_ms": round(story.longest_ms, 1),
        "switches": [{n: s[n] for n in ("primary", "epoch", "closed_ms", "waits")} for s in story.switches],
    }


def _show(args: argparse.Namespace, found: Verification, neighbours: list[Neighbours], result: dict[str, Any]) -> None:
    if args.json:
        print_json(result)
        return
    show(found)
    for one in neighbours:
        _show_neighbours(one)
    told = "{acknowledged:,} writes to {songs:,} songs meanwhile: {refused} refused, {unsure} unsure, {wrong} lost or wrong"
    slowest = f"on either side; the slowest took {result['longest_ms']:.0f} ms."
    who = "The service" if args.writers == "others" else "The application"
    out.print(f"\n{who} made {told.format(**result)} {slowest}", markup=False)
    out.print(f"The migration is finished: Postgres alone. {duration(result['seconds'])} in all.", markup=False)


def _show_neighbours(found: Neighbours) -> None:
    rows = [
        (i + 1, f"{a.similarity:.3f}", a.label, f"{b.similarity:.3f}", b.label)
        for i, (a, b) in enumerate(zip(found.source, found.target, strict=False))
    ]
    header = ("", "cosine", "Cassandra says", "cosine", "Postgres says")
    print_table(f"\nTunes most like “{found.title}” ({found.album})", header, rows)
