"""Where the embedded servers answer, as the settings that the rest of the project reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from sync.local.cassandra.server import DATACENTER
from sync.local.ports import LOOPBACK

KEYSPACE = "music"
DATABASE = "music"


@dataclass(frozen=True)
class Endpoints:
    """The three servers' addresses."""

    cassandra_port: int
    postgres_port: int
    postgres_user: str
    postgres_password: str = field(repr=False)
    redis_url: str = field(repr=False)
    cassandra_user: str = ""
    cassandra_password: str = field(default="", repr=False)
    keyspace: str = KEYSPACE
    database: str = DATABASE
    cassandra_hosts: str = LOOPBACK  # separated by commas

    def env(self) -> dict[str, str]:
        """Environment variables."""
        login = {"CASSANDRA_USERNAME": self.cassandra_user, "CASSANDRA_PASSWORD": self.cassandra_password}
        return {
            "STORAGE_BACKEND": "astra",
            "CASSANDRA_CONTACT_POINTS": self.cassandra_hosts,
            "CASSANDRA_PORT": str(self.cassandra_port),
            "CASSANDRA_LOCAL_DC": DATACENTER,
            **(login if self.cassandra_user else {}),
            "ASTRA_DB_KEYSPACE": self.keyspace,
            "POSTGRES_HOST": LOOPBACK,
            "POSTGRES_PORT": str(self.postgres_port),
            "POSTGRES_DATABASE": self.database,
            "POSTGRES_USER": self.postgres_user,
            "POSTGRES_PASSWORD": self.postgres_password,
            "POSTGRES_SSLMODE": "disable",
            "REDIS_URL": self.redis_url,
        }

    def dotenv(self) -> str:
        """The same as lines of a .env file."""
        return "".join(f"{name}={value}\n" for name, value in self.env().items())
