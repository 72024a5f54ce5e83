"""How a call ends that writes a partition and a row (rule 47): with fakes, which are told what a server would not do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from sync.adapters.postgres.dual_write.write_behind import WriteBehind
from sync.core.mutations import Key
from sync.flows.wrapped_write import WrappedTable, WrappedWrite
from sync.ports import Intent

PARTITION, ROW = Key("t", (b"r",), b"r", 1), Key("t", (b"r", b"1"), b"r1", 1)


@dataclass
class Journal:
    """Records the steps; it fails to withdraw."""

    steps: list[tuple[str, list[int]]] = field(default_factory=list)

    def announce(self, keys: Sequence[Key]) -> list[Intent]:
        return [Intent(number, 100, 1) for number, _ in enumerate(keys)]

    def mark(self, intents: list[Intent], state: str, __: str) -> set[int]:
        self.steps.append((state, [intent.id for intent in intents]))
        return {intent.id for intent in intents}

    def withdraw(self, *intents: Intent) -> bool:
        raise OSError("not the server's own")


@pytest.mark.parametrize("raises", [False, True])
def test_row_keys_are_marked_although_the_partition_cannot_be_withdrawn(raises: bool) -> None:
    """Would break: the row's key stays open while this writer lives, and no worker looks at it."""
    journal: Any = Journal()
    table = WrappedTable(journal, journal, "async", 2)
    flow = WrappedWrite(journal.announce, {"t": table}, WriteBehind(False, lambda _: None), False, lambda _: True)
    begun = flow.begin([PARTITION, ROW])
    with pytest.raises(OSError, match="own"):
        begun.fail(ConnectionError()) if raises else begun.finish()
    assert journal.steps == [("unsure" if raises else "finished", [1])]
