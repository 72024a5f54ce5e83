"""`sync backfill`."""

from __future__ import annotations

import argparse
import sys
import time

from sync.adapters.postgres.schema.indexes import Build
from sync.adapters.queue import COPY_JOB
from sync.commands.context import load
from sync.console import Line, Rate, Status, duration, print_json, print_table, say, status, steps
from sync.core.throttle import in_words, state_in_words
from sync.core.words import counted
from sync.errors import Interrupted, PreflightError
from sync.ports import Progress
from sync.settings import Config, Settings
from sync.wiring.backfill.command import Plan, Show, make_plan, run_backfill
from sync.wiring.notify import notify_backfill
from sync.workers.pool import Pool


def run(args: argparse.Namespace) -> int:
    """Plan, copy, and print what became of every row."""
    settings, config = load("source", "target", "redis_url")
    if args.dry_run:
        show_plan(make_plan(settings, config, args.table), args)
        return 0
    started = time.monotonic()
    final = backfill(args, settings, config)
    if args.json:
        print_json({"tables": [table_json(p) for p in final]})
        say(summary(final, time.monotonic() - started))
    else:
        show_result(final, time.monotonic() - started)
    advise(final)
    notify_backfill(settings, config, final)  # last: a receiver that hangs withholds nothing
    return 1 if any(p.failed for p in final) else 0


def backfill(args: argparse.Namespace, settings: Settings, config: Config) -> list[Progress]:
    """Run the backfill with workers of its own. Raises Interrupted on Ctrl-C, when the workers have let go."""
    pool = Pool(settings, args.workers, [COPY_JOB])  # before any connection is opened: it forks
    try:
        plan = make_plan(settings, config, args.table)
        check_writers(plan, args.writers)
        with status(args.quiet) as block:
            show = Show(Progressing(block).show, lambda b: block.update([build_line(b)]), steps(args.quiet))
            return run_backfill(settings, config, plan, args.rate, pool, show)
    except KeyboardInterrupt:
        raise Interrupted("the copied rows stay") from None
    finally:
        pool.stop()


def check_writers(plan: Plan, expected: int | None) -> None:
    """A backfill must begin after all writers write to both sides (rule 3): count them, or ask."""
    count = len(plan.writers)
    if expected is not None and count != expected:
        raise PreflightError(f"--writers {expected}, but {count} are registered: {', '.join(plan.writers) or 'none'}")
    if not count:
        say("no writer is registered: this is an offline copy; rows written from now on must be backfilled again")
    elif expected is None and sys.stdin.isatty():
        say(f"registered writers: {', '.join(plan.writers)}")
        if input("Are these all the processes that write to the source? [y/N] ").strip().lower() not in ("y", "yes"):
            raise PreflightError("start every writer with SYNC_DUAL_WRITE=true first, then run the backfill")


class Progressing:
    """Turns the ledger's figures into lines: ranges, rows, rows/s, time left, and what is wrong, per table.

    `words` are for the rows that were not copied or are not the same, for rejects, and for ranges that failed.
    """

    def __init__(self, block: Status, words: tuple[str, str, str] = ("already there", "rejected", "ranges failed")) -> None:
        self._block, self._words, self._rates = block, words, dict[str, Rate]()

    def show(self, progress: list[Progress]) -> None:
        """Draw the present state."""
        self._block.update([self._line(p) for p in progress], final=all(p.done == p.total for p in progress))

    def _line(self, p: Progress) -> Line:
        rate = self._rates.setdefault(p.table, Rate()).add(p.rows_read)
        left = p.rows_read / p.done * (p.total - p.done) / rate if p.done and rate else None
        done, besides = f"{p.table}: {p.done}/{p.total} ranges, {counted(p.rows_read, 'row')}", ""
        for count, what in zip((p.rows_stale, p.rows_rejected, p.failed), self._words, strict=True):
            besides += f", {count:,} {what}" if count else ""
        besides += f" ({p.error})" if p.error else ""
        slow, now = p.throttled.plain() if p.throttled else None, time.time()
        shown, state = (f", {in_words(slow, now)}", f", {state_in_words(slow)}") if slow else ("", "")
        return Line(f"{done}, {rate:,.0f} rows/s, {duration(left)} left{shown}{besides}", done + state + besides)


def build_line(build: Build) -> Line:
    """How far an index is."""
    share = f", {100 * build.done / build.total:.0f} %" if build.total else ""
    return Line(f"index {build.index}: {build.phase}{share}")


def show_plan(plan: Plan, args: argparse.Namespace) -> None:
    """What would be done."""
    if args.json:
        tables = [
            {"table": t.name, "ranges": len(plan.ranges[t.name]), "bytes": plan.estimated_bytes[t.name]} for t in plan.tables
        ]
        print_json({"dry_run": True, "tables": tables, "writers": plan.writers, "unfinished": plan.unfinished})
        return
    rows = [
        (t.name, len(plan.ranges[t.name]), plan.estimated_bytes[t.name], "resumes" if t.name in plan.unfinished else "begins")
        for t in plan.tables
    ]
    print_table("Nothing is written (--dry-run)", ("table", "ranges", "estimated bytes", "run"), rows)


def table_json(p: Progress) -> dict[str, object]:
    """One table's figures, as the contract names them."""
    return {
        "table": p.table,
        "rows_read": p.rows_read,
        "rows_written": p.rows_written,
        "rows_stale": p.rows_stale,
        "rows_rejected": p.rows_rejected,
        "ranges_done": p.done,
        "ranges_failed": p.failed,
        "seconds": round(p.seconds, 3),
    }


def show_result(final: list[Progress], seconds: float) -> None:
    """The figures as a table."""
    header = ("table", "ranges", "read", "written", "already there", "rejected", "failed ranges", "seconds", "rows/s")
    rows = [
        (p.table, p.done, p.rows_read, p.rows_written, p.rows_stale, p.rows_rejected, p.failed, p.seconds,
         round(p.rows_read / p.seconds) if p.seconds else 0)
        for p in final
    ]  # fmt: skip
    print_table(f"Backfill, {duration(seconds)}", header, rows)


def summary(final: list[Progress], seconds: float) -> str:
    """The figures in a line, for a terminal whose stdout is a program's."""
    figures = (("written", "rows_written"), ("already there", "rows_stale"), ("rejected", "rows_rejected"))
    sums = [f"{sum(getattr(p, name) for p in final):,} {what}" for what, name in figures]
    failed = sum(p.failed for p in final)
    rows = counted(sum(p.rows_read for p in final), "row")
    return f"Backfill, {duration(seconds)}: {rows} read, {', '.join(sums)}; {counted(failed, 'range')} failed"


def advise(final: list[Progress]) -> None:
    """What to do about what is not well, on stderr."""
    if any(p.rows_rejected for p in final):
        say("rejected rows: `sync rejects` lists them with key, column and reason")
    for p in final:
        if p.failed:
            say(f"{p.table}: {counted(p.failed, 'range')} failed: {p.error}; run `sync backfill` again to retry them")
