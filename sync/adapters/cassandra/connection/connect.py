"""A Cassandra or Astra cluster from settings: contact points or a secure connect bundle, TLS, credentials, clear errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any
from zipfile import BadZipFile

from cassandra import (
    ConsistencyLevel,
    CoordinationFailure,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    Unauthorized,
    Unavailable,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    Session,
    UnresolvableContactPoints,
)
from cassandra.connection import locally_supported_compressions
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
)
from cassandra.protocol import ErrorMessage

from sync.adapters.cassandra.connection.data_centres import local_data_center
from sync.adapters.cassandra.connection.driver_log import quiet_driver
from sync.adapters.cassandra.connection.guardrails import guardrail
from sync.adapters.cassandra.connection.nodes import RecordingConvictionPolicy
from sync.adapters.cassandra.connection.pages import RAW_PROFILE, RawProtocolHandler, raw_row_factory
from sync.adapters.cassandra.connection.roles import RolesUnavailable, unknown_role
from sync.adapters.cassandra.connection.routing import RangeAwarePolicy
from sync.adapters.cassandra.connection.tls import NamedEndPoints, tls_context
from sync.adapters.cassandra.connection.wide import WideConnection
from sync.errors import SettingsError, Unreachable
from sync.settings import Settings

AT_ONCE = 128
"""So many requests of batches are under way at once, however many threads send them: as many as a node works on by default
(`native_transport_max_threads`)."""
WRITE_PROFILE, SERIAL_PROFILE, LIGHTWEIGHT_PROFILE = "write", "serial", "lightweight"


@dataclass(frozen=True, slots=True)
class Cassandra:
    """An open cluster: `session` decodes rows as the driver does, `raw` returns pages as bytes.

    `settings` are those that it was opened with; `data_center` is the name of the one that both sessions read and write.
    `slots` bound the requests of batches that are under way at once.
    """

    session: Session
    raw: Session
    settings: Settings
    data_center: str = ""
    slots: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(AT_ONCE), compare=False)


@contextmanager
def open_cassandra(settings: Settings, request_timeout: float = 30.0) -> Iterator[Cassandra]:
    """Both sessions, without keyspace, closed at the end. Raises SettingsError and Unreachable, one line each.

    SettingsError is also raised if it is unclear which of several data centres is meant, or if that one has no replicas.
    """
    quiet_driver()
    cluster = _cluster(settings, request_timeout)
    try:
        session, raw = _connect(cluster, settings), _connect(cluster, settings)
        raw.client_protocol_handler = RawProtocolHandler
        yield Cassandra(session, raw, settings, local_data_center(cluster, settings, source_name(settings)))
    finally:
        cluster.shutdown()


def _connect(cluster: Cluster, settings: Settings) -> Session:
    try:
        return cluster.connect()
    except (NoHostAvailable, DriverException, OSError) as error:  # ssl.SSLError is an OSError
        raise Unreachable(f"{source_name(settings)}: {explain(error)}") from None


def source_name(settings: Settings) -> str:
    """How errors and reports name the source; never with a secret."""
    if settings.astra_db_secure_bundle_path:
        return f"Astra (bundle {settings.astra_db_secure_bundle_path.name})"
    return f"Cassandra at {settings.cassandra_contact_points}:{settings.cassandra_port}"


def _cluster(settings: Settings, request_timeout: float) -> Cluster:
    common: dict[str, Any] = {
        "connection_class": WideConnection,
        "conviction_policy_factory": lambda host: RecordingConvictionPolicy(host, explain),
        "execution_profiles": _profiles(settings, request_timeout),
        "connect_timeout": 10,
        "control_connection_timeout": 10,
        "idle_heartbeat_interval": 10,  # with the driver's 30 a node that hangs was asked for 72 s, each time in vain
        "idle_heartbeat_timeout": 10,
        "compression": _compression(settings),
        "reconnection_policy": ExponentialReconnectionPolicy(1, 10),  # the driver's own waits for up to ten minutes
        "monitor_reporting_enabled": False,
    }
    if settings.astra_db_secure_bundle_path:
        return _astra_cluster(settings, common)
    settings.require("cassandra_contact_points")
    points = [p.strip() for p in (settings.cassandra_contact_points or "").split(",") if p.strip()]
    if not points:
        raise SettingsError("CASSANDRA_CONTACT_POINTS names no host: give names or addresses, separated by commas")
    access: dict[str, Any] = {
        "port": settings.cassandra_port,
        "auth_provider": _credentials(settings),
        "ssl_context": tls_context(settings, points),
    }
    context, nodes = access["ssl_context"], list[Any](points)
    if context is not None and context.check_hostname:
        common["endpoint_factory"] = names = NamedEndPoints(points, settings.cassandra_port)
        nodes = names.contact_points or points
    try:
        return Cluster(nodes, **access, **common)
    except UnresolvableContactPoints:
        raise Unreachable(
            f"{source_name(settings)}: there is no such host; check CASSANDRA_CONTACT_POINTS, which takes no ports"
        ) from None


def _astra_cluster(settings: Settings, common: dict[str, Any]) -> Cluster:
    bundle = settings.astra_db_secure_bundle_path or Path()
    settings.require("astra_db_application_token")
    if not bundle.is_file():
        raise SettingsError(f"ASTRA_DB_SECURE_BUNDLE_PATH: no file at {bundle}; download the bundle of your database")
    token = settings.astra_db_application_token
    auth = PlainTextAuthProvider("token", token.get_secret_value() if token else "")
    # The driver unpacks the private key briefly: not next to the bundle, where it may be unable to write (a mounted secret).
    cloud = {"secure_connect_bundle": str(bundle), "use_default_tempdir": True}
    try:
        return Cluster(cloud=cloud, auth_provider=auth, **common)
    except (BadZipFile, KeyError, ValueError, OSError) as error:
        raise SettingsError(
            f"ASTRA_DB_SECURE_BUNDLE_PATH: {bundle} is not a secure connect bundle ({_fault(error)}); download it again"
        ) from None
    except DriverException as error:
        raise Unreachable(f"{source_name(settings)}: {explain(error)}") from None


def _fault(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no {Path(error.filename).name} in it" if error.filename else "a certificate or key is missing in it"
    return " ".join(str(error).split())


def _compression(settings: Settings) -> str | bool:
    """The driver's own choice is LZ4 wherever that package happens to be installed."""
    if settings.cassandra_compression == "none":
        return False
    if settings.cassandra_compression not in locally_supported_compressions:
        raise SettingsError("CASSANDRA_COMPRESSION=lz4 needs the package lz4: pip install lz4")
    return settings.cassandra_compression


