"""What is wrong with REDIS_URL, or with the connection to the server, in one line."""

from __future__ import annotations

from urllib.parse import urlsplit

import redis

from sync.errors import SettingsError

NO_URL = (
    "REDIS_URL: it is not a Redis URL; it must look like redis://user:password@host:port/0 (rediss:// for TLS), with "
    "@ : / ? # % in the password as %40 %3A %2F %3F %23 %25"
)
_ADVICE = (
    ("wrong version number", "it does not speak TLS; write redis://, not rediss://, if that is intended"),
    ("record layer failure", "it does not speak TLS; write redis://, not rediss://, if that is intended"),
    ("unexpected_eof", "it does not speak TLS; write redis://, not rediss://, if that is intended"),
    (
        "hostname mismatch",
        "its TLS certificate is for another host name; connect by the name in the certificate",
    ),
    (
        "ip address mismatch",
        "its TLS certificate is for another host name; connect by the name in the certificate",
    ),
    (
        "certificate verify failed",
        "its TLS certificate is not trusted; add ?ssl_ca_certs=/path/ca.pem to REDIS_URL for your own authority",
    ),
    ("no such file", "the file named by ssl_ca_certs in REDIS_URL does not exist"),
    ("connection closed by server", "it closed the connection; if it requires TLS, write rediss:// in REDIS_URL"),
    ("reset by peer", "it closed the connection; if it requires TLS, write rediss:// in REDIS_URL"),
    ("connection refused", "nothing listens there; check REDIS_URL, and that the server runs"),
)


def check_url(url: str) -> None:
    """Raise SettingsError if part of the password would be taken for the host or the database, or a variable stands in it."""
    if "${" in url:
        raise SettingsError(
            "REDIS_URL: a variable in it was not replaced (`docker run --env-file` and Kubernetes take lines as they are); "
            "write its value"
        )
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise SettingsError(NO_URL) from None
    if parts.scheme == "unix":
        return
    if "@" in parts.path + parts.fragment or (host is None and "@" in parts.query):
        raise SettingsError(NO_URL)


def explain(error: BaseException, connection: redis.Redis | None = None) -> str:
    """What went wrong and what to do, without a secret."""
    if isinstance(error, redis.AuthenticationError):
        return "the password was refused; check REDIS_URL"
    text = "no answer in time" if isinstance(error, redis.TimeoutError) else " ".join(str(error).split())
    for symptom, advice in _ADVICE:
        if symptom in text.lower():
            return advice
    wants_tls = connection is not None and issubclass(connection.connection_pool.connection_class, redis.SSLConnection)
    if wants_tls and isinstance(error, redis.TimeoutError):  # a server without TLS waits for the end of the greeting
        return f"{text}; if it does not speak TLS, write redis://, not rediss://, in REDIS_URL"
    return f"{text}; check REDIS_URL"
