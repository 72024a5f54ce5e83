"""Embedded servers for development, the tests and the demo: Cassandra, Postgres with pgvector, Valkey, from packages.

`up(folder)` starts all three below one folder, `down(folder)` ends them and removes it.

addresses         where the servers answer, as settings
base              start, stop, kill, wait, status
cassandra         Cassandra, from Maven Central's jars
cassandra_config  its cassandra.yaml, JVM arguments and log settings
fetch             jars by Maven coordinates, as a process of its own
java              Java, and Cassandra's jars
memory            ports and pids that a folder remembers
ports             free TCP ports on loopback
postgres          Postgres with pgvector
postgres_user     a user to run it as, where we are root
processes         processes: start, recognise, end
secret            files that only their owner may read
stack             all three together: up, down, status
tls               keys, and TLS in front of Postgres
valkey            Valkey
wire              just enough of two protocols to ask one question
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
