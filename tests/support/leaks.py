"""No log of the suite holds a secret or a planted value: every process that a test starts, and every log line of its own.

A planted value contains `SECRET`, as does a made-up password. Processes are those that `subprocess` starts with this Python or
with a script of its environment; what they print is looked through in the files that they were given, and where it is collected
by `communicate` or `run`; what has the tests' own stderr, in what pytest captures. Commands of the zygote are checked by
`Commands`.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from support.commands import SECRET, secrets_of
from sync.json_log import JsonLines

_SHORTEST = 6
"""A shorter password, as some tests make, is part of other words."""
_OWN = Path(sys.executable).parent


@dataclass
class _Printed:
    """A file that a process writes, and how much of it was looked through."""

    file: IO[bytes]  # opened at once: a test may remove its folder
    process: subprocess.Popen[Any]
    what: str
    secrets: frozenset[str]
    seen: int = 0

    def leaks(self) -> bool:
        half = max(len(secret) for secret in self.secrets) - 1  # may have been written at the last look
        self.file.seek(max(0, self.seen - half))
        text = self.file.read()
        self.seen = self.file.tell()
        return holds(text, self.secrets)


@dataclass
class Leaks:
    """What was found since the last look."""

    found: list[str] = field(default_factory=list)
    printed: list[_Printed] = field(default_factory=list)
    secrets: set[str] = field(default_factory=lambda: {SECRET})

    def look(self) -> list[str]:
        """Who has said a secret since the last look; of each the name alone."""
        over = [each for each in self.printed if each.process.returncode is not None]
        found = [*self.found, *(each.what for each in self.printed if each.leaks())]
        self.found.clear()
        for each in over:  # since before it was looked through
            each.file.close()
            self.printed.remove(each)
        return found


LEAKS = Leaks()


def holds(said: str | bytes | None, secrets: frozenset[str] | set[str]) -> bool:
    """Whether a secret is in it."""
    data = said.encode() if isinstance(said, str) else said or b""
    return any(secret.encode() in data for secret in secrets)


class _Popen(subprocess.Popen[Any]):
    _secrets: frozenset[str] = frozenset()
    _what = ""

    def __init__(self, args: Any, *more: Any, **options: Any) -> None:
        words = [os.fsdecode(word) for word in ([args] if isinstance(args, str | bytes | os.PathLike) else args)]
        files = {name: Path(path) for name in ("stdout", "stderr") if isinstance(path := _name(options.get(name)), str)}
        there = {name: path.stat().st_size for name, path in files.items() if path.exists()}  # is somebody else's
        super().__init__(args, *more, **options)
        if Path(words[0]).parent != _OWN or any(Path(word).name == "pytest" for word in words[:3]):
            return  # pytest prints the names of tests
        env = {os.fsdecode(k): os.fsdecode(v) for k, v in (options.get("env") or os.environ).items()}
        secrets = {secret for secret in secrets_of(env) if len(secret) >= _SHORTEST}
        LEAKS.secrets |= secrets
        self._secrets, self._what = frozenset(secrets | {SECRET}), " ".join(word[:40] for word in words[:5])
        for name, path in files.items():
            file = path.open("rb")
            LEAKS.printed.append(_Printed(file, self, f"{self._what}: {name}", self._secrets, there.get(name, 0)))

    def communicate(self, *arguments: Any, **options: Any) -> Any:
        out, err = super().communicate(*arguments, **options)
        if self._secrets and (holds(out, self._secrets) or holds(err, self._secrets)):
            LEAKS.found.append(self._what)
        return out, err


def _name(file: Any) -> Any:
    return getattr(file, "name", None)


class _Lines(logging.Handler):
    """Looks through each line as an application prints it, and as JSON."""

    _formatters: Sequence[logging.Formatter] = (logging.Formatter("%(message)s"), JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        for formatter in self._formatters:
            if holds(formatter.format(record), LEAKS.secrets):
                LEAKS.found.append(f"logger {record.name}, {record.module}:{record.lineno} ({type(formatter).__name__})")


def watch() -> None:
    """Look at every process that is started from now on, and at every line of this package's loggers."""
    subprocess.Popen = _Popen  # type: ignore[misc]
    log = logging.getLogger("sync")
    log.addHandler(_Lines())
    log.setLevel(logging.INFO)  # as with SYNC_LOG=json


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What pytest has captured: there are the lines of processes that have this process's own stderr."""
    report = yield
    if any(holds(text, LEAKS.secrets) for name, text in report.sections if name.endswith(f" {report.when}")):
        LEAKS.found.append(f"what pytest captured in {report.when} of {item.name.partition('[')[0]}")
    return report


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test during which a secret was said; `@pytest.mark.leaks` is for tests of this."""
    yield
    found = LEAKS.look()
    if request.node.get_closest_marker("leaks") is None:
        assert not found, f"a secret or a planted value was printed by {found}"
