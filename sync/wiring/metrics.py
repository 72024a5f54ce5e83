"""The state of a migration in Prometheus's text format: for `/metrics` of `sync worker` and of the dashboard."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from sync.adapters.queue_state import QueueState, read_queue
from sync.core.metrics import JOBS, METRICS, STATE, UP, WORKERS, Metric, Sample, samples
from sync.errors import PreflightError, SettingsError, SyncError
from sync.settings import Config, Settings
from sync.wiring.readings import Readings, answer
from sync.wiring.servers import servers_away
from sync.wiring.status import read_status

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `metrics_text` returns."""


def require_client() -> None:
    """Raise SettingsError where prometheus-client is not installed."""
    try:
        import prometheus_client  # noqa: F401
    except ModuleNotFoundError:
        raise SettingsError(
            "metrics need the package prometheus-client, which is not installed: pip install 'dual-write-sync[metrics]'"
        ) from None


def metrics_text(settings: Settings, config: Config, readings: Readings | None = None) -> bytes:
    """All metrics of docs/metrics.md about the state, as they are now; a server that is away has `sync_up` 0, and no values.

    So has one that hangs, after the time that `readings` gives it; who asks again and again passes the same ones.
    Raises SettingsError where prometheus-client is not installed.
    """
    require_client()
    return as_text(list(_read(settings, config, readings or Readings())), METRICS)


def as_text(found: Sequence[Sample], metrics: Sequence[Metric]) -> bytes:
    """These values of these metrics.

    Not by a Counter or a Gauge of prometheus_client: with PROMETHEUS_MULTIPROC_DIR each goes on from what stands in a file.
    """
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Collected(found, metrics))
    return generate_latest(registry)


def _read(settings: Settings, config: Config, readings: Readings) -> Iterator[Sample]:
    away = servers_away(settings, readings)
    is_up = {server: not why for server, why in away.items()}
    begun = time.monotonic()
    state, queue = (
        partial(read_status, settings, config, [server for server, up in is_up.items() if not up]),
        partial(read_queue, settings),
    )
    asked: dict[str, Future[Any]] = {
        server: readings.begin(f"{server}-state", read)
        for server, read in (("postgres", state), ("redis", queue))
        if is_up.get(server)
    }
    for server, samples_of in (("postgres", partial(_state, config)), ("redis", _queue)):
        if server in asked:
            try:
                yield from samples_of(answer(asked[server], begun, readings.state_seconds))
            except PreflightError:
                yield Sample(STATE, 0)
            except (SyncError, psycopg.Error):
                is_up[server] = False
    for server, up in is_up.items():
        yield Sample(UP, up, (server,))


def _state(config: Config, status: dict[str, Any]) -> Iterator[Sample]:
    yield from samples(status, config.dual_write.writer_lease_seconds, datetime.now(UTC))
    yield Sample(STATE, 1)


def _queue(queue: QueueState) -> Iterator[Sample]:
    yield Sample(WORKERS, queue.workers)
    yield Sample(JOBS, queue.waiting, ("waiting",))
    yield Sample(JOBS, queue.failed, ("failed",))


class _Collected:
    """What was read, as prometheus_client's registry takes it: a family a metric, also of those without a value."""

    def __init__(self, found: Sequence[Sample], metrics: Sequence[Metric]) -> None:
        self._found, self._metrics = found, metrics

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for metric in self._metrics:
            family = _family(metric)
            for sample in self._found:
                if sample.metric is metric:
                    family.add_metric(sample.labels, float(sample.value))
            yield family


def _family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.text, labels=metric.labels)
