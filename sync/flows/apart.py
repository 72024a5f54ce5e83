"""Work for many keys at once, of which one may stand in the others' way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from sync.errors import TargetBusy, TargetRefused

T = TypeVar("T", contravariant=True)
R = TypeVar("R", covariant=True)
T_ = TypeVar("T_")
R_ = TypeVar("R_")


class Work(Protocol[T, R]):
    """One transaction for some items; `quickly`: a lock that is held is not waited for."""

    def __call__(self, items: Sequence[T], /, *, quickly: bool = False) -> R: ...


def apart(work: Work[T_, R_], items: Sequence[T_]) -> Iterator[tuple[Sequence[T_], R_ | str]]:
    """The work for all of them; where the target refuses it or a lock is held: for each by itself, or why it failed.

    Raises TargetUnavailable, which is nobody's fault among them.
    """
    if not items:
        return
    try:
        yield items, work(items)
        return
    except (TargetBusy, TargetRefused) as error:
        if len(items) == 1:
            yield items, str(error)
            return
    for item in items:
        try:
            yield [item], work([item], quickly=True)
        except (TargetBusy, TargetRefused) as error:
            yield [item], str(error)
