"""Whether both sides of a comparison can compute the hash that it uses: they cannot in FIPS mode."""

from __future__ import annotations

import hashlib

import psycopg

from sync.adapters.postgres.connection.connect import Connection

_ADVICE = "FIPS mode forbids MD5, which drift reports need; run them where it is off"


def no_hash(connection: Connection) -> str:
    """Why rows cannot be compared; empty if they can."""
    try:
        hashlib.md5(b"", usedforsecurity=True)
    except ValueError as error:
        return f"Python has no MD5 here ({error}): {_ADVICE}"
    try:
        connection.execute("SELECT md5('')")
    except psycopg.Error as error:
        return f"Postgres has no MD5 ({error.diag.message_primary}): {_ADVICE}"
    return ""
