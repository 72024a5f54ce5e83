"""Settings that a session of ours cannot set for itself: those of a role behind a transaction pooler."""

from __future__ import annotations

from sync.adapters.postgres.connect import Connection, connection_string
from sync.adapters.postgres.queries import queries
from sync.settings import Settings

_LASTING = queries("session")["lasting"].encode()
_NAMES = [
    "timezone", "datestyle", "intervalstyle", "extra_float_digits", "bytea_output", "client_encoding",
    "standard_conforming_strings", "array_nulls", "default_transaction_isolation", "default_transaction_read_only",
    "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout", "search_path",
    "synchronous_commit", "row_security", "session_replication_role",
]  # fmt: skip


def lasting_settings(settings: Settings, connection: Connection) -> str:
    """What the role or the database sets for writers, who go through the pooler; empty where nothing."""
    if "-pooler." not in connection_string(settings, direct=False):
        return ""
    found = [str(row[0]) for row in connection.execute(_LASTING, {"names": _NAMES}).fetchall()]
    if not found:
        return ""
    advice = f"ALTER ROLE {connection.info.user} (or ALTER DATABASE) … RESET for the time of the migration"
    return f"sessions through the pooler have {', '.join(found)}: {advice}"
