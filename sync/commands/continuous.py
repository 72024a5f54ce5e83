"""`sync drift-report --continuous`: passes one after the other, each a command of its own, with rests in between.

A command of its own: its workers are forked before any connection is opened, and nothing that one pass leaves in memory is
there in the next one, for weeks.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from typing import NoReturn

from sync.console import say
from sync.core.words import duration
from sync.errors import Interrupted, SettingsError, WorkFailed

MAX_FAILURES = 5
_LEAST_REST_SECONDS = 10
"""After a command that failed: what has failed it may still be there."""


def run_passes(args: argparse.Namespace) -> NoReturn:
    """Pass after pass. Raises WorkFailed after several in a row that could not be made, Interrupted on Ctrl-C."""
    if args.history:
        raise SettingsError("--continuous makes passes, and --history lists them: leave one of them out")
    signal.signal(signal.SIGTERM, _terminate)  # a service manager's way to end it is no error
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # `nohup` has it ignored
        signal.signal(signal.SIGHUP, _terminate)
    options, failed = _options(args), 0
    try:
        while True:
            begun = time.monotonic()
            code = _one_pass([*options, "--restart"] if args.restart and not failed else options)
            args.restart = False
            failed = 0 if code in (0, 2) else failed + 1
            if failed == MAX_FAILURES:
                raise WorkFailed(f"{failed} passes in a row could not be made; the last line above says why")
            took = time.monotonic() - begun
            rest = max(rest_between(took, args.rest, args.share), _LEAST_REST_SECONDS if failed else 0)
            if not args.quiet:
                say(f"the next pass begins in {duration(rest)}")
            time.sleep(rest)
    except KeyboardInterrupt:
        raise Interrupted("the verdicts stay") from None


def rest_between(took: float, rest: float, share: float) -> float:
    """Seconds from a pass that took `took` to the next one: `rest`, or longer, so that passes take `share` of the time."""
    return max(rest, took * (1 / share - 1))


def _one_pass(options: list[str]) -> int:
    """Run one pass to its end; its exit code. If this process is to end, the pass is stopped as by Ctrl-C, and waited for.

    The pass notices that its stdin has ended, also if this process is killed.
    """
    # -P: else a sync.py in the present folder would be run.
    command = [sys.executable, "-P", "-m", "sync.commands.continuous_pass", *options]
    # In a session of its own: a terminal's Ctrl-C reaches this process alone, so that the pass gets one, and not two.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        return process.wait()
    except BaseException:
        # The pass is waited for, however often this process is told to end.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if process.stdin:
            process.stdin.close()
        process.wait()
        raise


def _terminate(*_: object) -> NoReturn:
    sys.exit(0)


def _options(args: argparse.Namespace) -> list[str]:
    """What each pass is asked for."""
    found = [word for table in args.table or () for word in ("--table", table)]
    found += ["--workers", str(args.workers), "--sample-search", str(args.sample_search), "--format", args.format]
    flags = ("quiet", "repair", "show_values", "json")
    found += [f"--{name.replace('_', '-')}" for name in flags if getattr(args, name)]
    found += ["--rate", str(args.rate)] if args.rate else []
    return [*found, "--output", str(args.output)] if args.output else found
