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
