"""Prometheus metrics of the API."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.admission import Admissions
from service.registry import Registry

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one API process, in a collection of their own."""

    def __init__(self) -> None:
        self.collection = CollectorRegistry()
        self.calls = Counter(
            "mintage_api_calls", "Finished calls by method and status.", ("method", "code"), registry=self.collection
        )
        self.seconds = Histogram(
            "mintage_api_call_seconds",
            "Time from the start of a call to its status.",
            ("method",),
            buckets=SECONDS,
            registry=self.collection,
        )
        self.in_flight = Gauge(
            "mintage_api_calls_in_flight", "Calls that have no status yet.", ("method",), registry=self.collection
        )
        self.images = Counter(
            "mintage_images", "Images of finished calls.", ("model", "operation"), registry=self.collection
        )

    def watch(self, admissions: Admissions, registry: Registry) -> None:
        """Show the models as they are whenever somebody asks."""
        self.collection.register(_Models(admissions, registry))

    def expose(self, host: str, port: int) -> None:
        """Serve the metrics over HTTP from a thread until the process ends."""
        start_http_server(port, addr=host, registry=self.collection)


class _Models(Collector):
    """Reads the state of the models at each scrape."""

    def __init__(self, admissions: Admissions, registry: Registry) -> None:
        self._admissions = admissions
        self._registry = registry

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give the calls at each model and whether it is ready."""
        calls = GaugeMetricFamily("mintage_model_calls", "Calls at a model.", labels=("backend", "state"))
        for backend, (running, waiting) in self._admissions.counts().items():
            calls.add_metric((backend, "running"), running)
            calls.add_metric((backend, "waiting"), waiting)
        ready = GaugeMetricFamily("mintage_model_ready", "1 if the last inference succeeded.", labels=("model",))
        for entry in self._registry.entries():
            ready.add_metric((entry.name,), entry.condition.state == "ready")
        yield calls
        yield ready
