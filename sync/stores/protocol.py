"""The one interface of all stores: an application's code does not change when the store below it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable


@runtime_checkable
class Store(Protocol):
    """Rows by table and key; a value has the Python type that corresponds to its column's type.

    Every method may raise StoreClosed and ForkedStore. Writes raise WriteRefused if nothing was or will be written on either
    side (WriteRefusedNow if a retry may succeed), and WriteUnsure if the row may have been written; a store of both sides
    then makes them equal. Reads raise SourceUnavailable or TargetUnavailable if the primary does not answer, and
    ValueUnreadable if Python cannot represent a value.
    """

    def put(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row: a column left out becomes null. True."""
        ...

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own, after all of them were checked. True."""
        ...

    def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row if there is none with its key: True; otherwise False, and nothing is changed.

        Raises NotSupported where Astra is written through the Data API.
        """
        ...

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns. A missing row is created in Astra; with Postgres as primary: False, nothing is written."""
        ...

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one. True."""
        ...

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row, or None."""
        ...

    def search(self, table: str, column: str, vector: Sequence[float], limit: int = 10) -> list[tuple[dict[str, Any], float]]:
        """The nearest rows with their similarity, (1 + cosine) / 2, nearest first."""
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