def _credentials(settings: Settings) -> PlainTextAuthProvider | None:
    if settings.cassandra_username is None:
        return None
    settings.require("cassandra_password")
    password = settings.cassandra_password
    return PlainTextAuthProvider(settings.cassandra_username, password.get_secret_value() if password else "")


def _profiles(settings: Settings, request_timeout: float) -> dict[Any, ExecutionProfile]:
    # If none is stated, the data centre of the node that answers first: one that is added later is never used by chance.
    policy = RangeAwarePolicy(DCAwareRoundRobinPolicy(settings.cassandra_local_dc or ""))
    common = {"consistency_level": ConsistencyLevel.LOCAL_QUORUM, "request_timeout": request_timeout}
    return {
        EXEC_PROFILE_DEFAULT: ExecutionProfile(policy, **common),
        RAW_PROFILE: ExecutionProfile(policy, row_factory=raw_row_factory, **common),
        SERIAL_PROFILE: ExecutionProfile(
            policy,
            row_factory=raw_row_factory,
            consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=request_timeout,
        ),
        # One attempt only: with two, the second's refusal would not say that the write was refused (rule 13).
        WRITE_PROFILE: ExecutionProfile(policy, retry_policy=FallthroughRetryPolicy(), **common),
        LIGHTWEIGHT_PROFILE: ExecutionProfile(
            policy,
            retry_policy=FallthroughRetryPolicy(),
            row_factory=raw_row_factory,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            **common,
        ),
    }


_ADVICE = (
    ("requires authentication", "it requires credentials; set CASSANDRA_USERNAME and CASSANDRA_PASSWORD"),
    (
        "credentials",
        "the user name or password was refused; check CASSANDRA_USERNAME and CASSANDRA_PASSWORD (or the token)",
    ),
    (
        "connection refused",
        "nothing listens there; check CASSANDRA_CONTACT_POINTS and CASSANDRA_PORT, and that the server runs",
    ),
    ("reset by peer", "it closed the connection; if it requires TLS, set CASSANDRA_SSL=true or CASSANDRA_SSL_CA_PATH"),
    (
        "mismatch, certificate is not valid",
        "its certificate is for another name; use the names of the nodes' certificates in CASSANDRA_CONTACT_POINTS, or the "
        "authority in CASSANDRA_SSL_CA_PATH",
    ),
    ("certificate verify failed", "its certificate is not trusted; set CASSANDRA_SSL_CA_PATH to the CA's file"),
    ("wrong version number", "it does not speak TLS there; check CASSANDRA_PORT, CASSANDRA_SSL and CASSANDRA_SSL_CA_PATH"),
    ("timed out", "no answer in time; check the host, the port and the network"),
    (
        "metadata service",
        "its metadata service does not answer; wake the database in Astra's console, or download its bundle again",
    ),
)


def explain(error: BaseException) -> str:
    """What went wrong and what to do, in one line, from a driver's error."""
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, list):  # the driver's form if no node suits the policy
        return "it answers, but none of its nodes can be used; check CASSANDRA_LOCAL_DC"
    cause = _telling(list(error.errors.values())) if isinstance(error, NoHostAvailable) and error.errors else error
    text = " ".join(str(cause).split())
    if isinstance(cause, RolesUnavailable):
        return text
    if isinstance(cause, Unauthorized):
        return f"not permitted: {text}" if not unknown_role(text) else f"{text}: too many nodes are down"
    if isinstance(cause, InvalidRequest | Unavailable):
        return guardrail(text) or text
    if isinstance(cause, OperationTimedOut):  # its text from the driver is `errors=None, last_host=…`
        if cause.last_host is None:
            return "no answer in time; check the host, the port and the network"
        return f"no answer in time ({cause.last_host}); it is slow or down: try again, and look at its load and its logs"
    if isinstance(cause, CoordinationFailure):
        return f"its replicas failed, and their logs say why: {text}"
    for symptom, advice in _ADVICE:
        if symptom in text.lower():
            return advice
    return f"{text}; check the host, the port and TLS"


def _telling(causes: list[Exception]) -> Exception:
    """The cause that says most of several nodes' ones: a node that answered knows more than one that did not."""
    return min(causes, key=_silence)


def _silence(cause: Exception) -> int:
    if isinstance(cause, OperationTimedOut):
        return 3
    if isinstance(cause, DriverException | ErrorMessage):
        return 0
    return 1 if isinstance(cause, RolesUnavailable) else 2
