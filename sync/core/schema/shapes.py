"""What has changed between two mappings of one table, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sync.core.rows import TableMap


def changes(before: TableMap, now: TableMap) -> str:
    """The columns that are new, gone or of another type, on either side; if there are none, what else may have changed."""
    found = [
        *_columns("the source", *({c.name: f"{c.type} {c.kind}" for c in t.source.columns} for t in (before, now))),
        *_columns("Postgres", *({c.name: str(c.type) for c in t.target.columns} for t in (before, now))),
    ]
    if before.target.primary_key != now.target.primary_key:
        found.append("Postgres has another primary key")
    return ", ".join(found) or "the table, or a column of it, was dropped and made again, or has changed otherwise"


def _columns(side: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    yield from (f"{side} has lost {name}" for name in _without(before, now))
    yield from (f"{side} has a new {name}" for name in _without(now, before))
    yield from (f"{name} is another type in {side}" for name in before if name in now and now[name] != before[name])


def _without(some: Iterable[str], others: Mapping[str, str]) -> list[str]:
    return [name for name in some if name not in others]
