"""Sends one JSON object to an address, once: no retry, no redirect, and no longer than it may take.

A short process of its own sends it: a name that is looked up for long, or an answer that drips, passes every timeout of a
socket, and a thread that is left behind in a command that forks may hold a lock that its workers then wait for.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from sync.errors import Unreachable

_START_SECONDS = 30.0
_LATE = "no answer in time"


class Sending:
    """A POST that is under way. The process ends by itself, also where nobody waits for it."""

    def __init__(self, url: str, timeout_seconds: float, body: Mapping[str, Any]) -> None:
        """Raises Unreachable where no process can be started."""
        self._host, self._timeout = urlsplit(url).hostname, timeout_seconds
        try:
            # Not in this session: it is not told of Ctrl-C. The address is a secret, which an argument would show.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sync.adapters.webhook"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Unreachable(f"webhook at {self._host}: no process to send it: {error.strerror}") from None
        assert self._process.stdin
        with suppress(BrokenPipeError), self._process.stdin as stdin:  # if it has ended, its exit code says so
            stdin.write(json.dumps([url, timeout_seconds, body]).encode())
        self._process.stdin = None

    @property
    def ended(self) -> bool:
        """Whether `wait` would return at once."""
        return self._process.poll() is not None

    def wait(self) -> None:
        """Wait for the answer. Raises Unreachable, with the host and without the rest of the address, unless it is 2xx."""
        why = _LATE
        with suppress(subprocess.TimeoutExpired):
            said, _ = self._process.communicate(timeout=self._timeout + _START_SECONDS)
            why = said.decode() if not self._process.returncode else f"what sends it ended with {self._process.returncode}"
        if why:
            self.stop()
            raise Unreachable(f"webhook at {self._host}: {why}")

    def stop(self) -> None:
        """Give it up."""
        self._process.kill()
        self._process.communicate()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none: the address may be a secret, and a POST that is redirected becomes a GET."""


def _main() -> None:
    url, timeout_seconds, body = json.load(sys.stdin)
    failed = [_LATE]
    thread = Thread(target=_send, args=(url, timeout_seconds, body, failed), daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    sys.stdout.write(failed[-1])


def _send(url: str, timeout_seconds: float, body: Mapping[str, Any], failed: list[str]) -> None:
    request = urllib.request.Request(
        url,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "User-Agent": "dual-write-sync"},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_seconds):
            failed.append("")
    except urllib.error.HTTPError as error:
        failed.append(f"it answered {error.code}")
        error.close()
    except TimeoutError:
        failed.append(_LATE)
    except (OSError, http.client.HTTPException, ValueError) as error:  # their texts may quote the address
        reason = getattr(error, "reason", error)
        failed.append(getattr(reason, "strerror", None) or type(reason).__name__)


if __name__ == "__main__":
    _main()
