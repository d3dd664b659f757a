"""Prometheus metrics of the models, read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.models.asking.admission import Admissions
from service.models.registry import Registry


class ModelCollector(Collector):
    """Reads the state of the models at each scrape."""

    def __init__(self, admissions: Admissions, registry: Registry) -> None:
        self._admissions = admissions
        self._registry = registry

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the calls at each model, whether it is ready, and how many of its batch sizes were withdrawn."""
        calls = GaugeMetricFamily("mintage_model_calls", "Calls at a model.", labels=("backend",))
        for backend, count in self._admissions.counts().items():
            calls.add_metric((backend,), count)
        ready = GaugeMetricFamily("mintage_model_ready", "1 if the last inference succeeded.", labels=("model",))
        withdrawn = GaugeMetricFamily(
            "mintage_model_withdrawn_batch_sizes",
            "Proven batch sizes that later gave other bits; must be 0.",
            labels=("model",),
        )
        for entry in self._registry.entries():
            ready.add_metric((entry.name,), entry.condition.state == "ready")
            if entry.record is not None:
                withdrawn.add_metric((entry.name,), len(self._registry.withdrawn(entry.record)))
        yield calls
        yield ready
        yield withdrawn
