"""Work for many keys at once, so that one that fails does not hold up the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from sync.errors import TargetBusy, TargetRefused
from sync.ports import MAX_LOCKS

Item = TypeVar("Item")
Result = TypeVar("Result")
_Given = TypeVar("_Given", contravariant=True)
_Made = TypeVar("_Made", covariant=True)


class Work(Protocol[_Given, _Made]):
    """One transaction for some items; `quickly`: a lock that is held is hardly waited for."""

    def __call__(self, items: Sequence[_Given], /, *, quickly: bool = False) -> _Made: ...


def isolate(work: Work[Item, Result], items: Sequence[Item]) -> Iterator[tuple[Sequence[Item], Result | str]]:
    """What the work returns for the items, MAX_LOCKS at a time.

    If the target refuses it, or a lock is held: for each item by itself, or the error. Raises any other TargetUnavailable,
    which is not the fault of one item.
    """
    for at in range(0, len(items), MAX_LOCKS):
        some = items[at : at + MAX_LOCKS]
        made = _attempt(work, some, False)
        if not isinstance(made, str) or len(some) == 1:
            yield some, made
            continue
        for item in some:
            yield [item], _attempt(work, [item], True)


def _attempt(work: Work[Item, Result], items: Sequence[Item], quickly: bool) -> Result | str:
    try:
        return work(items, quickly=quickly)
    except (TargetBusy, TargetRefused) as error:
        return str(error)
