"""`sync writers`."""

from __future__ import annotations

import argparse
from typing import Any

from sync.adapters.postgres.cutover.writers import fence, list_writers
from sync.adapters.postgres.dual_write.dead_writers import sign_off_dead
from sync.commands.context import load
from sync.console import duration, print_json, print_table, say
from sync.core.words import counted
from sync.wiring.backfill.command import open_ledger

_MAX_SKEW_US = 1_000_000


def run(args: argparse.Namespace) -> int:
    """List the writers; with --fence, take one's intents over."""
    settings, config = load("target")
    with open_ledger(settings, config) as (connection, _ledger):
        sign_off_dead(connection, config.dual_write.writers_folder)
        if args.fence:
            fence(connection, args.fence)
            say(f"{args.fence} is fenced: its intents are taken over; sync drift-report --repair clears it before a cut-over")
        found = list_writers(connection)
    if args.json:
        print_json({"writers": found})
        return 0
    show_writers(found)
    return 0


def show_writers(found: list[dict[str, Any]]) -> None:
    """The writers as a table, and which clock is to be corrected."""
    header = ("writer", "data centre", "state", "epoch", "heartbeat", "clock skew", "unrecorded", "failures")
    rows = [
        (w["id"], w["data_center"] or "-", w["state"], w["epoch"], f"{duration(w['heartbeat_age_seconds'])} ago",
         _skew(w["clock_skew_us"]), w["unrecorded"], ", ".join(f"{n} × {cause}" for cause, n in w["failures"].items()))
        for w in found
    ]  # fmt: skip
    print_table(counted(len(found), "writer"), header, rows)
    for writer in found:
        if abs(writer["clock_skew_us"] or 0) > _MAX_SKEW_US:
            say(f"{writer['id']}: its clock is {_skew(writer['clock_skew_us'])} off Postgres's; correct it")


def _skew(microseconds: int | None) -> str:
    return "-" if microseconds is None else f"{microseconds / 1e6:+.3f} s"
