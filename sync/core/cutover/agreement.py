"""What sync.toml says that writers, workers and commands must agree on, as plain values, and where two of them differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sync.core.rows import TableOptions
from sync.core.schema.static_rows import named

_SAID = {"keep_ttl": "ttl", "expiry": "ttl"}
"""What sync.toml calls an option, if not by its name."""


def agreed(
    only: Collection[str] | None, exclude: Collection[str], tables: Mapping[str, TableOptions], plain: Collection[str] = ()
) -> dict[str, Any]:
    """The settings that must agree: which tables, and the options of each that are not the default.

    `plain`: tables that have a collection's layout, but are not collections.
    """
    told = {name: options for name, options in tables.items() if options != TableOptions() or name in plain}
    return {
        "only": None if only is None else sorted(only),
        "exclude": sorted(exclude),
        "tables": {
            name: _options(options) | ({"collection": False} if name in plain else {}) for name, options in told.items()
        },
    }


def _options(options: TableOptions) -> dict[str, Any]:
    default = TableOptions()
    found = {name: getattr(options, name) for name in options.__dataclass_fields__ if name != "base_ignore"}
    changed = {name: value for name, value in found.items() if value != getattr(default, name)}
    return {_SAID.get(name, name): _plain(value) for name, value in changed.items()}


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value


def may_write(settings: Mapping[str, Any] | None, table: str) -> bool:
    """Whether a store that was started with these settings may write a table; so may one whose settings are unknown."""
    if settings is None or "only" not in settings:
        return True
    return not named(table, settings["exclude"]) and (settings["only"] is None or named(table, settings["only"]))


def of_table(settings: Mapping[str, Any], table: str) -> dict[str, Any]:
    """The settings of one table."""
    return dict(settings["tables"].get(table, {}))


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any] | None, tables: Sequence[str] | None = None) -> list[str]:
    """The settings that differ, as sync.toml names them; with `tables`, only those of these, not which there are.

    Empty if theirs are unknown.
    """
    if not theirs or "tables" not in theirs:
        return []
    found = [] if tables is not None else [name for name in ("only", "exclude") if mine.get(name) != theirs.get(name)]
    names = tables if tables is not None else sorted({*mine["tables"], *theirs["tables"]})
    return found + [text for name in names for text in _of(name, of_table(mine, name), of_table(theirs, name))]


def _of(table: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    section = "collections" if mine.get("collection") or theirs.get("collection") else "tables"
    for name in sorted({*mine, *theirs}):
        if mine.get(name) != theirs.get(name):
            yield f"{section}.{table}.{name}"
