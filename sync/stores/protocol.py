"""The one interface of all stores: an application's code does not change when the store below it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from sync.core.reads.query import OrderBy
from sync.ports import Primary
from sync.stores.rows import PAGE_ROWS, Rows
from sync.stores.transaction import Transaction


@runtime_checkable
class Store(Protocol):
    """Rows by table and key; a value has the Python type that corresponds to its column's type.

    Every method may raise StoreClosed and ForkedStore. Writes raise WriteRefused if nothing was or will be written on either
    side (WriteRefusedNow if a retry may succeed), and WriteUnsure if the row may have been written; a store of both sides
    then makes them equal. Reads raise SourceUnavailable or TargetUnavailable if the primary does not answer, and
    ValueUnreadable if Python cannot represent a value; `get_many`, `find` and `scan` also QueryNotSupported.
    """

    def put(self, table: str, row: Mapping[str, Any], ttl: int | None = None) -> bool:
        """Write a whole row: a column left out becomes null. True.

        The row expires after `ttl` seconds; by default after the table's default_time_to_live, if it has one; 0: never.
        In Postgres, and through a store of both sides, that needs `ttl = "expire"` for the table, whose rows are put whole: a
        store of both sides refuses to update them.
        Raises NotSupported where Astra is written through the Data API, which takes no TTL.
        """
        ...

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Write whole rows, each on its own, after all of them were checked. True."""
        ...

    def insert(self, table: str, row: Mapping[str, Any]) -> bool:
        """Write a whole row if there is none with its key: True; otherwise False, and nothing is changed.

        Raises NotSupported where Astra is written through the Data API.
        """
        ...

    def increment(self, table: str, key: Mapping[str, Any], amounts: Mapping[str, int]) -> bool:
        """Add to counters: `store.increment("plays", {"song": id}, {"times": 1})`; a missing row begins at 0. True.

        Amounts may be negative. A table of counters takes no other write. WriteUnsure: the increment may have been counted,
        and repeating it may count it twice. Sums beyond 64 bits wrap in Cassandra; Postgres refuses them. Raises NotSupported
        over the Data API.
        """
        ...

    def update(self, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
        """Write some columns. A missing row is created in Astra; with Postgres as primary: False, nothing is written."""
        ...

    def delete(self, table: str, key: Mapping[str, Any]) -> bool:
        """Delete a row, if there is one. True."""
        ...

    def delete_many(self, table: str, where: Mapping[str, Any]) -> bool:
        """Delete the rows of a partition, or of a range of it, with one delete. True.

        `where` gives the whole partition key, and maybe clustering columns from the first on, the last one by a range:
        `{"artist": "Bach", "year": {"<": 1720}}`. Raises QueryNotSupported for anything else, and NotSupported where Astra
        is written through the Data API. A store of both sides refuses it, too, while Postgres is unreachable.
        """
        ...

    def announce(self, table: str, key: Mapping[str, Any]) -> None:
        """Say that somebody else has changed this row: a store of both sides makes them equal; one of one side does nothing.

        Raises WriteRefusedNow if that could not be recorded: then say it again.
        """
        ...

    def get(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row, or None."""
        ...

    def get_many(self, table: str, keys: Iterable[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """The rows of these keys, in their order, None for one that does not exist."""
        ...

    def find(
        self,
        table: str,
        where: Mapping[str, Any],
        order_by: OrderBy | None = None,
        limit: int | None = None,
        after: str | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> Rows:
        """Rows, read `page_rows` at a time while they are iterated over.

        `where` gives the whole partition key, and maybe clustering columns from the first on, or columns that have indexes:
        `{"artist": "Bach", "year": {">=": 1720, "<": 1730}}`; a range only on the last column of a key. The rows of a
        partition come in the table's order, or in its reverse: `order_by=[("year", "desc")]`; those of several partitions
        in the order of tokens. `after` is the `cursor` of an earlier read of the same kind, from either side.
        Raises QueryNotSupported, which names what is missing, if a side cannot answer it.
        """
        ...

    def scan(self, table: str, after: str | None = None, page_rows: int = PAGE_ROWS) -> Rows:
        """All rows, read `page_rows` at a time, in the order of tokens; by key after `sync finish`. As `find` otherwise."""
        ...

    def search(
        self, table: str, column: str, vector: Sequence[float], limit: int = 10, where: Mapping[str, Any] | None = None
    ) -> list[tuple[dict[str, Any], float]]:
        """The nearest rows with their similarity, (1 + cosine) / 2, nearest first.

        `where` leaves only rows whose columns, each with an index, meet the conditions, as in `find`.
        """
        ...

    def count(self, table: str) -> int:
        """How many rows there are; it may take long."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """The application's own SQL and writes of the store in one transaction, in Postgres.

        `with store.transaction() as tx:` commits at the end of the block, or nothing if that raises; `tx` is a Transaction.
        Raises NotSupported while Astra is primary; WriteRefusedNow if nothing was written and the same block may succeed at
        once (two transactions that wait for each other, a limit of time, no connection); WriteRefused if Postgres refuses to
        commit, or the block has caught the error of a statement; WriteUnsure if the answer to the COMMIT is lost.
        """
        ...

    @property
    def primary(self) -> Primary:
        """The side that is read: the primary (during a switch this asks Postgres, if it answers), or the only side."""
        ...

    def close(self) -> None:
        """Wait for the calls under way, and close the connections."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
