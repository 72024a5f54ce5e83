"""The command line's options: the parser of all commands; `sync.cli` runs them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

DONE, ERROR = 0, 1


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
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _local(commands)
    _demo(commands)
    preflight = _command(commands, "preflight", "check all three servers and show what maps to what; writes nothing")
    preflight.add_argument("--write-times", action="store_true", help="count every row that was written ahead of the clock")
    _schema(commands)
    _run_options(
        _command(commands, "backfill", "copy existing rows by token range, through RQ workers; run it again to resume")
    )
    migrate = _command(
        commands, "migrate", "a migration without live traffic in one command: schema, backfill, indexes, verification"
    )
    _run_options(migrate)
    migrate.add_argument(
        "--sample", type=_positive, default=200, help="number of rows and searches to compare one by one (200)"
    )
    _drift(commands)
    status = _command(commands, "status", "show the state of the migration and the next step")
    form = status.add_mutually_exclusive_group()
    form.add_argument("--check", action="store_true", help="print only what needs attention; exit code 2 if anything does")
    form.add_argument(
        "--watch", type=_positive, nargs="?", const=2, metavar="SECONDS", help="show it again every SECONDS (2), until Ctrl-C"
    )
    _dashboard(commands)
    rejects = _command(commands, "rejects", "list values that Postgres cannot hold, with key, column and reason")
    rejects.add_argument("--table")
    rejects.add_argument("--limit", type=_positive)
    intents = _command(commands, "intents", "list keys that are not yet known to be equal on both sides, with the last error")
    intents.add_argument("--table")
    intents.add_argument("--limit", type=_positive, default=50, help="maximum number to list (50)")
    intents.add_argument("--retry", action="store_true", help="retry waiting intents now")
    intents.add_argument(
        "--resolve", action="append", type=_positive, metavar="ID",
        help="give up an intent that can never be reconciled: the primary's row takes precedence (may be repeated)",
    )  # fmt: skip
    intents.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    writers = _command(commands, "writers", "list processes that write to both sides")
    writers.add_argument(
        "--fence", metavar="ID", help="declare a writer dead, so that workers take over its intents; be sure that it is"
    )
    _follow(commands)
    _switches(commands)
    worker = _command(
        commands, "worker", "run RQ workers for the queue `sync`, and notify them of work that is due", json=False
    )
    worker.add_argument("-n", type=_positive, default=1, help="number of workers (1)")
    worker.add_argument("--metrics-port", type=_positive, metavar="PORT", help="serve /metrics, /healthz and /readyz there")
    worker.add_argument("--metrics-host", metavar="ADDRESS", default="127.0.0.1", help="where they listen (127.0.0.1)")
    _quiet(worker)
    return parser


def _command(commands: argparse._SubParsersAction, name: str, text: str, json: bool = True) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=name)
    if json:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _demo(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    demo = _command(commands, "demo", "migrate a real music corpus on embedded servers and show the result")
    demo.add_argument("--limit", type=_positive, help="number of pieces (default: all)")
    demo.add_argument(
        "--source", choices=("tables", "collections"), default="tables", help="what the tunes are stored in at the start"
    )
    demo.add_argument(
        "--writers", choices=("store", "others"), default="store",
        help="who writes meanwhile: an application through the store, or a service that knows nothing of sync",
    )  # fmt: skip
    demo.add_argument("--keep", action="store_true", help="leave the servers running")


def _local(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "local", "embedded servers for development: Cassandra, Postgres with pgvector, Valkey")
    parser.add_argument("action", choices=["up", "down", "status", "env"])
    parser.add_argument("--folder", default=os.environ.get("SYNC_LOCAL_DIR", ".local"), help="their folder (.local)")
    parser.add_argument("--nodes", type=_positive, help="up: nodes of Cassandra in each data centre (1)")
    parser.add_argument("--data-centers", type=_positive, help="up: data centres of Cassandra (1)")


def _schema(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "schema", "apply: make the target's schema and the state of the migration")
    parser.add_argument("action", choices=["apply"])
    parser.add_argument("--example", action="store_true", help="make the example's tables with their indexes (002)")
    parser.add_argument("--source", action="store_true", help="also make the example's tables in the source keyspace (001)")
    parser.add_argument("--dimension", type=_positive, help="the vectors' dimension, where the source has none yet")
    parser.add_argument("--dry-run", action="store_true", help="only print every statement that would be run")


def _dashboard(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "dashboard", "show the state of the migration as a page in a browser, live", json=False)
    parser.add_argument("--port", type=_port, default=8765, help="where it listens (8765); 0: any free port")
    parser.add_argument("--host", default="127.0.0.1", help="on which address (127.0.0.1); off loopback with a token")
    parser.add_argument("--token", help="who has it may look; SYNC_DASHBOARD_TOKEN is not seen in a list of processes")
    parser.add_argument("--show-keys", action="store_true", help="show keys of rows (they may be private)")


def _switches(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    texts = {
        "cutover": "make Postgres primary after checks; running writers follow without a restart; exit code 2 if one fails",
        "rollback": "make Astra primary again, after the same checks; nothing that was written since is lost",
        "finish": "end the migration: drop its bookkeeping; Astra is not changed",
    }
    for name, text in texts.items():
        parser = _command(commands, name, text)
        parser.add_argument("--dry-run", action="store_true", help="show the gates, and change nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        if name != "finish":
            many = parser.add_mutually_exclusive_group()
            many.add_argument("--writers", type=_natural, help="require this number of registered writers")
            many.add_argument("--no-writers", action="store_true", help="require that no writer is registered")
        if name == "rollback":
            parser.add_argument(
                "--fast",
                action="store_true",
                help="for emergencies: takes seconds, skips the drift passes, and says what it waives",
            )


def _follow(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    """`sync follow FEED`: each feed's own arguments; `sync.commands.follow.FEEDS` makes the feeds."""
    parser = commands.add_parser(
        "follow", help="record which keys others change", description="record which keys others change"
    )
    parser.set_defaults(run="follow")
    feeds = parser.add_subparsers(dest="feed", required=True, metavar="FEED")
    keys = _feed(feeds, "keys", "changed keys as JSON lines")
    keys.add_argument("file", metavar="FILE", help="a file, or - for what is piped in")
    keys.add_argument("--name", help="what the feed is called in `sync status` (its file)")
    keys.add_argument("--wait", action="store_true", help="wait for further lines at the end of the file")
    pulsar = _feed(feeds, "pulsar", "topics of Astra's or DataStax's change data capture; settings: SYNC_PULSAR_*")
    pulsar.add_argument(
        "--topic", action="append", required=True, metavar="[TABLE=]TOPIC",
        help="a data topic, of the table that its name ends with, or of TABLE (may be repeated)",
    )  # fmt: skip
    _commitlog(_feed(feeds, "commitlog", "the commit log of a Cassandra node; runs beside each node"))
    forget = _command(feeds, "forget", "forget a feed that nobody follows any more, so that a cut-over does not wait for it")
    forget.set_defaults(run="follow")
    forget.add_argument("name", metavar="NAME", help="as `sync status` shows it")


