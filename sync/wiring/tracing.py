"""OpenTelemetry spans of writes and of ranges, where its API is installed; docs/tracing.md says what they are.

Whoever configures a tracer provider gets them; this package configures none. There are no keys and no values in them: of an
error they have its kind, since its text may quote a row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache, lru_cache
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from sync.core.rows import TableMap
from sync.errors import WriteRefused, WriteUnsure
from sync.flows.observing import Observe, RangeSpan, StopRequested, Trace, unobserved, untraced
from sync.ports import Lease

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

T = TypeVar("T")
log = logging.getLogger(__name__)
_NAME = "sync"
_OPERATION, _TABLE, _ROWS = "db.operation.name", "db.collection.name", "db.operation.batch.size"
_OUTCOME, _ERROR = "sync.outcome", "error.type"
_FAILED = frozenset({"refused", "unsure", "left"})
_FLUSH_SECONDS = 2.0
_LOOK_SECONDS = 1.0


End = Callable[[BaseException | None, str], None]
"""Ends a write's span: with its error, or with what became of it."""


class Untraced:
    """Where opentelemetry-api is not installed."""

    def write(self, operation: str, table: str, call: Callable[[], T], rows: int | None = None) -> T:
        """What the call returns, with a span of the write around it; `rows` of a write of several."""
        return call()

    def begin(self, operation: str, table: str) -> End:
        """Begin the span of a write that ends in another thread."""
        return lambda _error, _outcome: None

    @contextmanager
    def within(self, operation: str, table: str | None = None) -> Iterator[None]:
        """A span around a block: of a write of this table, or of several writes."""
        yield

    def sides(self, table: TableMap, count: Observe = unobserved) -> Observe:
        """Counts, and makes a span of each side's part, below that of the write."""
        return count

    def ranges(self, operation: str) -> Trace:
        """Makes a span around each range that a worker works on."""
        return untraced

    def flush(self) -> None:
        """Send what is recorded: this process is about to end without the interpreter's own shutdown."""


