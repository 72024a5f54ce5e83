"""`sync intents`."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from sync.adapters.postgres.connection.connect import Connection
from sync.adapters.postgres.dual_write.intents import list_intents, retry, shown_key
from sync.adapters.postgres.schema.catalogue import read_target
from sync.adapters.postgres.schema.source_schema import recall
from sync.commands.context import load
from sync.commands.cutover import confirm
from sync.console import duration, print_json, print_table, say
from sync.core.visible import key_text
from sync.core.words import counted
from sync.settings import Config, Settings
from sync.wiring.backfill.command import open_ledger
from sync.wiring.dual_write.resolve import resolve
from sync.wiring.dual_write.worker import Sweeper


def run(args: argparse.Namespace) -> int:
    """List intents, the oldest first; with --retry, try the waiting ones at once; with --resolve, give some up."""
    settings, config = load("target")
    resolved = _resolve(args, settings, config) if args.resolve else []
    with open_ledger(settings, config) as (connection, _ledger):
        if args.retry:
            say(f"due again: {counted(retry(connection, args.table), 'intent')}")
        found = list_intents(connection, args.table, args.limit)
        _show_keys(connection, config, found)
    if args.retry:
        Sweeper(settings).sweep()
    if args.json:
        print_json({"resolved": resolved, "intents": found} if args.resolve else {"intents": found})
        return 0
    header = ("id", "table", "key", "kind", "state", "age", "tries", "last error")
    rows = [
        (i["id"] or "", i["table"], key_text(i["key"]), i["kind"], i["state"], duration(i["age_seconds"]), i["attempts"],
         i["error"] or "")
        for i in found
    ]  # fmt: skip
    print_table(counted(len(found), "intent"), header, rows)
    if any(i["attempts"] for i in found):
        say("`sync intents --resolve ID` gives up an intent that can never be reconciled")
    return 0


def _show_keys(connection: Connection, config: Config, found: list[dict[str, Any]]) -> None:
    sources = recall(connection)
    for name in {intent["table"] for intent in found}:
        options = config.options(name)
        target, renamed = read_target(connection, options.target or name), {t: s for s, t in options.rename.items()}
        for intent in found:
            if intent["table"] == name:
                key, own = bytes(intent["key"]), intent.pop("source_key")
                intent["key"] = shown_key(sources.get(name), target, renamed, key, None if own is None else bytes(own))


def _resolve(args: argparse.Namespace, settings: Settings, config: Config) -> list[dict[str, Any]]:
    resolved = resolve(settings, config, sorted(set(args.resolve)), args.table, partial(confirm, args), say)
    for one in resolved:
        error = f": {one['error']}" if one["error"] else ""
        say(f"intent {one['id']} of {one['table']}: {one['outcome']}{error}")
    say("this invalidates the proof: the next cut-over or rollback requires two new drift passes")
    return resolved
