"""The command line as its users see it: a process with an environment of its own, what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sync.settings import Settings

ROOT = Path(__file__).parent.parent.parent
_SECRET_NAMES = ("POSTGRES_PASSWORD", "CASSANDRA_PASSWORD", "ASTRA_DB_APPLICATION_TOKEN", "PGPASSWORD")
_SECRET_IN_URL = re.compile(r"://[^:@/]*:(.+)@|password=(\S+)")
_ERROR = "error    "
_ANSI = "\x1b["
SECRET = "hunter2"
"""Every made-up password contains it, so that printing even a part of one is noticed."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed for programs: all of stdout is one JSON value on one line."""
        assert self.out.count("\n") == 1, self
        return json.loads(self.out)


class Zygote:
    """The process that forks commands; started with the first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, order: dict[str, Any], timeout: float) -> int:
        """Run one command; its exit code."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("zygote.py"))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        if not ready:
            self.end()
            raise AssertionError(f"no end after {timeout} s: {order['argv']}; {Path(order['err']).read_text()}")
        return int(self._process.stdout.readline())

    def end(self) -> None:
        """End it, and whatever it started."""
        if self._process:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@dataclass
class Commands:
    """Runs commands in one folder with one environment: nothing of the caller's environment reaches them."""

    folder: Path
    env: dict[str, str]
    zygote: Zygote = field(default_factory=Zygote)

    def but(self, **changes: str | None) -> Commands:
        """The same with other variables; None removes one."""
        env = {k: v for k, v in {**self.env, **changes}.items() if v is not None}
        return Commands(self.folder, env, self.zygote)

    def run(self, *argv: str, timeout: float = 240) -> Done:
        """Run `sync <argv>` to its end; whatever the command, it prints no secret, no traceback and no colours."""
        out, err = self.folder / "stdout.txt", self.folder / "stderr.txt"
        out.write_text("")
        err.write_text("")
        order = {"argv": argv, "env": self._whole(), "cwd": str(self.folder), "out": str(out), "err": str(err)}
        code = self.zygote.run(order, timeout)
        return self._checked(Done(code, out.read_text(), err.read_text()))

    def fresh(self, *argv: str, timeout: float = 240) -> Done:
        """The same in a new Python, as `python -m sync`."""
        return self.ended(self.start(*argv), timeout)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start `python -m sync <argv>` and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "sync", *argv], cwd=self.folder, env=self._whole(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ended(self, process: subprocess.Popen[str], timeout: float = 240) -> Done:
        """What a started command did."""
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return self._checked(Done(process.returncode, out, err))

    def line(self, *argv: str) -> str:
        """The single line with which a command ends that cannot do its work; exit code 1."""
        done = self.run(*argv)
        assert done.code == 1, done
        assert not done.out, done
        prefix = f"sync {argv[0]}: "
        assert done.err.startswith(prefix), done
        assert done.err.count("\n") == 1, done
        return done.err.removeprefix(prefix).strip()

    def rows(self) -> list[str]:
        """What preflight says blocks the migration, one line `where: what` each; exit code 1."""
        done = self.run("preflight")
        assert (done.code, done.err) == (1, ""), done
        assert re.search(r"\nNot ready: [\d,]+ errors? to fix first\.\n$", done.out), done
        return [line.removeprefix(_ERROR) for line in done.out.splitlines() if line.startswith(_ERROR)]

    def _whole(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        return {**kept, "HOME": str(self.folder), "LANG": "C.UTF-8", **self.env}

    def _checked(self, done: Done) -> Done:
        said = done.out + done.err
        assert "Traceback" not in said, said
        assert _ANSI not in said, said
        for secret in {SECRET} | secrets_of(self.env):
            assert secret not in said, "a secret was printed"
        return done


def secrets_of(env: Mapping[str, str]) -> set[str]:
    """Every password and token that these variables hold, as written and percent-decoded."""
    found = {env[name] for name in _SECRET_NAMES if env.get(name)}
    for value in env.values():
        found |= {group for match in _SECRET_IN_URL.finditer(value) for group in match.groups() if group}
    return found | {unquote(secret) for secret in found}


def environment(settings: Settings) -> dict[str, str]:
    """Settings as the variables they come from."""
    found = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            found[name.upper()] = str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
    return found
