"""Whether a row can be explained by the writes: some order of them, consistent with real time, ends in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Values = tuple[str | None, str | None]
"""The columns a and b of a row."""
State = Values | None
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Op:
    """A write, from its call to its answer. `may`: not acknowledged, it may or may not have been done; `never`: refused."""

    kind: Literal["put", "update", "delete"]
    values: dict[str, str | None]
    begin: float
    end: float = FOREVER
    fate: Literal["must", "may", "never"] = "may"

    def on(self, state: State) -> State:
        """The row after this write."""
        if self.kind == "delete":
            return None
        before = dict(zip("ab", (None, None) if self.kind == "put" or state is None else state, strict=True))
        after = {**before, **self.values}
        return after["a"], after["b"]


def explained(first: State, ops: Sequence[Op], last: State) -> bool:
    """Whether some order of all `must` writes, and any of the `may` writes, turns the first state into the last.

    One write precedes another if its answer came before the other's call.
    """
    count = [op for op in ops if op.fate != "never"]
    must = sum(1 << i for i, op in enumerate(count) if op.fate == "must")
    before = [sum(1 << j for j, other in enumerate(count) if other.end < op.begin) for op in count]
    seen: set[tuple[int, State]] = set()
    todo: list[tuple[int, State]] = [(0, first)]
    while todo:
        used, state = todo.pop()
        if (used, state) in seen:
            continue
        seen.add((used, state))
        if used & must == must and state == last:
            return True
        for i, op in enumerate(count):
            bit = 1 << i
            # Every `must` write that precedes this one has been done, and no write that this one precedes.
            late = any(used >> j & 1 and before[j] & bit for j in range(len(count)))
            if not used & bit and not before[i] & must & ~used and not late:
                todo.append((used | bit, op.on(state)))
    return False
