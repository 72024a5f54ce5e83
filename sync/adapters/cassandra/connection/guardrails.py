"""A cluster's guardrails (Cassandra 4.1 and later): what a refusal is about, and what to do, in one line."""

from __future__ import annotations

import re

_VIOLATED = re.compile(r"Guardrail (\w+) violated: [^\"]*")
_SWITCHES = frozenset({"user_timestamps", "read_before_write_list_operations", "group_by", "allow_filtering", "vector_type"})


def guardrail(text: str) -> str | None:
    """The message for a server's error if a guardrail is its cause; None for other errors."""
    found = _VIOLATED.search(text)
    if found is None:
        return None
    return (
        f"{found[0].rstrip('. ')}; change {_setting(found[1])} on its nodes for as long as the migration takes, "
        "for its roles and the application's (only superusers are exempt)"
    )


def _setting(name: str) -> str:
    """A guardrail's setting in cassandra.yaml."""
    if name == "page_size":
        return "page_size_fail_threshold (to 10000 or more)"
    if name.endswith("consistency_levels"):
        return f"{name}_disallowed"
    return f"{name}_enabled" if name in _SWITCHES else f"{name}_fail_threshold"
