"""Whether an application's two classes fit together, before a call of one is passed to the other."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from sync.errors import SettingsError

log = logging.getLogger(__name__)


def check_classes(old: Any, new: Any, writes: Mapping[str, object]) -> bool:
    """Whether the writing methods are coroutine functions. Raises SettingsError unless all are, or none, in both classes.

    `new` may be None. Another public method of `old` that `new` lacks is a warning: maybe the application does not use it.
    """
    if old is None:
        raise SettingsError("DualWriteStore.wrap needs `old`, also after a cut-over: a rollback goes back to it")
    stores = [store for store in (old, new) if store is not None]
    kinds = {f"{type(store).__name__}.{name}": _is_coroutine(store, name) for store in stores for name in writes}
    if len(set(kinds.values())) > 1:
        coroutines = ", ".join(name for name, is_async in kinds.items() if is_async)
        others = ", ".join(name for name, is_async in kinds.items() if not is_async)
        raise SettingsError(f"{coroutines}: coroutine functions, and {others}: not; make all of them `async def`, or none")
    if new is not None:
        _check_others(old, new, set(writes))
    return any(kinds.values())


def _is_coroutine(store: Any, name: str) -> bool:
    method = getattr(store, name, None)
    where = f"{type(store).__name__}.{name}"
    if not callable(method):
        raise SettingsError(f"{type(store).__name__} has no method {name}, which `writes` names")
    if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        raise SettingsError(
            f"{where} is a generator: its writes are made after the call; make it a function that returns a list"
        )
    return inspect.iscoroutinefunction(method)


def _check_others(old: Any, new: Any, writes: set[str]) -> None:
    names = [name for name in _public_methods(old) if name not in writes]
    for name in names:
        if hasattr(new, name) and inspect.iscoroutinefunction(getattr(old, name)) != inspect.iscoroutinefunction(
            getattr(new, name)
        ):
            raise SettingsError(
                f"{name} is a coroutine function in one of {type(old).__name__} and {type(new).__name__} alone: make it "
                "`async def` in both, or in none"
            )
    if missing := [name for name in names if not hasattr(new, name)]:
        log.warning(
            "%s lacks %s, which %s has: after a cut-over a call of it raises an AttributeError",
            type(new).__name__, ", ".join(missing), type(old).__name__,
        )  # fmt: skip


def _public_methods(store: Any) -> Iterable[str]:
    """Of the class alone: a property is not asked for its value."""
    return (name for name, value in inspect.getmembers_static(type(store)) if name[0] != "_" and inspect.isroutine(value))
