"""OpenTelemetry spans of writes and of ranges, where its API is installed; docs/tracing.md says what they are.

Whoever configures a tracer provider gets them; this package configures none. There are no keys and no values in them: of an
error they have its kind, since its text may quote a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from sync.core.rows import TableMap
from sync.errors import WriteRefused, WriteUnsure
from sync.flows.observing import Observe, RangeSpan, StopRequested, Trace, unobserved, untraced
from sync.ports import Lease

if TYPE_CHECKING:
    from opentelemetry.trace import Span

T = TypeVar("T")
_NAME = "sync"
_OPERATION, _TABLE, _ROWS = "db.operation.name", "db.collection.name", "db.operation.batch.size"
_OUTCOME, _ERROR = "sync.outcome", "error.type"
_FAILED = frozenset({"refused", "unsure", "left"})
_FLUSH_MILLIS = 2000
_LOOK_SECONDS = 1.0


class Untraced:
    """Where opentelemetry-api is not installed."""

    def write(self, operation: str, table: str, call: Callable[[], T], rows: int | None = None) -> T:
        """What the call returns, with a span of the write around it; `rows` of a write of several."""
        return call()

    def begin(self, operation: str, table: str) -> Callable[[BaseException | None], None]:
        """Begin the span of a write that ends in another thread; call the result with its error, if there was one."""
        return lambda _: None

    @contextmanager
    def within(self, operation: str) -> Iterator[None]:
        """A span around several writes, of any tables."""
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
    """What stores and workers record.

    A write asks for a provider once a second at most: the API's own way to nothing is some fifteen functions, which are
    cold within a write, and take 20 µs of it.
    """

    def __init__(self) -> None:
        from opentelemetry import context, trace

        self._trace, self._context = trace, context
        self._tracer = trace.get_tracer(_NAME)
        self._is_on, self._look_at = False, 0.0
        self._about = cache(lambda operation, table: (f"{operation} {table}", {_OPERATION: operation, _TABLE: table}))

    def write(self, operation: str, table: str, call: Callable[[], T], rows: int | None = None) -> T:
        """The span is the current one meanwhile, so that what other libraries record stands below it."""
        if not (self._is_on or (time.monotonic() >= self._look_at and self._look())):
            return call()
        name, attributes = self._about(operation, table)
        span = self._tracer.start_span(name, attributes=attributes)
        if rows is not None:
            span.set_attribute(_ROWS, rows)
        with self._current(span):
            result = call()
            # An insert where there is a row, or an update where there is none.
            span.set_attribute(_OUTCOME, "unchanged" if result is False else "written")
            return result

    def _look(self) -> bool:
        self._is_on = not isinstance(self._trace.get_tracer_provider(), self._trace.ProxyTracerProvider)
        self._look_at = time.monotonic() + _LOOK_SECONDS
        return self._is_on

    @contextmanager
    def within(self, operation: str) -> Iterator[None]:
        """As `write`, for a block of the caller's."""
        with self._current(span := self._tracer.start_span(operation, attributes={_OPERATION: operation})):
            yield
            span.set_attribute(_OUTCOME, "written")

    @contextmanager
    def _current(self, span: Span) -> Iterator[None]:
        token = self._context.attach(self._trace.set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            self._failed(span, error)
            raise
        finally:
            self._context.detach(token)
            span.end()

    def begin(self, operation: str, table: str) -> Callable[[BaseException | None], None]:
        """The span has the parent of this thread, and is the current one nowhere."""
        name, attributes = self._about(operation, table)
        span = self._tracer.start_span(name, attributes=attributes)

        def end(error: BaseException | None) -> None:
            if error is None:
                span.set_attribute(_OUTCOME, "written")
            else:
                self._failed(span, error)
            span.end()

        return end

    def _failed(self, span: Span, error: BaseException) -> None:
        if isinstance(error, StopRequested):
            span.set_attribute(_OUTCOME, "left")
            return
        outcome = "unsure" if isinstance(error, WriteUnsure) else "refused" if isinstance(error, WriteRefused) else "failed"
        span.set_attribute(_OUTCOME, outcome)
        self._set_error(span, f"{type(error).__module__}.{type(error).__qualname__}")

    def _set_error(self, span: Span, kind: str) -> None:
        span.set_attribute(_ERROR, kind)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))

    def sides(self, table: TableMap, count: Observe = unobserved) -> Observe:
        """Made when the part has ended: the flows tell how long it took, and know of no spans."""
        known: dict[str, dict[str, str]] = {
            "source": {"db.system.name": "cassandra", _TABLE: table.name, "sync.side": "source"},
            "target": {"db.system.name": "postgresql", _TABLE: table.target.name, "sync.side": "target"},
        }
        names = {side: f"{side} {table.name}" for side in known}

        def observed(side: str, outcome: str, seconds: float) -> None:
            count(side, outcome, seconds)
            if self._is_on and self._trace.get_current_span().get_span_context().is_valid:
                now = time.time_ns()
                span = self._tracer.start_span(
                    names[side],
                    kind=self._trace.SpanKind.CLIENT,
                    attributes={**known[side], _OUTCOME: outcome},
                    start_time=now - int(seconds * 1e9),
                )
                if outcome in _FAILED:
                    self._set_error(span, outcome)
                span.end(now)

        return observed

    def ranges(self, operation: str) -> Trace:
        """Around the reading of the source, the comparison or load, and the checkpoint."""

        @contextmanager
        def traced(lease: Lease) -> Iterator[RangeSpan]:
            name, attributes = self._about(operation, lease.table)
            span = self._tracer.start_span(name, attributes=attributes)
            span.set_attributes(
                {"sync.range.start": lease.whole.start, "sync.range.end": lease.whole.end, "sync.worker": lease.owner}
            )
            with self._current(span):
                yield _RangeSpan(span, self._failed)

        return traced

    def flush(self) -> None:
        """As RQ ends a job's process. What does not answer within two seconds is given up."""
        flush: Any = getattr(self._trace.get_tracer_provider(), "force_flush", None)
        if flush:
            flush(_FLUSH_MILLIS)


class _RangeSpan:
    def __init__(self, span: Span, fail: Callable[[Span, BaseException], None]) -> None:
        self._span, self._fail = span, fail

    def ended(self, outcome: str, **figures: int) -> None:
        self._span.set_attribute(_OUTCOME, outcome)
        for name, number in figures.items():
            self._span.set_attribute(f"sync.{name}", number)

    def failed(self, error: BaseException) -> None:
        self._fail(self._span, error)


@cache
def tracing() -> Untraced:
    """This process's spans."""
    try:
        return Tracing()
    except ModuleNotFoundError:
        return Untraced()
