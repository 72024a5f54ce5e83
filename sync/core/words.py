"""Numbers and names in sentences, for errors, tables and reports."""

from __future__ import annotations

from collections.abc import Sequence

STORES = {"astra": "Astra", "postgres": "Postgres"}


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 row`, `2,000 rows`; `plural` where it is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def first_of(parts: Sequence[str], most: int) -> str:
    """`a, b and 7 more`: the first `most`, and how many there are besides."""
    left = len(parts) - most
    return ", ".join(parts[:most]) + (f" and {left:,} more" if left > 0 else "")


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
