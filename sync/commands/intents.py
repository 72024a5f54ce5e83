"""`sync intents`."""

from __future__ import annotations

import argparse

from sync.adapters.postgres.catalogue import read_target
from sync.adapters.postgres.intents import list_intents, retry, shown_key
from sync.commands.context import load
from sync.console import duration, print_json, print_table, say
from sync.wiring.backfill import open_ledger
from sync.wiring.reconciling import sweep


def run(args: argparse.Namespace) -> int:
    """List intents, the oldest first; with --retry, have the waiting ones tried at once."""
    settings, config = load()
    with open_ledger(settings, config) as (connection, _ledger):
        if args.retry:
            say(f"{retry(connection, args.table)} intents are due again")
        found = list_intents(connection, args.table, args.limit)
        targets = {name: read_target(connection, config.options(name).target or name) for name in {i["table"] for i in found}}
    for intent in found:
        intent["key"] = shown_key(targets[intent["table"]], bytes(intent["key"]))
    if args.retry:
        sweep(settings)
    if args.json:
        print_json({"intents": found})
        return 0
    header = ("table", "key", "kind", "state", "age", "tries", "last error")
    rows = [
        (i["table"], ", ".join(i["key"]), i["kind"], i["state"], duration(i["age_seconds"]), i["attempts"], i["error"] or "")
        for i in found
    ]
    print_table(f"{len(found)} intents", header, rows)
    return 0
