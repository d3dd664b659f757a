"""Prometheus metrics of the API."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Edges of the histogram of call durations: from a cached answer to the longest deadline.
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
