"""Files with which cqlsh and psql log in to the embedded servers, so that no password is typed or is an argument."""

from __future__ import annotations

from configparser import RawConfigParser
from io import StringIO
from pathlib import Path

from sync.local.addresses import Endpoints
from sync.local.ports import LOOPBACK
from sync.local.secret import write_secret

CQLSHRC, SERVICES = "cqlshrc", "pg_service.conf"
_CREDENTIALS = "cqlsh.credentials"
SERVICE = "local"


def write_client_files(folder: Path, where: Endpoints) -> None:
    """Write `cqlshrc` (for `cqlsh --cqlshrc`) and `pg_service.conf` (for PGSERVICEFILE) into the folder, with mode 0600."""
    credentials = folder / _CREDENTIALS
    _write(
        folder / CQLSHRC,
        connection={"hostname": LOOPBACK, "port": where.cassandra_port},
        authentication={"credentials": credentials, "keyspace": where.keyspace},
    )
    _write(credentials, plain_text_auth={"username": where.cassandra_user, "password": where.cassandra_password})
    service = {
        "host": LOOPBACK,
        "port": where.postgres_port,
        "dbname": where.database,
        "user": where.postgres_user,
        "password": where.postgres_password,
        "sslmode": "disable",
    }
    _write(folder / SERVICES, **{SERVICE: service})


def _write(path: Path, **sections: dict[str, object]) -> None:
    text, content = StringIO(), RawConfigParser()
    content.read_dict(sections)
    content.write(text, space_around_delimiters=False)
    write_secret(path, text.getvalue())
