"""Embedded servers for development, the tests and the demo: Cassandra, Postgres with pgvector, Valkey, from packages.

`up(folder)` starts all three below one folder, `down(folder)` ends them and removes it.

cassandra/     Cassandra, from Maven Central's jars
addresses      where the servers answer, as settings
base           start, stop, kill, wait, status
clients        files by which cqlsh and psql log in without a typed password
memory         ports and pids, remembered in a folder
ports          free TCP ports on loopback
postgres       Postgres with pgvector
postgres_user  a user to run it as, if we are root
processes      processes: start, recognise, end
secret         files that only their owner may read
stack          all three together: up, down, status
tls            keys, and TLS in front of Postgres
valkey         Valkey
wire           just enough of two protocols to ask one question
"""

from __future__ import annotations

from sync.local.addresses import Endpoints
from sync.local.base import Server, ServerStatus
from sync.local.cassandra.config import CassandraOptions
from sync.local.cassandra.server import CassandraServer
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
