"""A headless Chromium, spoken to over two pipes: the DevTools protocol needs no library, and no port.

The browser is the machine's own (`chromium`, `chromium-headless-shell` or `google-chrome`), or `SYNC_TEST_CHROMIUM`.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0


def installed() -> str | None:
    """The browser's program, where there is one."""
    return os.environ.get("SYNC_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of one browser; what it logs is kept in `complaints`, what it would load in `requests`."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._rest, self._last, self._session = send, receive, b"", 0, ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.loaded = 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Send a command and wait for its result."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._receive], [], [], max(0.0, until - time.monotonic()))
            read = os.read(self._receive, 1 << 20) if ready else b""
            if not read:
                raise TimeoutError("the browser says nothing" if not ready else "the browser has gone")
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(params["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded += 1

    def open(self, page: Path) -> None:
        """Load a file and wait until it has loaded."""
        self.visit(page.as_uri())

    def visit(self, address: str) -> None:
        """Load a page and wait until it has loaded."""
        before = self.loaded
        self.complaints, self.requests = [], []
        self.call("Page.navigate", url=address)
        while self.loaded == before:
            self._note(self._next())

    def look(self, width: int, dark: bool, height: int = 900, script: bool = True, media: str = "screen") -> None:
        """Emulate a screen of this width and colour scheme, or paper."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key, as `KeyboardEvent.key` names it, with its virtual key code."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def picture(self, file: Path, height: int | None = None) -> None:
        """The whole page, or its first `height`, as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))

    def paper(self, file: Path) -> None:
        """The page as a PDF."""
        self.call("Emulation.setEmulatedMedia", media="print", features=[])
        file.write_bytes(base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"]))


def _as_3_and_4(commands: int, answers: int) -> None:
    """In the child: make the pipes the descriptors 3 and 4, which the browser reads and writes, whatever they were before."""
    high = [fcntl.fcntl(pipe, fcntl.F_DUPFD, 10) for pipe in (commands, answers)]
    os.dup2(high[0], 3)
    os.dup2(high[1], 4)


@contextlib.contextmanager
def chromium(program: str) -> Iterator[Browser]:
    """A browser with a profile of its own; it reads commands from descriptor 3 and answers on 4."""
    commands, send = os.pipe()
    receive, answers = os.pipe()
    with tempfile.TemporaryDirectory(prefix="sync-chromium-", ignore_cleanup_errors=True) as profile:
        flags = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run", "--disable-gpu",
                 "--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars"]  # fmt: skip
        # The sandbox needs user namespaces, which containers often refuse, and it will not run as root; the page is ours.
        process = subprocess.Popen(
            [program, "--no-sandbox", *flags], preexec_fn=lambda: _as_3_and_4(commands, answers), pass_fds=(3, 4),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        try:
            yield Browser(send, receive)
        finally:
            os.close(send)
            os.close(receive)
            process.terminate()
            process.wait(20)
