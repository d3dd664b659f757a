"""What a load showed: rates, latencies, errors by code, and who used the processor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from service.cli.load.loops import Counted, Load


@dataclass(frozen=True, slots=True)
class Measurement:
    """One load on one server.

    Attributes:
        load: What was put on it.
        images: Images per call.
        calls: Calls answered in the time that counts.
        p50_ms, p90_ms, p99_ms, max_ms: Latencies of these; NaN without any.
        errors: Failed calls by code.
        messages: What the first error of each code said.
        cores: Cores in use on average, by who used them: CPU seconds per second.
    """

    load: Load
    images: int
    calls: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    errors: Mapping[str, int] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)
    cores: Mapping[str, float] = field(default_factory=dict)

    @property
    def calls_per_second(self) -> float:
        """Calls answered per second."""
        return self.calls / self.load.seconds

    @property
    def images_per_second(self) -> float:
        """Images of these calls per second."""
        return self.calls_per_second * self.images

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON; latencies without any call are None."""
        values = asdict(self) | {
            "calls_per_second": self.calls_per_second,
            "images_per_second": self.images_per_second,
        }
        return {name: None if value != value else value for name, value in values.items()}  # noqa: PLR0124 - NaN


def summarise(load: Load, images: int, parts: Sequence[Counted], cores: Mapping[str, float]) -> Measurement:
    """Join what the processes of one load counted."""
    latencies = np.concatenate([np.frombuffer(part.latencies, np.float64) for part in parts]) * 1e3
    p50, p90, p99, most = np.percentile(latencies, [50, 90, 99, 100]) if len(latencies) else [np.nan] * 4
    errors: Counter[str] = sum((part.errors for part in parts), Counter())
    messages = {code: text for part in parts for code, text in part.messages.items()}
    clients = {"client": sum(part.cpu_s for part in parts) / load.seconds}
    return Measurement(
        load=load,
        images=images,
        calls=len(latencies),
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        max_ms=float(most),
        errors=dict(errors),
        messages=messages,
        cores=clients | dict(cores),
    )
