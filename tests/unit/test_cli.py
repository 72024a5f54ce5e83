"""The command line without any server: help, arguments, errors, and what it prints where."""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from support.commands import Commands, Done

from sync.arguments import build_parser
from sync.cli import main
from sync.commands import rejects
from sync.errors import Interrupted

NO_SERVER = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1", "POSTGRES_DATABASE": "d", "POSTGRES_USER": "u"}
HERE = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")
DRIVERS = ("cassandra", "psycopg", "redis", "rq", "pydantic", "numpy", "rich", "music21", "astrapy", "sync.settings")
WRONG = (
    [],
    ["nosuch"],
    ["schema"],
    ["schema", "drop"],
    ["schema", "apply", "--dimension", "0"],
    ["backfill", "--workers", "-1"],
    ["backfill", "--workers", "two"],
    ["backfill", "--rate", "0"],
    ["backfill", "--nosuch"],
    ["migrate", "--sample", "0"],
    ["rejects", "--limit", "x"],
    ["status", "more"],
    ["drift-report", "--workers", "-1"],
    ["drift-report", "--format", "pdf"],
    ["drift-report", "--rate", "0"],
    ["drift-report", "--share", "0"],
    ["drift-report", "--share", "1.1"],
    ["drift-report", "--share", "half"],
    ["drift-report", "--share", "nan"],
    ["drift-report", "--sample-search", "x"],
    ["worker", "-n", "0"],
    ["local", "sideways"],
)


def subcommands() -> dict[str, argparse.ArgumentParser]:
    """Every command's parser."""
    (found,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found.choices)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """Commands whose database is unreachable."""
    return Commands(tmp_path, dict(NO_SERVER))


def test_the_parser_needs_no_driver() -> None:
    """`sync --help` must answer at once: the drivers take most of a second to import."""
    code = f"import sys; from sync.cli import build_parser; build_parser(); print([m for m in {DRIVERS} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", sorted(subcommands()))
def test_a_command_starts_without_what_it_never_uses(name: str) -> None:
    """Would break: where OpenTelemetry's SDK and numpy are installed, each command takes a third longer to start."""
    code = (
        f"import sys; from sync.cli import import_command; import_command({subcommands()[name].get_default('run')!r}); "
        "print([m for m in ('numpy', 'opentelemetry.sdk.metrics') if m in sys.modules]); import opentelemetry.sdk.metrics, numpy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Would break: nobody can say which version a host runs."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"sync {version('dual-write-sync')}\n")


@pytest.mark.parametrize("command", ["", *subcommands()])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command's help goes to stdout, with exit code 0, and explains each option."""
    with pytest.raises(SystemExit) as end:
        main([command, "--help"] if command else ["--help"])
    shown = capsys.readouterr()
    assert (end.value.code, shown.err) == (0, "")
    parser = subcommands()[command] if command else build_parser()
    for action in parser._actions:
        for option in action.option_strings:
            assert option in shown.out
    assert parser.description
    assert "  " + (command or "backfill") in build_parser().format_help()


