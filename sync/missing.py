"""Which settings are missing to reach a server, as errors name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sync.core.words import listed

if TYPE_CHECKING:
    from sync.settings import Settings


def missing_of(settings: Settings, name: str) -> list[str]:
    """This setting, if it is not set; of `source` or `target` all that are missing to reach it."""
    if name == "target":
        given = settings.database_url or settings.database_url_unpooled
        parts = [p.upper() for p in ("postgres_host", "postgres_database", "postgres_user") if getattr(settings, p) is None]
        ways = f"DATABASE_URL (or {listed(parts)})" if len(parts) == 3 else f"{listed(parts)} (or DATABASE_URL)"
        return [ways] if parts and not given else []
    if name == "source":
        astra, by_name = settings.astra_db_secure_bundle_path, settings.cassandra_username
        needed = ["astra_db_application_token"] if astra else ["cassandra_contact_points"]
        needed += ["cassandra_password"] if by_name and not astra else []
        return [text for each in (*needed, "astra_db_keyspace") for text in missing_of(settings, each)]
    other = " (or ASTRA_DB_SECURE_BUNDLE_PATH)" if name == "cassandra_contact_points" else ""
    return [name.upper() + other] if getattr(settings, name) is None else []
