"""Sorts what the driver raises: too much for one request, the source is temporarily unavailable, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cassandra import DriverException, OperationTimedOut, ReadFailure, ReadTimeout, Unavailable
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.protocol import ErrorMessage, IsBootstrappingErrorMessage, OverloadedErrorMessage

from sync.adapters.cassandra.connection.guardrails import guardrail
from sync.adapters.cassandra.connection.roles import unknown_role
from sync.errors import SourceAway, SourceTimeout, SourceUnavailable

_NOT_NOW = (Unavailable, OverloadedErrorMessage, IsBootstrappingErrorMessage, ConnectionException)
TOMBSTONES = (
    "more dead cells than tombstone_failure_threshold allows: wait for gc_grace_seconds and compact the table "
    "(nodetool compact), or raise the threshold on its replicas for as long as the copy takes"
)


@contextmanager
def source_errors() -> Iterator[None]:
    """Turn what the driver raises into SourceTimeout, SourceAway or SourceUnavailable."""
    try:
        yield
    except (ReadTimeout, OperationTimedOut, ReadFailure) as error:
        # ReadFailure: a replica gave up, most often on tombstones or on a page too large for it.
        raise SourceTimeout(_words(error)) from None
    except (NoHostAvailable, ConnectionException, DriverException, ErrorMessage) as error:
        raise (SourceAway if is_away(error) else SourceUnavailable)(_words(error)) from None


def is_away(error: Exception) -> bool:
    """Whether the same request may succeed later; an error that a node would return every time is no outage."""
    if isinstance(error, NoHostAvailable):
        causes = list(error.errors.values()) if isinstance(error.errors, dict) else []
        return all(isinstance(c, _NOT_NOW) or not isinstance(c, ErrorMessage) or unknown_role(str(c)) for c in causes)
    return isinstance(error, _NOT_NOW) or bool(unknown_role(str(error)))


def _words(error: Exception) -> str:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if forbidden := guardrail(text):
        return forbidden
    return f"{text}; {TOMBSTONES}" if "TOMBSTONES" in text else text