def test_everything_that_reports_does_so_for_programs() -> None:
    """`--json` on every command but those that never end; `follow` has commands of its own, which have it."""
    (feeds,) = (a for a in subcommands()["follow"]._actions if isinstance(a, argparse._SubParsersAction))
    every = {**subcommands(), **{f"follow {name}": parser for name, parser in feeds.choices.items()}}
    assert {name for name, parser in every.items() if "--json" not in parser._option_string_actions} == {
        "worker",
        "follow",
        "dashboard",
    }


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_arguments_are_an_error_of_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 is for drift and gates: a script must not take a typing error for either."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    shown = capsys.readouterr()
    assert (end.value.code, shown.out) == (1, "")
    assert shown.err.startswith("sync")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backfill", "--workers", "abc"], "argument --workers: 'abc' is not a whole number"),
        (["backfill", "--workers", "-1"], "argument --workers: -1 is too small: it must be at least 0"),
        (["worker", "-n", "0"], "argument -n: 0 is too small: it must be at least 1"),
        (["intents", "--limit", "2.5"], "argument --limit: '2.5' is not a whole number"),
    ],
)
def test_a_wrong_number_is_said_in_plain_words(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Would break: `invalid _natural value: 'abc'`."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "stopped; nothing is lost. Resume with: sync rejects --table 'Order Lines'\n"),
        (
            Interrupted("the copied rows stay"),
            "stopped; the copied rows stay. Resume with: sync rejects --table 'Order Lines'\n",
        ),
    ],
)
def test_ctrl_c_is_130_and_says_how_to_go_on(
    error: BaseException, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would break: a script takes Ctrl-C for an error, and its user does not know how to resume."""

    def interrupted(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(rejects, "run", interrupted)
    assert main(["rejects", "--table", "Order Lines"]) == 130
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", said)


def test_what_is_long_can_be_quiet() -> None:
    """Would break: a cron job mails its progress."""
    quiet = {name for name, parser in subcommands().items() if "--quiet" in parser._option_string_actions}
    assert quiet == {"backfill", "migrate", "drift-report", "worker"}


def test_python_m_and_the_script_are_one(commands: Commands) -> None:
    """coreutils has a `sync` of its own: `python -m sync` must do the same as ours."""
    module = commands.fresh("status")
    script = subprocess.run(
        [Path(sys.executable).parent / "sync", "status"],
        cwd=commands.folder,
        env={**HERE, **NO_SERVER},
        capture_output=True,
        text=True,
        check=False,
    )
    assert module == Done(script.returncode, script.stdout, script.stderr)
    assert module.code == 1
    assert module.err.startswith("sync status: Postgres at 127.0.0.1:1/d: nothing listens there;")
    assert module.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["status"], ["rejects"], ["status", "--json"], ["rejects", "--json", "--table", "t"]])
def test_an_error_leaves_stdout_empty(commands: Commands, arguments: list[str]) -> None:
    """Half a JSON value, or an error where a value is expected, breaks the program that reads it."""
    try:
        assert commands.line(*arguments).startswith("Postgres at 127.0.0.1:1/d: nothing listens there;")
    finally:
        commands.zygote.end()


def test_an_error_of_ours_is_one_line_too(tmp_path: Path) -> None:
    """A programming error shows no traceback, unless SYNC_DEBUG asks for it."""
    code = (
        "import sys, sync.commands.status as s\n"
        "def broken(_): raise KeyError('a\\nb')\n"
        "s.run = broken\n"
        "from sync.cli import main\n"
        "sys.exit(main(['status']))"
    )
    for debug in (False, True):
        env = {**os.environ, **({"SYNC_DEBUG": "1"} if debug else {})}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert ("Traceback" in done.stderr) == debug
        if not debug:
            assert done.stderr.count("\n") == 1
            assert done.stderr.startswith("sync status: KeyError: ")


def test_an_error_of_ours_has_no_text_in_a_json_log(tmp_path: Path) -> None:
    """Would break: an error that quotes a row's values sends them to whoever collects the logs."""
    code = (
        "import sys, sync.commands.status as s\n"
        "def broken(_): raise ValueError('planted private value')\n"
        "s.run = broken\n"
        "from sync.cli import main\n"
        "sys.exit(main(['status']))"
    )
    env = {**os.environ, "SYNC_LOG": "json"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    line = json.loads(done.stderr)
    assert line["message"].startswith("sync status: unexpected error") and line["level"] == "error"
    assert line["exception"] == "ValueError" and line["at"]
    assert "private" not in done.stderr


def test_a_result_for_programs_is_one_value_on_stdout(commands: Commands) -> None:
    """`sync local status` of an empty folder needs no server."""
    done = commands.fresh("local", "status", "--folder", str(commands.folder / "none"), "--json")
    assert done.code == 1
    assert {server["name"] for server in done.json} == {"Cassandra", "Postgres", "Valkey"}
    assert not (commands.folder / "none").exists()


def on_a_terminal(folder: Path, *arguments: str, **env: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sync", *arguments],
        cwd=folder,
        env={**HERE, "TERM": "xterm-256color", "COLUMNS": "100", **NO_SERVER, **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux's way of saying that the other side is closed
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    process.wait(30)
    return written.decode()


def test_no_color_is_obeyed(tmp_path: Path) -> None:
    """https://no-color.org; and a terminal that can do nothing gets no escape sequences."""
    arguments = ("local", "status", "--folder", str(tmp_path / "none"))
    assert "\x1b[" in on_a_terminal(tmp_path, *arguments)
    assert not COLOUR.search(on_a_terminal(tmp_path, *arguments, NO_COLOR="1"))
    assert "\x1b[" not in on_a_terminal(tmp_path, *arguments, TERM="dumb")


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """`sync … | head`: no traceback."""
    command = f'{sys.executable} -m sync local status --folder {tmp_path / "none"} 2>"{tmp_path}/err" | true'
    subprocess.run(["/bin/sh", "-c", command], check=True, timeout=60, env=HERE, cwd=tmp_path)
    assert (tmp_path / "err").read_text() == ""


def test_json_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, whatever the width of the terminal; texts are unchanged."""
    from sync.console import print_json

    value = {"a": "ü" * 500, "b": ["[bold]x"]}
    print_json(value)
    shown = capsys.readouterr().out
    assert (json.loads(shown), shown.count("\n")) == (value, 1)
