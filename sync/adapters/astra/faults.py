"""What a failed call to the Data API means: whether anything can have been written, and whether to try again."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from astrapy.exceptions import (
    DataAPIException,
    DataAPIHttpException,
    DataAPIResponseException,
    DataAPITimeoutException,
    UnexpectedDataAPIResponseException,
)
from astrapy.exceptions.error_descriptors import DataAPIErrorDescriptor

ERRORS = (DataAPIException, httpx.HTTPError, ValueError)
"""All that astrapy raises for a request: a cut connection is httpx's own error, a value without JSON form a ValueError."""

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOTHING_DONE = frozenset({"UNAVAILABLE_DATABASE", "FAILED_CONCURRENT_OPERATIONS", "FAILED_TO_CONNECT_TO_DATABASE"})
_CREDENTIALS = frozenset({"UNAUTHENTICATED_REQUEST", "UNAUTHORIZED_ACCESS", "MISSING_AUTHENTICATION_TOKEN"})
_NEVER = frozenset({"UNSUPPORTED_DATABASE_QUERY"})
"""The database does not support the query that the API makes of the command, and never will."""
_MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Fault:
    """`certain`: nothing was or will be written. `passing`: the same request may succeed soon, after `after` seconds."""

    text: str
    certain: bool
    passing: bool
    credentials: bool = False
    after: float | None = None


def fault_of(error: BaseException) -> Fault:
    """What a failed request means."""
    if isinstance(error, DataAPIHttpException):
        return _of_status(error)
    if isinstance(error, DataAPIResponseException):
        return _of_answer(error.error_descriptors)
    if isinstance(error, DataAPITimeoutException):
        return Fault("it did not answer in time", error.timeout_type in ("connect", "pool"), True)
    if isinstance(error, UnexpectedDataAPIResponseException):
        return Fault(_line(error), False, True)  # cut short, or a proxy's page in its place
    if isinstance(error, httpx.TransportError):
        return Fault(f"the connection failed ({_line(error)})", isinstance(error, _NOT_SENT), True)
    return Fault(_line(error), True, False)


def _of_status(error: DataAPIHttpException) -> Fault:
    status = error.response.status_code
    if status in (401, 403):
        return _credentials()
    if status == 429:
        return Fault("too many requests: its rate limit is reached", True, True, after=_after(error.response))
    text = _message(error.error_descriptors) or f"HTTP status {status}"
    return Fault(text, status < 500 and status != 408, status in _PASSING, after=_after(error.response))


def _after(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _credentials() -> Fault:
    text = "the credentials were refused; check ASTRA_DB_APPLICATION_TOKEN, or CASSANDRA_USERNAME and CASSANDRA_PASSWORD"
    return Fault(text, True, False, credentials=True)


def _of_answer(found: list[DataAPIErrorDescriptor]) -> Fault:
    """What an answer with errors means: a bad request wrote nothing; a server's error may come after a write."""
    if any(e.error_code in _CREDENTIALS for e in found):
        return _credentials()
    text = _message(found) or "an error without a message"
    # A rate limit appears as Cassandra's own Overloaded, which is answered before anything is done.
    overloaded = any("overloaded" in f"{e.error_code} {e.message}".lower() for e in found)
    if overloaded:
        return Fault("it is overloaded: its rate limit is reached", True, True)
    of_request = bool(found) and all(e.family == "REQUEST" or e.error_code in _NEVER for e in found)
    nothing = of_request or all(e.error_code in _NOTHING_DONE for e in found)
    return Fault(text, nothing, not of_request)


def _message(found: list[DataAPIErrorDescriptor]) -> str:
    lines = [f"{' '.join((e.message or e.title or '').split())} ({e.error_code})" for e in found]
    return "; ".join(lines)[:_MAX_TEXT]


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:_MAX_TEXT]
