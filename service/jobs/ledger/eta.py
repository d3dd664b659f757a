"""How long a job will still take, as a calibrated range: it is wrong as often as it says, and not much less often.

The past is cut into windows of equal length. The future is expected at the mean speed of the windows, recent ones
weighing more; the uncertainty follows from how much they differ, and from how alike neighbours are: a job whose speed
drifts is less predictable than one whose speed only jitters. A stall longer than any so far cannot be foreseen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

MIN_SHARDS = 3  # finished ones, before which their duration is a guess
MIN_SPAN_S = 2.0  # of the past: less is start-up
MIN_WINDOWS, MAX_WINDOWS = 6, 32  # fewer have no variance worth the name; more are too short for whole requests
MEMORY = 0.35  # of the past, as a share: older windows weigh less
DRIFT = 0.05  # lowest relative doubt about the mean speed
MAX_FACTOR = 6.0  # beyond it a range says nothing anyway
NINE_IN_TEN = 1.2816  # quantile of the normal distribution
ENDING_S = 0.3  # noticing the end, writing the manifest

Point = tuple[float, float]  # seconds, images done by then


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds to the end: in nine of ten cases more than `p10_s`, in nine of ten no more than `p90_s`."""

    median_s: float
    p10_s: float
    p90_s: float


def eta(
    trail: Sequence[Point], *, left: int, shard_size: int, running: int, shard_s: float, shard_deviation_s: float
) -> Eta | None:
    """Estimate the time to a job's end.

    Args:
        trail: when how many images were done, in order; the last point is now.
        left: images still to do, >= 1.
        shard_size: images in a shard.
        running: shards that workers hold now, >= 0.
        shard_s: how long a shard took on average, from claim to commit.
        shard_deviation_s: standard deviation of that.

    Returns: None if the trail is too short, or no image was done in it.
    """
    rates, window_s = _rates(trail)
    weights = [math.exp((1 - len(rates) + i) / (MEMORY * len(rates))) for i in range(len(rates))]
    mean = _mean(rates, weights)
    if mean <= 0:
        return None
    work_s = left / mean
    if left <= running * shard_size:  # no shard waits any more: workers that were there before have nothing to do
        work_s *= max(mean * shard_s / shard_size / running, 1.0)
    factor = min(math.exp(NINE_IN_TEN * _doubt(rates, weights, mean, ahead=work_s / window_s)), MAX_FACTOR)
    wait_s, max_wait_s = _wait_s(running, shard_s, shard_deviation_s)
    return Eta(work_s + wait_s + ENDING_S, work_s / factor, work_s * factor + max_wait_s + 2 * ENDING_S)


def _wait_s(workers: int, shard_s: float, deviation_s: float) -> tuple[float, float]:
    """Seconds lost at the end, while the last shards run and other workers have none: expected, and at most.

    The workers' last shards end evenly spread over the duration of one, give or take its deviation; the last one
    counts.
    """
    if workers < 2:
        return 0.0, deviation_s
    latest = math.sqrt(2 * math.log(workers))  # about the largest of so many normal numbers
    spread_s = shard_s * (workers - 1) / (workers + 1)
    return spread_s / 2 + latest * deviation_s, spread_s + 2 * latest * deviation_s + deviation_s


def _rates(trail: Sequence[Point]) -> tuple[list[float], float]:
    """Images a second in windows of equal length, and that length; none if there is too little to see."""
    if len(trail) < MIN_WINDOWS or trail[-1][0] - trail[0][0] < MIN_SPAN_S:
        return [], 1.0
    begin, span = trail[0][0], trail[-1][0] - trail[0][0]
    count = min(len(trail) - 1, MAX_WINDOWS)
    window_s = span / count
    edges = [_done_at(trail, begin + i * window_s) for i in range(count + 1)]
    return [(after - before) / window_s for before, after in pairwise(edges)], window_s


def _done_at(trail: Sequence[Point], at: float) -> float:
    """Images done at a moment within the trail, even steps between its points."""
    for (before, low), (after, high) in pairwise(trail):
        if at <= after:
            return low if after == before else low + (high - low) * (at - before) / (after - before)
    return trail[-1][1]


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights) if values else 0.0


def _doubt(rates: Sequence[float], weights: Sequence[float], mean: float, *, ahead: float) -> float:
    """Relative standard deviation of the mean speed of the next `ahead` windows."""
    away = [rate - mean for rate in rates]
    variance = _mean([each * each for each in away], weights)
    if not variance:
        return DRIFT
    alike = _mean([a * b for a, b in pairwise(away)], weights[1:]) / variance
    alike = min(max(alike, 0.0), 0.9)
    apart = (1 - alike) / (1 + alike)  # so many independent windows one window is worth
    past = math.fsum(weights) ** 2 / math.fsum(w * w for w in weights) * apart
    doubt = variance / mean**2 * (1 / max(past, 1.0) + 1 / max(ahead * apart, 1.0))
    few = 1 + 0.7 / max(past - 1, 0.5)  # Student's distribution is wider than the normal one by about so much
    return math.sqrt(doubt * few**2 + DRIFT**2 * (1 + ahead / len(rates)))
