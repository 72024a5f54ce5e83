"""`sync demo --source collections`: the corpus as documents of a Data API that is there, into an embedded Postgres."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sync.console import duration, out, print_json, print_table, say
from sync.errors import LocalServerError, SettingsError
from sync.settings import Settings, load_settings

if TYPE_CHECKING:
    from sync.demo.corpus import Corpus

FOLDER, DIMENSION, PIECES, TOP = Path(".local-demo"), 64, 500, 5


def run(args: argparse.Namespace) -> int:
    """Make four collections, migrate them while one is written to, compare; take them and the servers away again."""
    settings = load_settings()
    _check(settings)
    try:
        from sync import local
        from sync.demo import corpus
    except ImportError as error:
        raise LocalServerError(f"{error.name} is not installed: pip install '.[local]' in a checkout") from None
    folder = FOLDER.resolve()
    local.down(folder)
    local.claim(folder)
    postgres = local.PostgresServer(folder / "postgres", report=say)
    valkey = local.ValkeyServer(folder / "valkey", report=say)
    try:
        _start(postgres, valkey, folder)
        say("reading the music corpus that comes with music21 …")
        return _tell(args, corpus.load(args.limit or PIECES))
    finally:
        local.down(folder)


def _check(settings: Settings) -> None:
    """Raise SettingsError naming what is missing."""
    if settings.astra_db_api_endpoint is None:
        raise SettingsError(
            "sync demo --source collections needs a Data API, and ASTRA_DB_API_ENDPOINT is not set; "
            "see docs/data-api.md for the settings, and how to start a self-hosted one"
        )
    settings.require("astra_db_keyspace")
    if not settings.has_cql:
        raise SettingsError(
            "sync demo --source collections reads the collections over CQL: set ASTRA_DB_SECURE_BUNDLE_PATH, or "
            "CASSANDRA_CONTACT_POINTS, of the same database"
        )


def _start(postgres: Any, valkey: Any, folder: Path) -> None:
    from sync.demo.documents import MAPPING

    for server in (postgres, valkey):
        server.start()
    postgres.create_database("music")
    (folder / "sync.toml").write_text(MAPPING, encoding="utf-8")
    url = f"postgresql://{postgres.user}:{postgres.password}@127.0.0.1:{postgres.port}/music?sslmode=disable"
    os.environ |= {
        "DATABASE_URL": url,
        "DATABASE_URL_UNPOOLED": url,
        "REDIS_URL": valkey.url,
        "SYNC_CONFIG": str(folder / "sync.toml"),
        "SYNC_DUAL_WRITE": "true",
        "STORAGE_BACKEND": "astra",
    }


def _tell(args: argparse.Namespace, music: Corpus) -> int:
    from sync.adapters.astra.api import open_api
    from sync.demo.documents import create_collections, drop_collections, insert_documents

    settings, begun = load_settings(), time.monotonic()
    api = open_api(settings, 30)
    create_collections(api, settings, DIMENSION)
    try:
        done = insert_documents(api, music.tables())
        say(f"inserted {done:,} documents into four collections in {duration(time.monotonic() - begun)}")
        result = {**_migrate(music), "documents": done}
    finally:
        drop_collections(api)
    _show(args, result, time.monotonic() - begun)
    return 0 if result["ok"] else 2


def _migrate(music: Corpus) -> dict[str, Any]:
    """Both sides from the first write on: schema, a write, the history, the proof, a search on both."""
    from sync.demo.story import Story
    from sync.stores import open_store

    story = Story(FOLDER, say)
    story.sync("schema", "apply", "--example")
    with open_store() as store:
        before = _write(store, music.songs[0]["id"])
        copied = story.sync("backfill", "--writers", "1")
        after = _write(store, music.songs[-1]["id"])
        report = story.sync("drift-report")
    found = {
        "ok": report["clean"] and before and after,
        "rows": sum(table["rows_written"] for table in copied["tables"]),
        "compared": sum(table["rows"]["same"] for table in report["tables"]),
    }
    return {**found, "found": _search(music)}


def _write(store: Any, song: UUID) -> bool:
    """An application's write through the Data API: whether Postgres has it."""
    from sync.stores import PostgresStore

    title = "A tune under another name"
    store.update("songs", {"_id": song}, {"title": title})
    with PostgresStore(load_settings()) as postgres:
        return (postgres.get("songs", {"id": song}) or {}).get("title") == title


def _search(music: Corpus) -> list[dict[str, Any]]:
    """The nearest to the first tune that has a melody, by the Data API and by Postgres."""
    from sync.stores import AstraStore, PostgresStore

    settings, asked = load_settings(), music.embeddings[0]["embedding"]
    with AstraStore(settings) as astra, PostgresStore(settings) as postgres:
        here = astra.search("embeddings", "$vector", asked, TOP)
        there = postgres.search("embeddings", "embedding", asked, TOP)
        titles = [(postgres.get("songs", {"id": row["song_id"]}) or {}).get("title") for row, _ in there]
    pairs = zip(here, there, titles, strict=False)
    return [{"data_api": round(a, 6), "postgres": round(b, 6), "title": title} for (_, a), (_, b), title in pairs]


def _show(args: argparse.Namespace, result: dict[str, Any], seconds: float) -> None:
    if args.json:
        print_json({**result, "seconds": round(seconds, 1)})
        return
    rows = [
        (i + 1, f"{f['data_api']:.4f}", f"{f['postgres']:.4f}", f["title"] or "(no title)")
        for i, f in enumerate(result["found"])
    ]
    print_table("\nThe nearest tunes, by similarity", ("", "Data API", "Postgres", "tune"), rows)
    verdict = "Both sides are equal." if result["ok"] else "The sides are NOT equal."
    counted = f"{result['documents']:,} documents, {result['rows']:,} rows copied, {result['compared']:,} proved equal"
    out.print(f"\n{counted}. {verdict} {duration(seconds)} in all.", markup=False)
