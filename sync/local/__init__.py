"""Embedded servers for development, the tests and the demo: Cassandra, Postgres with pgvector, Valkey, from packages.

`up(folder)` starts all three below one folder, `down(folder)` ends them and removes it.
"""

from __future__ import annotations

from sync.local.addresses import Endpoints
from sync.local.base import Server, ServerStatus
from sync.local.cassandra import CassandraServer
from sync.local.cassandra_config import CassandraOptions
from sync.local.postgres import PostgresOptions, PostgresServer
from sync.local.stack import claim, down, endpoints, status, up
from sync.local.tls import TlsFront
from sync.local.valkey import ValkeyServer

__all__ = [
    "CassandraOptions",
    "CassandraServer",
    "Endpoints",
    "PostgresOptions",
    "PostgresServer",
    "Server",
    "ServerStatus",
    "TlsFront",
    "ValkeyServer",
    "claim",
    "down",
    "endpoints",
    "status",
    "up",
]
