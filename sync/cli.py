"""The command line: run one command, print; every error is one line and exit code 1. Its options: `sync.arguments`."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType

from sync.adapters.cassandra.connection.guardrails import guardrail
from sync.arguments import ERROR, build_parser
from sync.errors import GateRefused, Interrupted, SyncError, TargetNotNow

log = logging.getLogger(__name__)
REFUSED, INTERRUPTED = 2, 130
_NO_SUCH = ("42P01", "3F000", "42703")
"""SQLSTATEs of a relation, a schema and a column that are not there."""
GONE = "the migration's state is gone: `sync finish` has ended it, perhaps just now from another terminal"


class _Unused:
    """Hides what libraries import, where it is installed, and no command uses: a third of the time of a command's start.

    The Cassandra driver imports numpy for a row format, redis-py OpenTelemetry's SDK for metrics that nobody asks for.
    """

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """Raise ModuleNotFoundError for those; say of others that they may be elsewhere."""
        if name in ("numpy", "opentelemetry.sdk.metrics"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def import_command(name: str) -> ModuleType:
    """The command's module, imported without what no command uses."""
    gc.disable()  # nothing of what is imported is garbage; to look for some is an eighth of a command's start
    sys.meta_path.insert(0, _Unused)
    try:
        return importlib.import_module(f"sync.commands.{name}")
    finally:
        sys.meta_path.remove(_Unused)
        gc.freeze()  # nor will it be in the workers that are forked: its pages stay shared
        gc.enable()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    before = sys.unraisablehook
    sys.unraisablehook = partial(_interrupt_again, before)
    try:
        return _main(argv)
    finally:
        sys.unraisablehook = before


def _interrupt_again(otherwise: Callable[[sys.UnraisableHookArgs], object], lost: sys.UnraisableHookArgs) -> None:
    """Ctrl-C met a destructor or a callback, where nothing can be raised: so that it is not lost, it comes again soon."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        otherwise(lost)
        return
    again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()


def _main(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    try:
        from sync import console  # not at the top: `sync --help` needs none of it
    except ModuleNotFoundError as error:
        sys.stderr.write(f"sync: {str(error.name).partition('.')[0]} is not installed: pip install 'dual-write-sync[cli]'\n")
        return ERROR

    console.set_up_output()
    try:
        console.set_up_logging()
        module = import_command(args.run)
        code = int(module.run(args))
        sys.stdout.flush()  # here, where a reader that went away is no error
        return code
    except Interrupted as error:
        console.say(_stopped(str(error), argv))
        return INTERRUPTED
    except GateRefused as error:
        console.say(f"sync {args.command}: {error}", logging.ERROR)
        return REFUSED
    except SyncError as error:
        for line in _lines(error):
            console.say(f"sync {args.command}: {line}", logging.ERROR)
        return ERROR
    except KeyboardInterrupt:
        console.say(_stopped("nothing is lost", argv))
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except Exception as error:
        if os.environ.get("SYNC_DEBUG"):
            raise
        _say_unexpected(args.command, error)
        return ERROR


def _stopped(what_stays: str, argv: Sequence[str] | None) -> str:
    return f"stopped; {what_stays}. Resume with: sync {shlex.join(sys.argv[1:] if argv is None else argv)}"


def _lines(error: SyncError) -> list[str]:
    if isinstance(error, TargetNotNow):
        return [f"Postgres: {error}; nothing is lost, run it again when it can"]
    return str(error).splitlines()


def _say_unexpected(command: str, error: Exception) -> None:
    from sync import console

    known = _known(error)
    if known or not console.is_json_log():
        console.say(f"sync {command}: {known or _unexpected(error)}", logging.ERROR)
    else:  # whoever collects logs gets the kind and the places: the text may quote a row's values
        log.error("sync %s: unexpected error (SYNC_DEBUG=1 shows it)", command, exc_info=error)


def _known(error: Exception) -> str:
    """What is to be done about an error that is no fault of this program; "" for others."""
    text = _text(error)
    if getattr(error, "sqlstate", None) in _NO_SUCH and ('"sync' in text or "_sync_" in text):
        return GONE
    return guardrail(text) or ""


def _unexpected(error: Exception) -> str:
    return f"{type(error).__name__}: {_text(error)} (SYNC_DEBUG=1 shows where)"


def _text(error: Exception) -> str:
    said = getattr(getattr(error, "diag", None), "message_primary", None)  # of Postgres: its other lines quote values
    return " ".join(str(said or error).split())


if __name__ == "__main__":
    sys.exit(main())
