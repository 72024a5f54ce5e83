"""The one interface of all stores: an application's code does not change when the store below it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable


@runtime_checkable
class Store(Protocol):
    """Rows by table and key; values are Python's of the column's type.

    Every method may raise StoreClosed and ForkedStore. Writes raise WriteRefused where nothing was or will be written on
    either side (WriteRefusedNow where a repetition may be taken), and WriteUnsure where it may have been written, and will
    settle. Reads raise SourceUnavailable or TargetUnavailable where the primary does not answer, and ValueUnreadable where
    Python has none of a value.
    """

    def put(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row: a column left out becomes null. True."""
        ...

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own, after all of them were checked. True."""
        ...

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns. A row that is not there is made in Astra; where Postgres is primary: False, nothing written."""
        ...

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one. True."""
        ...

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row, or None."""
        ...

    def search(self, table: str, column: str, vector: Sequence[float], limit: int = 10) -> list[tuple[dict[str, Any], float]]:
        """The nearest rows with their similarity, (1 + cosine) / 2; nearest first."""
        ...

    def count(self, table: str) -> int:
        """How many rows there are; it may take long."""
        ...

    def close(self) -> None:
        """Wait for the calls under way, and close the connections."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
