"""Score jobs whose shards are written by the test: what a model would have said of made-up images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.jobs.dispatch.finalize import finalize
from service.jobs.manifest import Ending
from service.jobs.plan import Plan, ScoredConcept
from service.jobs.shards.formats.scores import ScoreWriter
from service.jobs.shards.publish import publish
from service.jobs.sources.choice import source_digest
from service.jobs.storage.local_store import LocalStore
from tests.support.plans import sample_plan, score_plan
from tests.support.shards import make_shards, marker_of

FEATURES = 5
CONCEPTS = (ScoredConcept(name="cat", sign=1, threshold=0.5), ScoredConcept(name="dog", sign=-1, threshold=-1.0))


def made_source(root: Path, count: int = 40, shard_size: int = 7) -> tuple[Plan, str]:
    """A finished sample job and its root digest."""
    plan = sample_plan(count=count, shard_size=shard_size)
    make_shards(root, plan, range(plan.shards))
    LocalStore(root).output(plan.prefix).put("plan.json", plan.to_json())
    return plan, finalize(LocalStore(root), plan, cancelled=False, errors={}).root_digest


def plan_of(source: tuple[Plan, str], job: str, **scoring: Any) -> Plan:
    """The plan of a score job of a source; `scoring` changes what it asks."""
    plan = score_plan(*source, job=job, prefix=f"jobs/{job}")
    assert plan.scoring is not None
    return dataclasses.replace(plan, scoring=dataclasses.replace(plan.scoring, **{"features": FEATURES, **scoring}))


def rows_of(plan: Plan, seed: int) -> dict[str, np.ndarray]:
    """What a model says of all images of a plan."""
    random = np.random.default_rng(seed)
    assert plan.scoring is not None
    features = random.normal(size=(plan.count, FEATURES)).astype(np.float32)
    if plan.scoring.concepts:
        activations = random.normal(size=(plan.count, 2)).astype(np.float32)
        seen = np.stack([activations[:, 0] > 0.5, -activations[:, 1] > -1.0], axis=1)
        return {"activations": activations, "detected": seen, "features": features}
    share = random.random(plan.count).astype(np.float32)
    return {"probabilities": np.stack([share, 1 - share], axis=1), "generated": share, "features": features}


def write_shards(root: Path, plan: Plan, rows: dict[str, np.ndarray], order: Sequence[int]) -> None:
    """Write the shards in some order, each in two pieces."""
    store = LocalStore(root)
    output = store.output(plan.prefix)
    output.put("plan.json", plan.to_json())
    for shard in order:
        span = plan.span(shard)
        with output.temporary("t") as temporary:
            writer = ScoreWriter(temporary.file, plan, shard)
            for piece in (slice(span.start, span.start + 1), slice(span.start + 1, span.stop)):
                writer.add(**{name: values[piece] for name, values in rows.items()})
            writer.finish()
            marker = marker_of(plan, shard, writer.digest, writer.size)
            scored = source_digest(store, plan, shard)
            publish(output, plan, dataclasses.replace(marker, source_digest=scored), temporary)


def finished(root: Path, plan: Plan, seed: int, order: Sequence[int] | None = None) -> Ending:
    """A finished score job."""
    write_shards(root, plan, rows_of(plan, seed), order or range(plan.shards))
    return finalize(LocalStore(root), plan, cancelled=False, errors={})


def against(reference: Plan, ending: Ending) -> dict[str, Any]:
    """What a plan says of its reference."""
    return {
        "reference_job": reference.job,
        "reference_prefix": reference.prefix,
        "reference_root_digest": ending.root_digest,
    }
