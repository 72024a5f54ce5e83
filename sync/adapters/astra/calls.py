"""Calls to the Data API: temporary failures are retried with growing waits, and errors become this project's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import stamina

from sync.adapters.astra.faults import ERRORS, Fault, fault_of
from sync.errors import SourceUnavailable, Unreachable, WriteRefused, WriteRefusedNow, WriteUnsure

T = TypeVar("T")
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0


class Calls:
    """Calls one database; a call that fails temporarily is retried until `seconds` have passed."""

    def __init__(self, host: str, seconds: float) -> None:
        self._host, self._seconds = host, seconds

    def read(self, what: str, call: Callable[[], T]) -> T:
        """What the call returns. Raises WriteRefused for bad input, Unreachable for bad credentials, SourceUnavailable."""
        try:
            return self._repeated(call, [])
        except ERRORS as error:
            fault = fault_of(error)
            if fault.credentials:
                raise Unreachable(self._text(what, fault)) from None
            if fault.certain and not fault.passing:
                raise WriteRefused(self._text(what, fault)) from None
            raise SourceUnavailable(self._text(what, fault)) from None

    def write(self, what: str, call: Callable[[], object]) -> bool:
        """Write; returns whether an earlier attempt may still arrive after the last. Raises WriteRefused, WriteUnsure."""
        faults: list[Fault] = []
        try:
            self._repeated(call, faults)
        except ERRORS as error:
            faults.append(fault_of(error))
            if all(fault.certain for fault in faults):
                refused = WriteRefusedNow if faults[-1].passing else WriteRefused
                raise refused(self._text(what, faults[-1])) from None
            raise WriteUnsure(f"{self._text(what, faults[-1])}; it may have been written") from None
        return not all(fault.certain for fault in faults)

    def _repeated(self, call: Callable[[], T], faults: list[Fault]) -> T:
        def wait(error: Exception) -> bool | float:
            fault = fault_of(error) if isinstance(error, ERRORS) else None
            if fault is None or not fault.passing:
                return False
            faults.append(fault)
            # The wait that the server asks for, but capped: stamina would sleep all of it, even beyond the time limit.
            return min(fault.after, _LONGEST_WAIT) if fault.after is not None else True

        attempts = stamina.retry_context(
            on=wait, attempts=None, timeout=self._seconds, wait_initial=_FIRST_WAIT, wait_max=_LONGEST_WAIT, wait_jitter=0.2
        )
        for attempt in attempts:
            with attempt:
                return call()
        raise AssertionError("stamina ends with a result or an error")

    def _text(self, what: str, fault: Fault) -> str:
        return f"{what}: the Data API at {self._host}: {fault.text}"
