"""A request for a sample job: checked field by field, and made a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mintage.v1 import jobs_pb2

from service.api.servicers.jobs.requests import FORMATS, check_common, job_options
from service.jobs.plan import MAX_COUNT, MAX_SHARD_SIZE, MAX_SHARDS, Plan, Sampling, default_shard_size
from service.jobs.shards.formats.choice import encoder_of
from service.models.registry import ModelRecord
from service.validation import Violations

# Images per second: at the lower bound one image takes 17 minutes; no server comes near the upper one.
MIN_RATE, MAX_RATE = 0.001, 1_000_000


def checked_sample(request: jobs_pb2.CreateSampleJobRequest) -> str:
    """Check every field and fill in the defaults of those that are 0; returns the model's name.

    Raises:
        InvalidArgument: naming every wrong field.
    """
    violations = Violations()
    model = violations.model_name("model", request.model)
    violations.in_range("count", request.count, 1, MAX_COUNT)
    violations.in_range("shard_size", request.shard_size, 0, MAX_SHARD_SIZE)
    request.shard_size = request.shard_size or default_shard_size(request.count)
    smallest = -(-request.count // MAX_SHARDS)
    if request.count <= MAX_COUNT and 1 <= request.shard_size < smallest:
        violations.add("shard_size", f"must be at least {smallest:,} for at most {MAX_SHARDS:,} shards")
    rate = request.max_images_per_second
    if rate and not MIN_RATE <= rate <= MAX_RATE:
        violations.add("max_images_per_second", f"must be 0 or from {MIN_RATE} to {MAX_RATE:,}, not {rate:,}")
    request.max_images_per_second = rate or 0.0
    request.format = request.format or jobs_pb2.OUTPUT_FORMAT_WEBDATASET
    if request.format not in FORMATS:
        violations.add("format", f"must be a format that this server knows, not {request.format}")
    check_common(request, violations)
    violations.check()
    return model


def parameters(request: jobs_pb2.CreateSampleJobRequest, model: str) -> dict[str, Any]:
    """What tells two requests with the same request id apart; the default format is left out."""
    return {
        "kind": "sample",
        "model": model,
        "seed": request.seed,
        "count": request.count,
        "shard_size": request.shard_size,
        "output_prefix": request.output_prefix,
        "max_images_per_second": request.max_images_per_second,
        **({} if request.format == jobs_pb2.OUTPUT_FORMAT_WEBDATASET else {"format": request.format}),
        **job_options(request),
    }


def sample_plan(request: jobs_pb2.CreateSampleJobRequest, identity: Mapping[str, Any], record: ModelRecord) -> Plan:
    """Cut a sample job whose request was checked; `identity` is what every plan says about its job and model."""
    return Plan(
        **identity,
        height=record.height,
        width=record.width,
        channels=record.channels,
        count=request.count,
        shard_size=request.shard_size,
        format=FORMATS[request.format],
        sampling=Sampling(
            seed=request.seed,
            encoder=encoder_of(FORMATS[request.format]),
            max_images_per_second=request.max_images_per_second,
        ),
    )
