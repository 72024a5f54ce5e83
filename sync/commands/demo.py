"""`sync demo`: the real music corpus, from an embedded Cassandra to an embedded Postgres, and a search on both sides."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from sync.commands.backfill import show_result, table_json
from sync.commands.migrate import migrate, show, to_json
from sync.console import duration, out, print_json, print_table, say
from sync.demo.searches import Neighbours, compare_neighbours
from sync.errors import LocalServerError, SyncError
from sync.settings import Config, load_settings

FOLDER = Path(".local-demo")
DIMENSION = 64
TUNES = ("Haste to the Wedding", "Garryowen", "Durang's Hornpipe")


def run(args: argparse.Namespace) -> int:
    """Start clean, load, migrate, verify, search; end the servers unless they are to be kept."""
    try:
        from sync import local
        from sync.demo import corpus
    except ImportError as error:
        raise LocalServerError(f"{error.name} is not installed: pip install '.[local]' in a checkout") from None
    started = time.monotonic()
    folder = FOLDER.resolve()
    local.down(folder)
    try:
        endpoints = local.up(folder, say)
        os.environ |= endpoints.env()
        say("reading the music corpus that comes with music21 …")
        music = corpus.load(args.limit)
        code = _migrate(args, music.tables(), started)
    finally:
        if not args.keep:
            local.down(folder)
    if args.keep:
        say(f"the servers are still running: sync local --folder {FOLDER} env; sync local --folder {FOLDER} down ends them")
    return code


def _migrate(args: argparse.Namespace, tables: dict[str, Any], started: float) -> int:
    from sync.adapters.cassandra.connect import open_cassandra
    from sync.demo.load import insert_rows
    from sync.wiring.schema import apply_source

    settings = load_settings(env_file=None)
    apply_source(settings, DIMENSION)
    with open_cassandra(settings) as cassandra:
        say(f"inserting {sum(map(len, tables.values())):,} rows into Cassandra …")
        before = time.monotonic()
        count = insert_rows(cassandra.session, settings.astra_db_keyspace or "", tables)
        say(f"inserted {count:,} rows in {duration(time.monotonic() - before)}; now `sync migrate`")
    before = time.monotonic()
    options = argparse.Namespace(table=None, workers=os.cpu_count() or 1, writers=None, rate=None, sample=100)
    final, found = migrate(options, settings, Config())
    neighbours = compare_neighbours(settings, TUNES)
    if args.json:
        print_json({"ok": found.ok, "tables": [table_json(p) for p in final], "verification": to_json(found)})
    else:
        show_result(final, time.monotonic() - before)
        show(found)
        for one in neighbours:
            _show_neighbours(one)
        verdict = "Both sides are equal" if found.ok else "The sides are NOT equal"
        out.print(f"\n{verdict}. {duration(time.monotonic() - started)} in all.", markup=False)
    if any(p.failed for p in final):
        raise SyncError("some ranges failed")
    return 0 if found.ok else 2


def _show_neighbours(found: Neighbours) -> None:
    rows = [
        (i + 1, f"{a.similarity:.3f}", a.label, f"{b.similarity:.3f}", b.label)
        for i, (a, b) in enumerate(zip(found.source, found.target, strict=False))
    ]
    header = ("", "cosine", "Cassandra says", "cosine", "Postgres says")
    print_table(f"\nTunes most like “{found.title}” ({found.album})", header, rows)
