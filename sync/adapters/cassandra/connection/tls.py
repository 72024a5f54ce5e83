"""Who answers over TLS: a certificate is checked by its authority, and by the name or address that it is for."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from cassandra.connection import DefaultEndPoint, DefaultEndPointFactory

from sync.errors import SettingsError
from sync.settings import Settings


def tls_context(settings: Settings, points: Sequence[str]) -> ssl.SSLContext | None:
    """The context to connect with, None without TLS. Raises SettingsError.

    A private authority vouches for the nodes by signing for nobody else, so their names are checked only if
    CASSANDRA_SSL_VERIFY=full. A public one signs for everybody: without a check of the name its signature proves nothing.
    """
    ca = settings.cassandra_ssl_ca_path
    if not (settings.cassandra_ssl or ca):
        return None
    verify = settings.cassandra_ssl_verify or ("ca" if ca else "full")
    if not ca and verify == "full" and (addresses := [p for p in points if _is_address(p)]):
        raise SettingsError(
            f"CASSANDRA_SSL: a certificate of any public authority would be accepted for {addresses[0]}, an address; set "
            "CASSANDRA_SSL_CA_PATH to your own authority's file, or give host names in CASSANDRA_CONTACT_POINTS "
            "(CASSANDRA_SSL_VERIFY=ca does not check names)"
        )
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"CASSANDRA_SSL_CA_PATH: {ca} is not a readable certificate file ({error})") from None
    context.check_hostname = verify == "full"
    return context


class NamedEndPoint(DefaultEndPoint):  # type: ignore[misc]
    """A node's address, and the name that its certificate must be for: the driver itself forgets names."""

    def __init__(self, address: str, port: int, name: str) -> None:
        super().__init__(address, port)
        self.name = name

    @property
    def ssl_options(self) -> dict[str, str]:
        """The options of the TLS handshake."""
        return {"server_hostname": self.name}


class NamedEndPoints(DefaultEndPointFactory):  # type: ignore[misc]
    """The nodes' endpoints: contact points by name, and the nodes found through them.

    Nodes find each other by address. One that a contact point resolves to has that name; every other node's certificate must
    be for its address.
    """

    def __init__(self, points: Sequence[str], port: int) -> None:
        super().__init__(port)
        self._names: dict[str, str] = {}
        for point in points:
            for address in _addresses(point, port):
                self._names.setdefault(address, point)

    @property
    def contact_points(self) -> list[NamedEndPoint]:
        """What to connect to first; empty if no name can be resolved."""
        return [NamedEndPoint(address, self.port, name) for address, name in self._names.items()]

    def create(self, row: Any) -> NamedEndPoint:
        """The endpoint of a node in the cluster's own list."""
        found = super().create(row)
        return NamedEndPoint(found.address, found.port, self._names.get(found.address, found.address))


def _addresses(point: str, port: int) -> list[str]:
    try:
        return [str(where[0]) for *_, where in socket.getaddrinfo(point, port, type=socket.SOCK_STREAM)]
    except OSError:
        return []


def _is_address(point: str) -> bool:
    try:
        ipaddress.ip_address(point)
    except ValueError:
        return False
    return True
