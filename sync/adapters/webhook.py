"""Sends one JSON object to an address, once: no retry, no redirect, and no longer than it may take."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from sync.errors import Unreachable


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none: the address may be a secret, and a POST that is redirected becomes a GET."""


def post(url: str, timeout_seconds: float, body: Mapping[str, Any]) -> None:
    """POST the object. Raises Unreachable, with the host and without the rest of the address, unless the answer is 2xx."""
    failed: list[str] = ["no answer in time"]
    # A name that is looked up for long, or an answer that drips, passes every timeout of a socket.
    thread = Thread(target=_send, args=(url, timeout_seconds, body, failed), name="sync-webhook", daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    if why := failed[-1]:
        raise Unreachable(f"webhook at {urlsplit(url).hostname}: {why}")


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
        failed.append("no answer in time")
    except (OSError, http.client.HTTPException, ValueError) as error:  # their texts may quote the address
        reason = getattr(error, "reason", error)
        failed.append(getattr(reason, "strerror", None) or type(reason).__name__)
