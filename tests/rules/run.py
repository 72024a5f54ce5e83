"""`python -m tests.rules.run [--rule 9]`: take each rule of the protocol out, in a copy, and see its test fail.

Prints a table: the rule, what happens without it, the test, the failure seen. Exit code 2 if a test did not fail.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.servers import given  # noqa: E402

from rules.mutants import MUTANTS, Mutant  # noqa: E402
from sync import local  # noqa: E402

COPIED = ("sync", "workers", "migrations", "tests", "pyproject.toml")


def main(argv: list[str]) -> int:
    """Run the mutants; 0, or 2 where one survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.rules.run", description=__doc__)
    parser.add_argument("--rule", action="append", help="only this one (may be repeated)")
    wanted = parser.parse_args(argv).rule
    survived = 0
    with tempfile.TemporaryDirectory() as name:
        servers = given() or Path(name) / "servers"
        local.up(servers)
        try:
            print("| rule | without it | test | the failure seen |\n| --- | --- | --- | --- |", flush=True)
            for number, mutant in enumerate(m for m in MUTANTS if not wanted or m.rule in wanted):
                failure = run(mutant, Path(name) / str(number), servers)
                survived += failure is None
                print(f"| {mutant.rule} | {mutant.without} | {mutant.test} | {failure or '**none**'} |", flush=True)
        finally:
            if not given():
                local.down(servers)
    return 2 if survived else 0


def run(mutant: Mutant, folder: Path, servers: Path) -> str | None:
    """The first failure of the mutant's test; None if it passed."""
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)  # type: ignore[operator]
    file = folder / mutant.file
    text = file.read_text()
    if text.count(mutant.old) != 1:
        raise SystemExit(f"rule {mutant.rule}: {mutant.file} has {text.count(mutant.old)} × {mutant.old!r}")
    file.write_text(text.replace(mutant.old, mutant.new))
    env = {**os.environ, "SYNC_TEST_SERVERS": str(servers), "PYTHONPATH": f"{folder}:{folder / 'tests'}"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        mutant.tests,
        "-k",
        mutant.test,
    ]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    shutil.rmtree(folder)
    if done.returncode not in (0, 1):
        raise SystemExit(f"rule {mutant.rule}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    errors = [line[1:].strip() for line in done.stdout.splitlines() if line.startswith("E ")]
    return errors[0].replace("|", "\\|")[:160] if done.returncode and errors else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
