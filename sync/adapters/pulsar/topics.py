"""Which table a topic tells of: by its name (`data-KEYSPACE.TABLE`), or as the user says (`TABLE=TOPIC`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sync.core.capture.cdc_keys import refusal
from sync.core.rows import SourceTable
from sync.errors import PreflightError


def tables_of_topics(given: Sequence[str], keyspace: str, tables: Mapping[str, SourceTable]) -> dict[str, SourceTable]:
    """By topic, the table it tells of. Raises PreflightError for a topic of no table, and for a table that is left out."""
    found: dict[str, SourceTable] = {}
    for text in given:
        name, equals, topic = text.partition("=")
        table = tables.get(name) if equals else _by_name(text, keyspace, tables)
        if table is None:
            which = (
                f"there is no table {name!r} in the migration" if equals else f"its name does not end with {keyspace}.TABLE"
            )
            raise PreflightError(f"--topic {text}: {which}; say TABLE=TOPIC, with one of: {', '.join(sorted(tables))}")
        if why := refusal(table):
            raise PreflightError(
                f"--topic {text}: {why}: use another feed for this table, or write it through the store alone"
            )
        found[topic or text] = table
    doubled = sorted({t.name for t in found.values() if sum(t is other for other in found.values()) > 1})
    if doubled:
        raise PreflightError(
            f"--topic: several topics for {', '.join(doubled)}: a partitioned topic is given by its own name"
        )
    return found


def _by_name(topic: str, keyspace: str, tables: Mapping[str, SourceTable]) -> SourceTable | None:
    """By the end of the name: `data-KEYSPACE.TABLE`, in Astra with the database's id before the keyspace."""
    local = topic.rpartition("/")[2]
    return next((t for name, t in tables.items() if local.endswith(f"-{keyspace}.{name}")), None)