def _commitlog(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cdc-raw", type=Path, required=True, metavar="DIR", help="the node's cdc_raw_directory")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where segments wait to be read (sync_commitlog beside cdc_raw)"
    )
    parser.add_argument("--node", metavar="ADDRESS", help="whose cdc_raw it is (the node on this machine)")
    parser.add_argument(
        "--max-folder-mb", type=_positive, default=8192, metavar="MB", help="how much may wait to be read (8192)"
    )


def _feed(feeds: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    parser = _command(feeds, name, text)
    parser.set_defaults(run="follow")
    _quiet(parser)
    return parser


def _drift(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = _command(commands, "drift-report", "compare every row of both sides under live traffic; exit code 2 on drift")
    parser.set_defaults(run="drift_report")
    _table_options(parser)
    parser.add_argument(
        "--restart", action="store_true", help="restart a stopped pass from the beginning, without its verdicts"
    )
    parser.add_argument("--repair", action="store_true", help="reconcile rows that differ, and check them again")
    parser.add_argument("--sample-search", type=_natural, default=0, metavar="N", help="also search both sides N times")
    parser.add_argument("--show-values", action="store_true", help="show the values of both sides (they may be private)")
    parser.add_argument("--history", action="store_true", help="list earlier passes; compares nothing")
    parser.add_argument("--continuous", action="store_true", help="pass after pass, until Ctrl-C; each is recorded")
    parser.add_argument("--rest", type=_natural, default=60, metavar="SECONDS", help="between two passes (60)")
    parser.add_argument(
        "--share", type=_share, default=1.0, help="rest longer, so that passes take this share of the time (1)"
    )
    _rate(parser)
    parser.add_argument(
        "--format", choices=["table", "json", "html", "csv"], default="table", help="format of the report (table)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report to this file")


def _table_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", action="append", metavar="NAME", help="only this table (may be repeated)")
    parser.add_argument(
        "--workers", type=_natural, default=os.cpu_count() or 1, help="number of worker processes to start (cores)"
    )
    _quiet(parser)


def _quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="print no progress; errors and the result remain")


def _run_options(parser: argparse.ArgumentParser) -> None:
    _table_options(parser)
    parser.add_argument("--writers", type=_natural, help="require this number of registered writers")
    _rate(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan, and write nothing")


def _rate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=_positive, metavar="ROWS", help="maximum rows per second, all workers together")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0.001 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: a number from 0.001 to 1")
    return share


def _natural(text: str) -> int:
    return _whole(text, 0)


def _port(text: str) -> int:
    port = _whole(text, 0)
    if port > 65535:
        raise argparse.ArgumentTypeError(f"{port} is too large: a port is at most 65535")
    return port


def _positive(text: str) -> int:
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"{value} is too small: it must be at least {least}")
    return value
