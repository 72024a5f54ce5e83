"""`sync cutover` and `sync rollback`: the gates as a checklist; when all are green, the cut-over."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from sync.commands.context import load
from sync.console import out, print_json, print_table, say
from sync.core.cutover.gates import Gate
from sync.core.cutover.proof import WAIVED
from sync.core.words import STORES, counted
from sync.errors import Interrupted, SettingsError
from sync.ports import Epoch, SwitchKind
from sync.wiring.cutover.command import CutoverSummary, switch
from sync.wiring.cutover.gates import judge, open_site
from sync.wiring.notify import notify

PRIMARY_AFTER = {"cutover": "postgres", "rollback": "astra"}


def run(args: argparse.Namespace) -> int:
    """Print the gates; 2 where one is red, else switch, if that is wanted."""
    kind: SwitchKind = args.command
    settings, config = load("source", "target")
    with open_site(settings, config) as site:
        site.authority.recover()
        epoch = site.authority.current()
        if epoch.primary == PRIMARY_AFTER[kind]:
            return _already(args, epoch)
        waived = WAIVED if kind == "rollback" and args.fast else ""
        if waived:
            say(f"sync rollback --fast waives: {waived}")
        passed = judge(site, kind, epoch, args.dry_run, 0 if args.no_writers else args.writers, bool(waived))
        if args.dry_run or not all(gate.green for gate in passed):
            return _stays(args, epoch, passed, waived)
        if not args.json:
            show_gates(passed)
        confirm(args, f"{STORES[PRIMARY_AFTER[kind]]} becomes primary{', without proof' if waived else ''}")
        try:
            done = switch(site, kind, epoch.epoch, passed, say, waived)
        except KeyboardInterrupt:
            raise Interrupted("`sync status` says which side is primary: the switch happened as a whole, or not") from None
    _summary(args, kind, passed, done, waived)
    now, closed = done.result.epoch, round(done.result.closed_seconds * 1000, 1)
    facts = {"epoch": now.epoch, "primary": now.primary, "closed_ms": closed, "waived": waived or None}
    notify(settings, config, kind, f"{STORES[now.primary]} is primary (epoch {now.epoch})", **facts)
    return 0


def _stays(args: argparse.Namespace, epoch: Epoch, passed: list[Gate], waived: str) -> int:
    """Nothing is changed: a gate is red, or that was not wanted."""
    more = {"switched": False, "epoch": epoch.epoch, "primary": epoch.primary}
    _report(args, passed, {**more, **({"waived": waived} if waived else {})})
    return _dry(args.command) if all(gate.green for gate in passed) else refused(args.command, passed)


def confirm(args: argparse.Namespace, what: str) -> None:
    """Ask, where somebody is there to answer. Raises SettingsError where the answer is missing or no."""
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"{what}: not a terminal; pass --yes")
    if input(f"{what}. Continue? [y/N] ").strip().lower() not in ("y", "yes"):
        raise SettingsError("nothing was changed")


def show_gates(passed: list[Gate]) -> None:
    """The checklist: what a red gate needs stands below it."""
    rows = [("green" if g.green else "RED", g.name, g.figure, "" if g.green else g.remedy) for g in passed]
    print_table("Gates", ("", "gate", "figure", "what turns it green"), rows)


def gates_json(passed: list[Gate]) -> list[dict[str, Any]]:
    """The checklist as plain values."""
    return [{"name": g.name, "green": g.green, "figure": g.figure, "remedy": g.remedy} for g in passed]


def _report(args: argparse.Namespace, passed: list[Gate], more: dict[str, Any]) -> None:
    if args.json:
        print_json({**more, "gates": gates_json(passed)})
    else:
        show_gates(passed)


def _already(args: argparse.Namespace, epoch: Epoch) -> int:
    text = (
        f"{STORES[epoch.primary]} is primary already, since {epoch.since.isoformat(timespec='seconds')} (epoch {epoch.epoch})"
    )
    if args.json:
        print_json({"switched": False, "epoch": epoch.epoch, "primary": epoch.primary, "gates": []})
    else:
        out.print(f"{text}: nothing to do", markup=False)
    return 0


def refused(kind: str, passed: list[Gate]) -> int:
    """Name the gates that are red; the exit code."""
    red = [gate.name for gate in passed if not gate.green]
    say(f"sync {kind}: refused by {counted(len(red), 'gate')}: {', '.join(red)}; nothing has changed")
    return 2


def _dry(kind: str) -> int:
    say(f"sync {kind}: every gate is green; nothing was changed (--dry-run)")
    return 0


def _summary(args: argparse.Namespace, kind: str, passed: list[Gate], done: CutoverSummary, waived: str) -> None:
    epoch, closed = done.result.epoch, done.result.closed_seconds * 1000
    waits = {"count": len(done.waits), "p99_ms": _p99(done.waits), "max_ms": done.waits[-1] if done.waits else 0.0}
    name = STORES[epoch.primary]
    if args.json:
        more: dict[str, Any] = {
            "switched": True,
            "epoch": epoch.epoch,
            "primary": epoch.primary,
            "closed_ms": round(closed, 1),
        }
        more |= {"waived": waived} if waived else {}
        print_json({**more, "waits": waits, "gates": gates_json(passed)})
        say(f"{name} is primary (epoch {epoch.epoch})")
        return
    out.print(f"\n{name} is primary (epoch {epoch.epoch}). No write could begin for {closed:.0f} ms;", markup=False)
    out.print(
        f"{counted(len(done.waits), 'write')} waited, p99 {waits['p99_ms']:.0f} ms, at most {waits['max_ms']:.0f} ms; "
        "none was refused.",
        markup=False,
    )
    back = {"cutover": "sync rollback goes back; sync finish ends the migration", "rollback": "sync cutover again"}
    out.print(
        f"set STORAGE_BACKEND={epoch.primary} when convenient: running writers have switched. Next: {back[kind]}",
        markup=False,
    )


def _p99(waits: list[float]) -> float:
    return waits[min(len(waits) - 1, int(len(waits) * 0.99))] if waits else 0.0
