"""`sync rejects`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from sync.adapters.postgres.backfill.rejects import list_rejects
from sync.commands.context import load
from sync.console import print_json, print_table
from sync.core.plurals import counted
from sync.core.visible import key_text
from sync.wiring.backfill.command import open_ledger


def run(args: argparse.Namespace) -> int:
    """List what Postgres could not hold."""
    with open_ledger(*load()) as (connection, _ledger):
        found = list_rejects(connection, args.table, args.limit)
    if args.json:
        print_json({"rejects": [asdict(r) for r in found]})
    else:
        rows = [(r.table, key_text(r.key), r.column, r.reason, r.action) for r in found]
        print_table(counted(len(found), "reject"), ("table", "key", "column", "reason", "action"), rows)
    return 0
