"""An insert while the source is primary: a lightweight transaction, between the announcement of its key and its reconcile.

The transaction takes no timestamp and cannot be repeated: a second attempt would find the row of the first. So it is treated
as a wrapped class's write (rule 17); unlike that, its refusal is definite, and leaves no unsure intent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sync.core.mutations import InsertOutcome, Mutation
from sync.errors import WriteRefused, WriteUnsure
from sync.flows.dual_write import unsure_reason
from sync.flows.wrapped_write import WrappedWrite


class ConditionalRows(Protocol):
    """Rows of the source that are written only where there are none: once each, with a timestamp above `above`."""

    def insert(self, put: Mutation, above: int) -> tuple[InsertOutcome, str]: ...


@dataclass(frozen=True, slots=True)
class ForwardInsert:
    """Inserts rows of one table."""

    wrapped: WrappedWrite
    primary: ConditionalRows

    def write(self, put: Mutation) -> bool:
        """Whether the row was written; False if there was one. Raises WriteRefused, WriteUnsure; EpochChanged before it."""
        outcome, error = self.wrapped.write_above([put.key], lambda above: self._insert(put, above))
        if outcome == "refused":
            raise WriteRefused(f"the primary refused the write: {error}")
        return outcome == "written"

    def _insert(self, put: Mutation, above: int) -> tuple[InsertOutcome, str]:
        outcome, error = self.primary.insert(put, above)
        if outcome == "unsure":
            raise WriteUnsure(unsure_reason(put.key, error))
        return outcome, error
