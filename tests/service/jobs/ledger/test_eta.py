"""The time left is honest: over many jobs of many kinds, it is wrong about as often as it says."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from service.jobs.ledger.eta import Eta, eta

MICRO_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a made-up job goes: each micro-batch takes about batch_s, times a jitter, a drift of all and rare stalls."""

    workers: int = 2
    shard_size: int = 320
    shards: int = 60
    batch_s: float = 0.1
    jitter: float = 0.2
    drift: float = 0.0
    stall: float = 0.0

    @property
    def images(self) -> int:
        """All of them."""
        return self.shards * self.shard_size


@dataclass(frozen=True)
class Moment:
    """After one micro-batch."""

    at: float
    images: int
    finished: int
    running: int


COURSES = {
    "one steady worker": Course(workers=1, jitter=0.1),
    "two steady workers": Course(),
    "four uneven workers": Course(workers=4, shards=80, jitter=0.6, stall=0.01),
    "a machine that gets busier": Course(shards=100, drift=0.05),
    "stalls": Course(shard_size=160, shards=100, jitter=0.3, drift=0.01, stall=0.03),
    "a short job": Course(shard_size=64, shards=40, batch_s=0.3, jitter=0.3, drift=0.02),
    "many workers, few shards": Course(workers=16, shard_size=640, shards=64, batch_s=0.3, jitter=0.3, drift=0.01),
}


def played(course: Course, chance: random.Random) -> tuple[list[Moment], list[float]]:
    """Play a job; returns its moments, and how long each shard took, in order of finishing."""
    moments: list[Moment] = []
    took: list[float] = []
    queue = [(0.05 * chance.random(), worker) for worker in range(course.workers)]
    heapq.heapify(queue)
    begun, images, pace, before = 0, 0, 0.0, 0.0
    held: dict[int, tuple[float, int]] = {}  # worker -> when it claimed its shard, images of it that are done
    while queue:
        at, worker = heapq.heappop(queue)
        pace += course.drift * math.sqrt(at - before) * chance.gauss(0, 1)
        before = at
        if worker in held:
            since, done = held[worker]
            images += MICRO_BATCH
            held[worker] = since, done + MICRO_BATCH
            if done + MICRO_BATCH == course.shard_size:
                took.append(at - since)
                del held[worker]
            moments.append(Moment(at, images, len(took), len(held)))
        if worker not in held:
            if begun == course.shards:
                continue
            begun += 1
            held[worker] = at, 0
        wait = course.batch_s * math.exp(pace) * chance.lognormvariate(0, course.jitter)
        wait += chance.expovariate(1 / (20 * course.batch_s)) if chance.random() < course.stall else 0.0
        heapq.heappush(queue, (at + wait, worker))
    return moments, took


def trail_until(moments: list[Moment], last: int) -> list[tuple[float, float]]:
    """What the ledger keeps of the course: at most 64 points, thinned as `leave_trail` in the prelude does."""
    gap, due = 0.5, 0.0
    trail: list[tuple[float, float]] = []
    for moment in moments[: last + 1]:
        if moment.at >= due:
            trail.append((moment.at, moment.images))
            if len(trail) > 64:
                trail, gap = trail[::2], 2 * gap
            due = trail[-1][0] + gap
    return [*trail, (moments[last].at, moments[last].images)]


def predictions(course: Course, *, jobs: int, seed: int) -> Iterator[tuple[float, Eta]]:
    """The true time left, and what is said of it, at random moments of many jobs."""
    chance = random.Random(seed)
    for _ in range(jobs):
        moments, took = played(course, chance)
        end = moments[-1].at + chance.uniform(0.05, 0.5)
        for _ in range(3):
            index = chance.randrange(len(moments))
            now = moments[index]
            if now.finished < 3 or now.images == course.images:
                continue
            shards = took[: now.finished]
            mean = sum(shards) / len(shards)
            said = eta(
                trail_until(moments, index),
                left=course.images - now.images,
                shard_size=course.shard_size,
                running=now.running,
                shard_s=mean,
                shard_deviation_s=math.sqrt(sum((each - mean) ** 2 for each in shards) / len(shards)),
            )
            if said is not None:
                yield end - now.at, said


@pytest.mark.parametrize("name", COURSES)
def test_the_range_holds_what_it_promises(name: str) -> None:
    said = list(predictions(COURSES[name], jobs=80, seed=7))
    assert len(said) > 100
    sooner = sum(true < expected.p10_s for true, expected in said) / len(said)
    later = sum(true > expected.p90_s for true, expected in said) / len(said)
    assert sooner <= 0.15 and later <= 0.15, f"sooner in {sooner:.0%}, later in {later:.0%} of the cases"


@pytest.mark.parametrize(("name", "widest"), [("one steady worker", 1.5), ("two steady workers", 1.8)])
def test_a_steady_job_gets_a_narrow_range(name: str, widest: float) -> None:
    ratios = sorted(said.p90_s / said.p10_s for _, said in predictions(COURSES[name], jobs=40, seed=3))
    assert ratios[len(ratios) // 2] < widest


def test_half_of_the_jobs_take_longer_than_is_likely() -> None:
    said = [each for course in COURSES.values() for each in predictions(course, jobs=40, seed=5)]
    share = sum(true > expected.median_s for true, expected in said) / len(said)
    assert 0.35 < share < 0.65


def test_a_stalled_job_gets_a_later_end_and_a_wider_range() -> None:
    steady = [(float(second), 100.0 * second) for second in range(21)]

    def of(trail: list[tuple[float, float]]) -> Eta:
        said = eta(trail, left=2000, shard_size=100, running=2, shard_s=2.0, shard_deviation_s=0.1)
        assert said is not None
        return said

    now, later = of(steady), of([*steady, (40.0, 2000.0)])
    assert later.median_s > 1.5 * now.median_s
    assert later.p90_s / later.p10_s > 2 * now.p90_s / now.p10_s


@pytest.mark.parametrize(
    "trail", [[], [(0.0, 0.0)], [(0.1 * i, float(i)) for i in range(10)], [(float(i), 5.0) for i in range(20)]]
)
def test_nothing_is_said_of_what_is_too_short_or_stands_still(trail: list[tuple[float, float]]) -> None:
    assert eta(trail, left=10, shard_size=5, running=1, shard_s=1.0, shard_deviation_s=0.0) is None
