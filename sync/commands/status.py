"""`sync status`."""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import datetime
from functools import partial
from typing import Any, NoReturn

from sync.commands.context import load
from sync.commands.writers import show_writers
from sync.console import duration, out, print_json, print_table
from sync.core.cutover.proof import CLEAN_PASSES
from sync.core.throttle import in_words
from sync.core.visible import key_text
from sync.core.words import counted
from sync.errors import PreflightError, SettingsError, SyncError
from sync.wiring.status import read_status

NEEDS_ATTENTION = 2
_KEYS_SHOWN = 10
_OF_FEEDS = (
    ("strays", "strays while Postgres was primary"),
    ("unmapped", "changes of tables that are not migrated"),
    ("rejects", "keys that Postgres cannot hold"),
)


def run(args: argparse.Namespace) -> int:
    """Print where the migration stands and what comes next; 2 with --check if somebody should look at something."""
    if args.watch:
        _watch(args.watch)
    settings, config = load("target")
    status = read_status(settings, config)
    if args.json:
        print_json(status)
    elif args.check:
        for line in status["attention"]:
            out.print(line, markup=False, soft_wrap=True)
    else:
        _show(status)
    return NEEDS_ATTENTION if args.check and status["attention"] else 0


def _watch(seconds: int) -> NoReturn:
    """Show the status again every so many seconds, until Ctrl-C; off a terminal only where it has changed."""
    shown = ""
    while True:
        show, now = _read(), f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"
        if out.is_terminal:
            out.clear()
            out.print(now)
            show()
        elif (text := _text_of(show)) != shown:
            out.file.write(f"{now}\n{text}")
            out.file.flush()
            shown = text
        time.sleep(seconds)


def _text_of(show: Callable[[], None]) -> str:
    text = io.StringIO()
    with redirect_stdout(text):
        show()
    return text.getvalue()


def _read() -> Callable[[], None]:
    """Read the status now; what prints it, or why it cannot be read: a server that is away is back soon."""
    try:
        return partial(_show, read_status(*load("target")))
    except (SettingsError, PreflightError):
        raise
    except SyncError as error:
        return partial(out.print, str(error), markup=False, soft_wrap=True)


def _show(status: dict[str, Any]) -> None:
    out.print(f"epoch {status['epoch']}, primary {status['primary']}, phase {status['phase']}", markup=False)
    header = (
        "table",
        "ranges done",
        "of",
        "running",
        "failed",
        "rows written",
        "already there",
        "rejected",
        "rows/s",
        "left",
        "clean passes",
    )
    print_table("", header, [_row(t) for t in status["tables"]])
    intents = status["intents"]
    workers = "unknown (Redis does not answer)" if status["workers"] is None else status["workers"]
    rejects = ", ".join(f"{table} {count:,}" for table, count in status["rejects"].items()) or "none"
    age = f", the oldest {duration(intents['oldest_age_seconds'])} old" if intents["open"] else ""
    out.print(f"intents: {intents['open']:,} open{age}; unrecorded writes: {intents['spooled']:,}", markup=False)
    out.print(f"RQ workers: {workers}; rejected rows: {rejects}", markup=False)
    for failed in status["failed_jobs"]:
        out.print(f"failed job: {failed['job']}: {failed['why']}", markup=False, soft_wrap=True)
    if status["last_drift"]:
        out.print(_last_pass(status["last_drift"]), markup=False)
    for line in (*_shadow_reads(status["shadow_reads"]), *_feeds(status)):
        out.print(line, markup=False, soft_wrap=True)
    if status["writers"]:
        show_writers(status["writers"])
    for check in status["drift_under_way"]:
        out.print(_check(check), markup=False, soft_wrap=True)
    for line in _gates(status):
        out.print(line, markup=False, soft_wrap=True)
    for table in status["tables"]:
        if table["throttled"]:
            out.print(f"{table['table']}: {in_words(table['throttled'], time.time())}", markup=False, soft_wrap=True)
        if table["error"]:
            out.print(f"{table['table']}: {table['error']}", markup=False)
    out.print(f"next: {status['next_step']}", markup=False, soft_wrap=True)


def _gates(status: dict[str, Any]) -> list[str]:
    """The red gates, and the statements that turn the one of reads green."""
    red = [f"gate {gate['name']}: {gate['figure']}" for gate in status["gates"] if not gate["green"]]
    return [*red, *dict.fromkeys(f"  {line}" for read in status["unanswerable_reads"] for line in read["indexes"])]


def _row(table: dict[str, Any]) -> tuple[object, ...]:
    ranges = table["ranges"]
    counts = (table["rows_written"], table["rows_stale"], table["rows_rejected"])
    speed = (round(table["rows_per_second"]), duration(table["eta_seconds"]))
    passes = "-" if table["clean_passes"] is None else f"{table['clean_passes']} of {CLEAN_PASSES}"
    return (table["table"], ranges["done"], ranges["total"], ranges["running"], ranges["failed"], *counts, *speed, passes)


def _check(check: dict[str, Any]) -> str:
    ranges, error = check["ranges"], f" ({check['error']})" if check["error"] else ""
    slow = f", {in_words(check['throttled'], time.time())}" if check["throttled"] else ""
    return f"drift pass, not finished: {check['table']}: {ranges['done']}/{ranges['total']} ranges{slow}{error}"


def _shadow_reads(shadow: dict[str, Any]) -> list[str]:
    """What shadow reads have counted, and the last keys that differed; nothing if there are none."""
    if not (shadow["compared"] or shadow["skipped"] or shadow["keys"]):
        return []
    counts = f"{shadow['compared']:,} compared, {shadow['skipped']:,} skipped, {shadow['differing']:,} differed"
    shown = [
        f"  {k['table_name']}: {key_text(k['key'])}: {k['kind']}, at {k['found_at'][:19]}"
        for k in shadow["keys"][:_KEYS_SHOWN]
    ]
    more = len(shadow["keys"]) - len(shown)
    rest = [f"  and {more:,} more: --json lists them"] if more else []
    return [f"shadow reads: {counts}; {counted(shadow['since_repair'], 'key')} since the last repair", *shown, *rest]


def _feeds(status: dict[str, Any]) -> list[str]:
    """Each follower: how far behind it is, and what it has told; nodes that have none; and the newest gaps."""
    lines = []
    for feed in status["feeds"]:
        behind = "told nothing yet" if feed["behind_seconds"] is None else f"{feed['behind_seconds']:.1f} s behind"
        state = "ended" if feed["ended"] else behind if feed["followed"] else f"{behind}, and nobody follows it"
        told = f"{counted(feed['keys'], 'key')}, {counted(feed['partitions'], 'partition')}"
        more = [f"{feed[name]:,} {text}" for name, text in _OF_FEEDS if feed[name]]
        error = f" ({feed['error']})" if feed["error"] else ""
        lines.append(f"feed {feed['name']}: {state}; {', '.join([told, *more])}{error}")
    lines += [f"node {address}: nobody follows its commit log" for address in status["nodes_without_follower"]]
    return lines + [
        f"gap of {gap['feed']}: {gap['table'] or 'every table'}, until {gap['until'][:19]}: {gap['why']}"
        for gap in status["gaps"]
    ]


def _last_pass(last: dict[str, Any]) -> str:
    verdict = (
        "clean"
        if last["clean"] and not last["repaired"]
        else f"{counted(last['findings'], 'finding')}, {last['repaired']:,} repaired"
    )
    return f"last drift pass: {last['pass']}, {verdict}, at {last['finished_at'][:19]}"
