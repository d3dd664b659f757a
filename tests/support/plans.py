"""Plans for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

from service.jobs.plan import Plan, Sampling, Scoring
from service.jobs.shards.formats.choice import encoder_of


def sampling(form: str = "webdataset-png", *, seed: int = 7, max_images_per_second: float = 0.0) -> Sampling:
    """The part of a sample job's plan that says how its images are made, for a format."""
    return Sampling(
        seed=seed,
        encoder="" if form == "safetensors" else encoder_of(form),
        max_images_per_second=max_images_per_second,
    )


def sample_plan(**changes: Any) -> Plan:
    """A sample job of 10 images 4x3x1 in shards of 4."""
    changes = {"sampling": sampling(str(changes.get("format", "webdataset-png"))), **changes}
    plan = Plan(
        job="01k0000000000000",
        prefix="jobs/01k0000000000000",
        create_time_ms=1_700_000_000_000,
        request_id="",
        request_digest="0" * 64,
        model="digits",
        model_digest="a" * 64,
        backend_name="digits-aaaaaaaaaaaa",
        device_class="cpu",
        torch_version="2.13.0",
        numerics=1,
        precision="float32",
        micro_batch=2,
        height=4,
        width=3,
        channels=1,
        count=10,
        shard_size=4,
        format="webdataset-png",
        sampling=sampling(),
    )
    return dataclasses.replace(plan, **changes)


def score_plan(source: Plan, source_root_digest: str, **changes: Any) -> Plan:
    """The score job of a sample job, with two classes."""
    plan = dataclasses.replace(
        source,
        job="01k0000000000001",
        prefix="jobs/01k0000000000001",
        format="safetensors",
        sampling=None,
        scoring=Scoring(
            source_job=source.job,
            source_prefix=source.prefix,
            source_root_digest=source_root_digest,
            splits=2,
            classes=("even", "odd"),
        ),
    )
    return dataclasses.replace(plan, **changes)
