"""`sync drift-report`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from sync.adapters.queue import CHECK_JOB
from sync.commands.backfill import Progressing, build_line
from sync.commands.context import load
from sync.commands.continuous import run_passes
from sync.commands.drift_text import as_csv, show_history, show_report, verdict
from sync.console import check_report, json_text, out, print_json, say, status, steps, write_report
from sync.errors import Interrupted
from sync.report import html
from sync.settings import Config, Settings
from sync.wiring.backfill.command import Show, make_plan
from sync.wiring.drift.command import DriftRequest, list_passes, run_drift
from sync.wiring.notify import notify_pass
from sync.workers.pool import Pool

_MAX_PASSES = 50
_WORDS = ("differ", "rejected", "ranges unknown")


def run(args: argparse.Namespace) -> int:
    """One pass over both sides; 0 where they are equal, 2 where that is not proved. Or pass after pass."""
    if args.continuous:
        run_passes(args)
    settings, config = load("target") if args.history else load("source", "target", "redis_url")
    form = "json" if args.json else args.format
    if args.history:
        return _history(settings, config, form)
    if args.output:
        check_report(args.output)
    render = _renderer(form)
    report = drift_report(args, settings, config)
    text = render(report) if render else None
    if args.output:
        write_report(args.output, text or _table_text(report))
        say(f"written to {args.output}")
    elif text is None:
        show_report(report)
    else:
        out.file.write(text)
        out.file.flush()
    if args.output or text is not None:  # what is printed is a program's, or nothing: people read it here
        say(f"{verdict(report)}; next: {report['next_step']}")
    notify_pass(settings, config, report)  # last: a receiver that hangs withholds nothing
    return 0 if report["clean"] else 2


def drift_report(args: argparse.Namespace, settings: Settings, config: Config) -> dict[str, Any]:
    """Run one pass with workers of its own. Raises Interrupted on Ctrl-C, when the workers have let go."""
    pool = Pool(settings, args.workers, [CHECK_JOB])  # before any connection is opened: it forks
    try:
        plan = make_plan(settings, config, args.table)
        request = DriftRequest(args.repair, args.sample_search, args.show_values, args.restart, args.rate)
        with status(args.quiet) as block:
            show = Show(Progressing(block, _WORDS).show, lambda b: block.update([build_line(b)]), steps(args.quiet))
            return run_drift(settings, config, plan, request, pool, show)
    except KeyboardInterrupt:
        raise Interrupted("the verdicts stay") from None
    finally:
        pool.stop()


def _renderer(form: str) -> Callable[[dict[str, Any]], str] | None:
    """What makes text of a report; None for the table, which goes through the console. Asked for before the work is done."""
    if form == "json":
        return json_text
    if form == "html":
        return html.render
    return as_csv if form == "csv" else None


def _table_text(report: dict[str, Any]) -> str:
    with out.capture() as captured:
        show_report(report)
    return captured.get()


def _history(settings: Settings, config: Config, form: str) -> int:
    found = list_passes(settings, config, _MAX_PASSES)
    if form == "json":
        print_json({"passes": found})
    else:
        show_history(found)
    return 0
