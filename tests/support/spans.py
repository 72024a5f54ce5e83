"""Spans that this process records, in memory: `recorded()`; and of processes that it starts: `recording`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sync.wiring.tracing import tracing

# What is recorded is written by `force_flush` alone, since the batch's own turn comes after an hour.
_SITE = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
provider = TracerProvider(shutdown_on_exit=False)
exporter = ConsoleSpanExporter(out=open({file!r}, "a"), formatter=lambda span: span.to_json(indent=None) + "\\n")
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000, export_timeout_millis=3_600_000))
trace.set_tracer_provider(provider)
"""


class _Unruly(SpanProcessor):
    """A processor that raises while it is told to."""

    raises = False

    def on_start(self, span: object, parent_context: object = None) -> None:
        self.on_end(span)

    def on_end(self, span: object) -> None:
        if self.raises:
            raise ValueError("a processor of somebody's")


_UNRULY = _Unruly()


@contextmanager
def unruly() -> Iterator[None]:
    """Whoever begins or ends a span meets an error."""
    _exporter()
    _UNRULY.raises = True
    try:
        yield
    finally:
        _UNRULY.raises = False


@cache
def _exporter() -> InMemorySpanExporter:
    """The process's provider can be set once; spans of other tests are cleared before each use."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.add_span_processor(_UNRULY)
    trace.set_tracer_provider(provider)
    return exporter


Spans = Callable[[], list[ReadableSpan]]


@contextmanager
def recorded() -> Iterator[Spans]:
    """A function that gives the spans that have ended since, in the order of their ends."""
    exporter = _exporter()
    exporter.clear()
    tracing.cache_clear()  # as in a process that has written nothing yet
    yield lambda: list(exporter.get_finished_spans())
    exporter.clear()


def recording(folder: Path) -> tuple[str, Callable[[], list[dict[str, Any]]]]:
    """For PYTHONPATH: a Python that starts with it records spans; and a function that reads those of all of them."""
    site, file = folder / "site", folder / "spans.jsonl"
    site.mkdir()
    file.touch()
    (site / "sitecustomize.py").write_text(_SITE.format(file=str(file)))
    return str(site), lambda: [json.loads(line) for line in file.read_text().splitlines()]


def about(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes, with its name and its status."""
    return {"name": span.name, "status": span.status.status_code.name, **(span.attributes or {})}


def text_of(spans: list[ReadableSpan]) -> str:
    """All that they say."""
    return "".join(span.to_json() for span in spans)
