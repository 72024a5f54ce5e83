"""What a part of a store of both sides needs of the whole, to write to one table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from sync.flows.write_router import WriteRouter
from sync.stores.both_sides.table_flows import FlowMaker, TableFlows
from sync.wiring.tracing import tracing

T = TypeVar("T")


class TableWrites:
    """The store's flows, by table, and which side they write first."""

    @property
    @abstractmethod
    def _maker(self) -> FlowMaker: ...

    @property
    @abstractmethod
    def _router(self) -> WriteRouter: ...

    def _traced(self, operation: str, table: str, call: Callable[[TableFlows], T]) -> T:
        """The write, with a span around it."""
        return tracing().write(operation, table, lambda: self._retry_on_change(table, call))

    @abstractmethod
    def _retry_on_change(self, table: str, call: Callable[[TableFlows], T]) -> T: ...
