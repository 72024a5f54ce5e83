"""Whether two classes may be wrapped: what is refused before a connection is opened, and the line that says why."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sync.errors import SettingsError
from sync.stores import DualWriteStore
from sync.stores.both_sides.wrapped_classes import check_classes

WRITES: dict[str, Any] = {"save": lambda song: ("songs", {"id": song})}


class Plain:
    def save(self, song: int) -> None: ...
    def title(self, song: int) -> str: ...


class WithMore(Plain):
    def count(self) -> int: ...

    @property
    def connected(self) -> bool:
        raise AssertionError("a property is not asked")


class Async:
    async def save(self, song: int) -> None: ...
    async def title(self, song: int) -> str: ...


class AsyncReads(Plain):
    async def title(self, song: int) -> str: ...  # type: ignore[override]


class Lazy:
    def save(self, song: int) -> Iterator[int]:
        yield song


class AsyncLazy:
    async def save(self, song: int) -> AsyncIterator[int]:
        yield song


class Without:
    def title(self, song: int) -> str: ...


@pytest.mark.parametrize(("old", "new", "is_async"), [(Plain, Plain, False), (Async, Async, True), (Async, None, True)])
def test_what_fits(old: type, new: type | None, is_async: bool) -> None:
    """Would break: a class that may be wrapped is refused, or taken for what it is not."""
    assert check_classes(old(), new and new(), WRITES) is is_async


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (Plain, Async, "Async.save: coroutine functions, and Plain.save: not"),
        (Async, Plain, "Async.save: coroutine functions, and Plain.save: not"),
        (Plain, AsyncReads, "title is a coroutine function in one of Plain and AsyncReads alone"),
        (Plain, Without, "Without has no method save"),
        (Without, Plain, "Without has no method save"),
        (Lazy, Lazy, "Lazy.save is a generator"),
        (AsyncLazy, AsyncLazy, "AsyncLazy.save is a generator"),
    ],
)
def test_what_does_not_is_refused_by_wrap(old: type, new: type, says: str) -> None:
    """Would break: it shows at the first call, or after the cut-over, or as writes of which one side never learns."""
    with pytest.raises(SettingsError) as refused:
        DualWriteStore.wrap(old(), new(), WRITES)
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)


def test_there_is_no_wrapping_without_the_old_class() -> None:
    """Would break: after a rollback every call fails."""
    with pytest.raises(SettingsError, match="needs `old`"):
        DualWriteStore.wrap(None, Plain(), WRITES)


def test_another_method_that_is_missing_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Would break: the application learns after the cut-over that its new class cannot do something."""
    with caplog.at_level(logging.WARNING):
        check_classes(WithMore(), Plain(), WRITES)
    assert caplog.messages == [
        "Plain lacks count, which WithMore has: after a cut-over a call of it raises an AttributeError"
    ]
