"""The application's names of a table and its columns, where Postgres has others (`target` and `rename` in sync.toml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sync.core.rows import TableOptions


@dataclass(frozen=True, slots=True)
class Names:
    """The target's table, and its columns by the application's names."""

    table: str
    columns: Mapping[str, str]

    def column(self, name: str) -> str:
        """The target's name of a column."""
        return self.columns.get(name, name)

    def to_target(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values by the target's names."""
        return {self.column(name): value for name, value in values.items()}

    def from_target(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values by the application's names."""
        own = {there: here for here, there in self.columns.items()}
        return {own.get(name, name): value for name, value in values.items()}


def other_names(table: str, options: TableOptions) -> Names | None:
    """The table's names in the target; None if they are the application's, or if it is a collection, which has no columns."""
    target = options.target or table
    if options.collection or (target == table and not options.rename):
        return None
    return Names(target, options.rename)
