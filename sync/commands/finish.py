"""`sync finish`: the end of the migration."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from sync.commands.context import load
from sync.commands.cutover import confirm, gates_json, refused, show_gates
from sync.console import out, print_json, say
from sync.core.cutover.gates import Gate
from sync.wiring.cutover.finish import end, judge_finish, statements
from sync.wiring.cutover.gates import open_authority


def run(args: argparse.Namespace) -> int:
    """Print what must be over; 2 where something is not, else drop the bookkeeping."""
    settings, config = load("target")
    with open_authority(settings, config) as authority:
        authority.recover()
        epoch = authority.current()
        passed = judge_finish(authority, epoch)
        if not args.json:
            show_gates(passed)
        if not all(gate.green for gate in passed):
            return _refused(args, passed)
        if args.dry_run:
            return _dry(args, statements(authority), passed)
        if sys.stdin.isatty():
            confirm(args, "after this there is no way back to Astra")
        done = end(authority, settings, epoch)
    if args.json:
        print_json({"finished": True, **done, "gates": gates_json(passed)})
        say("The migration is over")
    else:
        _show(done)
    return 0


def _refused(args: argparse.Namespace, passed: list[Gate]) -> int:
    if args.json:
        print_json({"finished": False, "gates": gates_json(passed)})
    return refused(args.command, passed)


def _dry(args: argparse.Namespace, would_run: list[str], passed: list[Gate]) -> int:
    if args.json:
        print_json({"finished": False, "statements": would_run, "gates": gates_json(passed)})
    else:
        for line in would_run:
            out.print(line, markup=False)
    say("sync finish: every gate is green; nothing was changed (--dry-run)")
    return 0


def _show(done: dict[str, Any]) -> None:
    for step in done["audit"]:
        out.print(f"{step['at'][:19]}  {step['who']}  {step['what']}", markup=False)
    out.print(
        f"\nThe migration is over: {', '.join(done['tables'])} keep their rows, and nothing else of it is left.", markup=False
    )
    if "expiry" in done:
        _show_expiry(done["expiry"])
    out.print("Astra is unchanged. When you no longer need it, run there:", markup=False)
    for statement in done["delete_source"]:
        out.print(f"    {statement}", markup=False)


def _show_expiry(expiry: dict[str, Any]) -> None:
    """How expired rows are deleted from now on: stores do not return them, and nothing else deletes them."""
    if expiry["made"]:
        out.print(f"{expiry['function']}() deletes rows that have expired; run it every minute. With pg_cron:", markup=False)
    else:
        out.print("This role may not create functions in public; as another role, create this one:", markup=False)
        out.print(expiry["definition"], markup=False)
        out.print("It deletes rows that have expired; run it every minute. With pg_cron:", markup=False)
    out.print(f"    {expiry['cron']}", markup=False)