class Tracing(Untraced):
    """What stores and workers record. Whatever a provider's processors raise is logged, and changes nothing about a write.

    Each call asks for a provider once a second at most: the API's own way to nothing is some fifteen functions, which are
    cold within a write, and take 20 µs of it.
    """

    def __init__(self) -> None:
        from opentelemetry import context, trace

        self._trace, self._context = trace, context
        self._tracer = trace.get_tracer(_NAME)
        self._is_on, self._look_at, self._said = False, 0.0, False
        self._about = lru_cache(1000)(  # tables' names come from callers
            lambda operation, table: (f"{operation} {table}", {_OPERATION: operation, _TABLE: table})
        )

    def _on(self) -> bool:
        return self._is_on or (time.monotonic() >= self._look_at and self._look())

    def _look(self) -> bool:
        provider = self._guarded(self._trace.get_tracer_provider)
        self._is_on = provider is not None and not isinstance(provider, self._trace.ProxyTracerProvider)
        self._look_at = time.monotonic() + _LOOK_SECONDS
        return self._is_on

    def _guarded(self, do: Callable[[], T]) -> T | None:
        try:
            return do()
        except Exception as error:  # noqa: BLE001 (samplers and processors are others' code, and a write must reach its end)
            if not self._said:
                self._said = True
                log.warning("spans are not recorded: OpenTelemetry: %s", type(error).__name__)
            return None

    def write(self, operation: str, table: str, call: Callable[[], T], rows: int | None = None) -> T:
        """The span is the current one meanwhile, so that what other libraries record stands below it."""
        if not self._on():
            return call()
        name, attributes = self._about(operation, table)
        with self._current(name, attributes if rows is None else {**attributes, _ROWS: rows}) as span:
            result = call()
            # An insert where there is a row, or an update where there is none; of a call, what it returns means anything.
            span.ended("unchanged" if result is False and operation != "call" else "written")
            return result

    @contextmanager
    def within(self, operation: str, table: str | None = None) -> Iterator[None]:
        """As `write`, for a block of the caller's."""
        if not self._on():
            yield
            return
        name, attributes = self._about(operation, table) if table else (operation, {_OPERATION: operation})
        with self._current(name, attributes) as span:
            yield
            span.ended("written")

    @contextmanager
    def _current(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[_Span]:
        span = self._started(name, attributes)
        entered = self._guarded(lambda: self._enter(span.own))
        try:
            yield span
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            self._guarded(lambda: self._leave(entered))
            span.end()

    def _started(self, name: str, attributes: Mapping[str, str | int]) -> _Span:
        return _Span(self._guarded(lambda: self._tracer.start_span(name, attributes=attributes)), self._guarded)

    def _enter(self, span: Span | None) -> tuple[Context, Context] | None:
        if span is None:
            return None
        before, mine = self._context.get_current(), self._trace.set_span_in_context(span)
        self._context.attach(mine)
        return mine, before

    def _leave(self, entered: tuple[Context, Context] | None) -> None:
        # Not by the token: a framework may end a block in another copy of the context than it began in, where the token is
        # not good, and where there may be nothing to take back.
        if entered and self._context.get_current() is entered[0]:
            self._context.attach(entered[1])

    def begin(self, operation: str, table: str) -> End:
        """The span has the parent of this thread, and is the current one nowhere."""
        if not self._on():
            return super().begin(operation, table)
        span = self._started(*self._about(operation, table))

        def end(error: BaseException | None, outcome: str) -> None:
            if error is None:
                span.ended(outcome)
            else:
                span.failed(error)
            span.end()

        return end

    def sides(self, table: TableMap, count: Observe = unobserved) -> Observe:
        """Made when the part has ended: the flows tell how long it took, and know of no spans."""
        known: dict[str, dict[str, str]] = {
            "source": {"db.system.name": "cassandra", _TABLE: table.name, "sync.side": "source"},
            "target": {"db.system.name": "postgresql", _TABLE: table.target.name, "sync.side": "target"},
        }
        names = {side: f"{side} {table.name}" for side in known}

        def record(side: str, outcome: str, seconds: float) -> None:
            if not self._trace.get_current_span().get_span_context().is_valid:
                return
            now = time.time_ns()
            span = self._tracer.start_span(
                names[side],
                kind=self._trace.SpanKind.CLIENT,
                attributes={**known[side], _OUTCOME: outcome},
                start_time=now - int(seconds * 1e9),
            )
            if outcome in _FAILED:
                _set_error(span, outcome)
            span.end(now)

        def observed(side: str, outcome: str, seconds: float) -> None:
            count(side, outcome, seconds)
            if self._is_on:
                self._guarded(lambda: record(side, outcome, seconds))

        return observed

    def ranges(self, operation: str) -> Trace:
        """Around the reading of the source, the comparison or load, and the checkpoint."""

        def traced(lease: Lease) -> AbstractContextManager[RangeSpan]:
            if not self._on():
                return untraced(lease)
            name, attributes = self._about(operation, lease.table)
            tokens = {"sync.range.start": lease.whole.start, "sync.range.end": lease.whole.end}
            return self._current(name, {**attributes, **tokens, "sync.worker": lease.owner})

        return traced

    def flush(self) -> None:
        """As RQ ends a job's process. Given up after two seconds: an exporter waits as long as it likes."""
        flush: Any = getattr(self._trace.get_tracer_provider(), "force_flush", None) if self._on() else None
        if flush:
            thread = Thread(target=lambda: self._guarded(flush), name="sync-flush-spans", daemon=True)
            self._guarded(thread.start)
            self._guarded(lambda: thread.join(_FLUSH_SECONDS))
            if thread.is_alive():
                log.warning("spans were not sent within %g s", _FLUSH_SECONDS)


class _Span:
    """A span, or none if it could not be begun."""

    def __init__(self, own: Span | None, guarded: Callable[[Callable[[], None]], object]) -> None:
        self.own, self._guarded = own, guarded

    def ended(self, outcome: str, **figures: int) -> None:
        self._set({_OUTCOME: outcome, **{f"sync.{name}": number for name, number in figures.items()}})

    def failed(self, error: BaseException) -> None:
        if isinstance(error, StopRequested):
            self.ended("left")
            return
        self.ended("unsure" if isinstance(error, WriteUnsure) else "refused" if isinstance(error, WriteRefused) else "failed")
        own = self.own
        if own is not None:
            self._guarded(lambda: _set_error(own, f"{type(error).__module__}.{type(error).__qualname__}"))

    def _set(self, attributes: Mapping[str, str | int]) -> None:
        own = self.own
        if own is not None:
            self._guarded(lambda: own.set_attributes(attributes))

    def end(self) -> None:
        if self.own is not None:
            self._guarded(self.own.end)


def _set_error(span: Span, kind: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute(_ERROR, kind)
    span.set_status(Status(StatusCode.ERROR))


@cache
def tracing() -> Untraced:
    """This process's spans."""
    try:
        return Tracing()
    except ImportError:  # also where another package has made a folder `opentelemetry`
        return Untraced()
    except Exception as error:  # noqa: BLE001 (a provider that is named in the environment, and cannot be had)
        log.warning("there are no spans: OpenTelemetry: %s", type(error).__name__)
        return Untraced()
