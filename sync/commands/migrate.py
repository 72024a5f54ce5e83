"""`sync migrate`: schema, backfill, indexes, verification."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from statistics import mean

from sync.commands.backfill import advise, backfill, show_plan, show_result, table_json
from sync.commands.context import load
from sync.console import Line, duration, out, print_json, print_table, say, status, steps
from sync.core.visible import key_text
from sync.core.words import counted
from sync.flows.verify import TableVerdict
from sync.ports import Progress
from sync.settings import Config, Settings
from sync.wiring.backfill.command import make_plan
from sync.wiring.drift.verify import TOP, Verification, verify
from sync.wiring.notify import notify_backfill
from sync.wiring.schema import apply_target

_FIGURES = ("source", "target", "same", "missing", "extra", "different", "kept", "rejected")


def run(args: argparse.Namespace) -> int:
    """The whole plain migration; 0 only when both sides are equal, 2 when they are not."""
    settings, config = load("source", "target", "redis_url")
    if args.dry_run:
        return _dry_run(args, settings, config)
    started = time.monotonic()
    final, found = migrate(args, settings, config)
    if args.json:
        print_json({"ok": found.ok, "tables": [table_json(p) for p in final], "verification": to_json(found)})
    else:
        show_result(final, time.monotonic() - started)
    advise(final)
    verdict = f"{_verdict(found)} ({duration(time.monotonic() - started)})"
    if args.json:
        say(verdict)
    else:
        show(found)
        out.print(f"\n{verdict}", markup=False)
    if any(p.failed for p in final):
        return 1
    return 0 if found.ok else 2


def _dry_run(args: argparse.Namespace, settings: Settings, config: Config) -> int:
    """What would be done to the schema, or, where that is as it should be, the plan of the backfill."""
    changes = apply_target(settings, config, args.table, None, dry_run=True)
    if not changes:
        show_plan(make_plan(settings, config, args.table), args)
    elif args.json:
        print_json({"dry_run": True, "schema": changes})
    else:
        for line in changes:
            out.print(line, markup=False, soft_wrap=True)
        out.print("then the backfill, its indexes and the verification; nothing was written (--dry-run)", markup=False)
    return 0


def migrate(args: argparse.Namespace, settings: Settings, config: Config) -> tuple[list[Progress], Verification]:
    """Make the schema, copy, build indexes, compare."""
    tell = steps(args.quiet)
    for line in apply_target(settings, config, args.table, None):
        tell(line)
    final = backfill(args, settings, config)
    notify_backfill(settings, config, final)
    tell("verifying: every range's digest on both sides, searches, retrieval")
    plan = make_plan(settings, config, args.table)
    with status(args.quiet) as block:
        lines: dict[str, Line] = {}

        def progress(name: str, verdict: TableVerdict) -> None:
            equal = f"{name}: {verdict.same_ranges} of {counted(len(plan.ranges[name]), 'range')} equal"
            lines[name] = Line(f"{equal}, {counted(verdict.rows.source, 'row')}")
            block.update(list(lines.values()))

        found = verify(settings, config, plan.tables, plan.ranges, args.sample, progress)
        block.update(list(lines.values()), final=True)
        return final, found


def show(found: Verification) -> None:
    """Print what was compared."""
    names = [n for n in _FIGURES if n != "kept" or any(v.rows.kept for v in found.tables.values())]
    header = ("table", *names, "ranges equal", "")
    rows = [
        (name, *(getattr(v.rows, n) for n in names), f"{v.same_ranges}/{v.ranges}", "equal" if v.clean else "NOT EQUAL")
        for name, v in found.tables.items()
    ]
    print_table("\nRows, by digest of every range", header, rows)
    findings = [(name, kind, key_text(key)) for name, v in found.tables.items() for kind, key in v.shown]
    if findings:
        print_table("\nThe first differences", ("table", "", "key"), findings)
    for name, verdict in found.tables.items():
        if verdict.strays:
            out.print(f"{name}: {counted(verdict.strays, 'row')} only in Postgres, without a token", markup=False)
    searches = [
        (s.table, s.column, s.searches, _share(s.overlaps), _share(s.source_recalls), _share(s.target_recalls), s.note)
        for s in found.searches
    ]
    if searches:
        print_table(
            f"\nVector search, top {TOP}",
            ("table", "column", "searches", "overlap", "source recall", "target recall", ""),
            searches,
        )
    retrievals = [(r.table, f"{r.by_key} of {r.asked}", f"{r.by_content} of {r.by_content_asked}") for r in found.retrievals]
    print_table("\nSampled rows found in Postgres", ("table", "by key", "by map content"), retrievals)


def _share(values: list[float]) -> str:
    return f"{100 * mean(values):.0f} %" if values else "-"


def _verdict(found: Verification) -> str:
    if found.ok:
        rejected = sum(v.rows.rejected for v in found.tables.values())
        return "Equal" + (
            f", except for {counted(rejected, 'row')} that Postgres cannot hold: `sync rejects`" if rejected else ""
        )
    errors = [e for v in found.tables.values() for e in v.errors]
    if errors:
        return f"Not proved equal: some ranges could not be read ({errors[0]}); run it again"
    return "NOT equal: the source has changed since, or rows were written into the target by others"


def to_json(found: Verification) -> dict[str, object]:
    """The verification as plain values."""
    return {
        "tables": [_table_json(name, verdict) for name, verdict in found.tables.items()],
        "searches": [
            {
                "table": s.table,
                "column": s.column,
                "searches": s.searches,
                "overlap": _mean(s.overlaps),
                "source_recall": _mean(s.source_recalls),
                "target_recall": _mean(s.target_recalls),
            }
            for s in found.searches
        ],
        "retrieval": [asdict(r) for r in found.retrievals],
    }


def _table_json(name: str, verdict: TableVerdict) -> dict[str, object]:
    return {
        "table": name,
        "clean": verdict.clean,
        "ranges": {"total": verdict.ranges, "same": verdict.same_ranges, "unknown": verdict.unknown_ranges},
        "rows": {name: getattr(verdict.rows, name) for name in _FIGURES},
        "strays": verdict.strays,
        "findings": [{"kind": kind, "key": key} for kind, key in verdict.shown],
    }


def _mean(values: list[float]) -> float | None:
    return mean(values) if values else None
