"""The command line: parse, run one command, print; every error is one line and exit code 1."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from sync.adapters.cassandra.connection.guardrails import guardrail
from sync.errors import GateRefused, Interrupted, SyncError, TargetNotNow

DONE, ERROR, REFUSED = 0, 1, 2
_NO_SUCH = ("42P01", "3F000", "42703")
"""SQLSTATEs of a relation, a schema and a column that are not there."""
GONE = "the migration's state is gone: `sync finish` has ended it, perhaps just now from another terminal"


class Parser(argparse.ArgumentParser):
    """Bad arguments are an error like any other: one line, and exit code 1 (2 means drift, or a refused gate)."""

    def error(self, message: str) -> NoReturn:
        self.exit(ERROR, f"{self.prog}: {message}; see `{self.prog} --help`\n")


class _Version(argparse.Action):
    """Asks for the version when it is wanted: the look through what is installed costs every other command time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        sys.stdout.write(f"sync {version('dual-write-sync')}\n")
        parser.exit(DONE)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `run` names the module of `sync.commands` that does the work."""
    parser = Parser(prog="sync", description="Moves a running application from Cassandra / Astra to Postgres + pgvector.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _local(commands)
    demo = _command(commands, "demo", "migrate the real music corpus on embedded servers, and look at the result")
    demo.add_argument("--limit", type=_positive, help="only so many pieces (default: all)")
    demo.add_argument("--source", choices=("tables", "collections"), default="tables", help="what the tunes are at first")
    demo.add_argument("--keep", action="store_true", help="leave the servers running")
    preflight = _command(
        commands, "preflight", "connect to all three servers and say what maps to what, before anything is written"
    )
    preflight.add_argument("--write-times", action="store_true", help="count every row that was written ahead of the clock")
    _schema(commands)
    _run_options(_command(commands, "backfill", "copy history by token range, through RQ workers; run again to go on"))
    migrate = _command(commands, "migrate", "the whole plain migration: schema, backfill, indexes, verification")
    _run_options(migrate)
    migrate.add_argument("--sample", type=_positive, default=200, help="rows and searches to compare one by one (200)")
    _drift(commands)
    _command(commands, "status", "where the migration stands")
    rejects = _command(commands, "rejects", "values that Postgres cannot hold, with key, column and reason")
    rejects.add_argument("--table")
    rejects.add_argument("--limit", type=_positive)
    intents = _command(commands, "intents", "keys that are not yet known equal on both sides, with the last error")
    intents.add_argument("--table")
    intents.add_argument("--limit", type=_positive, default=50, help="list at most so many (50)")
    intents.add_argument("--retry", action="store_true", help="try the waiting ones again now")
    intents.add_argument(
        "--resolve", action="append", type=_positive, metavar="ID",
        help="give up an intent that can never settle: the primary's row counts (several: --resolve again)",
    )  # fmt: skip
    intents.add_argument("--yes", action="store_true", help="do not ask")
    writers = _command(commands, "writers", "processes that write to both sides")
    writers.add_argument("--fence", metavar="ID", help="declare a writer dead, which it must be: its intents are taken over")
    _switches(commands)
    worker = _command(commands, "worker", "run RQ workers for the queue `sync`, and ring for what is due", json=False)
    worker.add_argument("-n", type=_positive, default=1, help="how many (1)")
    return parser


def _command(commands: argparse._SubParsersAction, name: str, text: str, json: bool = True) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=name)
    if json:
        parser.add_argument("--json", action="store_true", help="print the result for programs")
    return parser


def _local(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "local", "embedded servers for development: Cassandra, Postgres with pgvector, Valkey")
    parser.add_argument("action", choices=["up", "down", "status", "env"])
    parser.add_argument("--folder", default=os.environ.get("SYNC_LOCAL_DIR", ".local"), help="where they live (.local)")


def _schema(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "schema", "apply: make the target's schema and the state of the migration")
    parser.add_argument("action", choices=["apply"])
    parser.add_argument("--source", action="store_true", help="make migrations/001's tables in the source keyspace, too")
    parser.add_argument("--dimension", type=_positive, help="the vectors' dimension, where the source has none yet")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")


def _switches(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    texts = {
        "cutover": "make Postgres primary, behind gates; running writers follow without a restart; exit code 2 if one is red",
        "rollback": "make Astra primary again, behind gates; nothing that was written since is lost",
        "finish": "end the migration: drop its bookkeeping; Astra is left as it is",
    }
    for name, text in texts.items():
        parser = _command(commands, name, text)
        parser.add_argument("--dry-run", action="store_true", help="only show the gates; nothing is changed")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        if name != "finish":
            many = parser.add_mutually_exclusive_group()
            many.add_argument("--writers", type=_natural, help="how many writers must be registered; refuses otherwise")
            many.add_argument("--no-writers", action="store_true", help="no writer may be registered; refuses otherwise")
        if name == "rollback":
            parser.add_argument(
                "--fast",
                action="store_true",
                help="an emergency: in seconds, without the drift passes; says what it waives",
            )


def _drift(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "drift-report", "compare every row of both sides, under live traffic; exit code 2 on drift")
    parser.set_defaults(run="drift_report")
    _table_options(parser)
    parser.add_argument("--restart", action="store_true", help="begin a pass that was stopped anew, without its verdicts")
    parser.add_argument("--repair", action="store_true", help="reconcile what differs, and check it again")
    parser.add_argument("--sample-search", type=_natural, default=0, metavar="N", help="also search both sides N times")
    parser.add_argument("--show-values", action="store_true", help="show what both sides hold (it may be private)")
    parser.add_argument("--history", action="store_true", help="list the passes that were made; nothing is compared")
    parser.add_argument("--format", choices=["table", "json", "html", "csv"], default="table", help="of the report (table)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report there")


def _table_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", action="append", metavar="NAME", help="only this table (may be repeated)")
    parser.add_argument("--workers", type=_natural, default=os.cpu_count() or 1, help="worker processes of its own (cores)")


def _run_options(parser: argparse.ArgumentParser) -> None:
    _table_options(parser)
    parser.add_argument("--writers", type=_natural, help="how many writers must be registered; refuses otherwise")
    parser.add_argument("--rate", type=_positive, metavar="ROWS", help="at most so many rows a second, all workers together")
    parser.add_argument("--dry-run", action="store_true", help="plan only; nothing is written")


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _imported(command: str) -> ModuleType:
    gc.disable()  # nothing of what is imported is garbage; to look for some is an eighth of a command's start
    try:
        return importlib.import_module(f"sync.commands.{command}")
    finally:
        gc.freeze()  # nor will it be in the workers that are forked: its pages stay shared
        gc.enable()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    args = build_parser().parse_args(argv)
    try:
        from sync import console  # not at the top: `sync --help` needs none of it
    except ModuleNotFoundError as error:
        sys.stderr.write(f"sync: {str(error.name).partition('.')[0]} is not installed: pip install 'dual-write-sync[cli]'\n")
        return ERROR

    console.set_up_output()
    console.set_up_logging()
    try:
        module = _imported(args.run)
        code = int(module.run(args))
        sys.stdout.flush()  # here, where a reader that went away is no error
        return code
    except Interrupted as error:
        console.say(str(error))
        return ERROR
    except GateRefused as error:
        console.say(f"sync {args.command}: {error}")
        return REFUSED
    except SyncError as error:
        for line in _lines(error):
            console.say(f"sync {args.command}: {line}")
        return ERROR
    except KeyboardInterrupt:
        console.say(f"sync {args.command}: stopped; nothing is lost, run it again to go on")
        return ERROR
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except Exception as error:
        if os.environ.get("SYNC_DEBUG"):
            raise
        console.say(f"sync {args.command}: {_unexpected(error)}")
        return ERROR


def _lines(error: SyncError) -> list[str]:
    if isinstance(error, TargetNotNow):
        return [f"Postgres: {error}; nothing is lost, run it again when it can"]
    return str(error).splitlines()


def _unexpected(error: Exception) -> str:
    said = getattr(getattr(error, "diag", None), "message_primary", None)  # of Postgres: its other lines quote values
    text = " ".join(str(said or error).split())
    if getattr(error, "sqlstate", None) in _NO_SUCH and ('"sync' in text or '"_sync_' in text):
        return GONE
    return guardrail(text) or f"{type(error).__name__}: {text} (SYNC_DEBUG=1 shows where)"


if __name__ == "__main__":
    sys.exit(main())
