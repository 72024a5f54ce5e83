"""The client, and what is wrong with it in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sync.adapters.pulsar.pulsar_settings import PulsarSettings
from sync.errors import PreflightError, SettingsError, Unreachable, UnreachableNow

_ANSWER_SECONDS, _CONNECT_SECONDS = 10, 5


def load_pulsar() -> Any:
    """The client's module. Raises SettingsError where the extra is not installed."""
    try:
        import fastavro  # noqa: F401
        import pulsar
    except ImportError:
        raise SettingsError("sync follow pulsar needs pulsar-client and fastavro: pip install '.[pulsar]'") from None
    return pulsar


@contextmanager
def open_client(settings: PulsarSettings) -> Iterator[Any]:
    """A client, which connects at the first call. Raises SettingsError."""
    pulsar = load_pulsar()
    url, token, ca = settings.checked_url, settings.sync_pulsar_token, settings.sync_pulsar_ca_path
    if ca is not None and not ca.is_file():
        raise SettingsError(f"SYNC_PULSAR_CA_PATH: there is no file {ca}")
    client = pulsar.Client(
        url,
        authentication=pulsar.AuthenticationToken(token.get_secret_value()) if token else None,
        operation_timeout_seconds=_ANSWER_SECONDS,
        connection_timeout_ms=_CONNECT_SECONDS * 1000,
        tls_trust_certs_file_path=str(ca) if ca else None,
        tls_validate_hostname=True,  # the client's own default is False
        logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull),  # it would print to stdout; errors are raised
    )
    try:
        yield client
    finally:
        client.shutdown()  # without waiting for the server, which may be away


@contextmanager
def explained(settings: PulsarSettings, topic: str) -> Iterator[None]:
    """Errors of the client about a topic as the project's, one line each: a mistake, or something that may pass."""
    pulsar, server = load_pulsar(), settings.server
    try:
        yield
    except (pulsar.AuthenticationError, pulsar.AuthorizationError):
        raise Unreachable(f"{server}: {topic}: the token is refused, or may not consume it: see SYNC_PULSAR_TOKEN") from None
    except (pulsar.TopicNotFound, pulsar.InvalidTopicName):
        raise PreflightError(f"{server}: there is no topic {topic}: is change data capture on for the table?") from None
    except pulsar.ConsumerBusy:
        other = "another follower runs; else give each its own SYNC_PULSAR_SUBSCRIPTION"
        raise PreflightError(
            f"{server}: {topic}: the subscription {settings.sync_pulsar_subscription!r} is in use: {other}"
        ) from None
    except (pulsar.Timeout, pulsar.ConnectError, pulsar.NotConnected, pulsar.LookupError, pulsar.ServiceUnitNotReady):
        raise UnreachableNow(
            f"{server}: {topic}: no answer: see SYNC_PULSAR_URL and, with pulsar+ssl, the certificate"
        ) from None
    except pulsar.PulsarException as error:
        raise Unreachable(f"{server}: {topic}: {' '.join(str(error).split()) or type(error).__name__}") from None
