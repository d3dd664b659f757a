"""A request for a sample job: checked field by field, and made a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mintage.formulas import text_of
from mintage.latents import MAX_INDEX
from mintage.v1 import jobs_pb2

from service.api.requests import formulas
from service.api.servicers.jobs.requests import FORMATS, check_common, job_options
from service.jobs.formulas import last_index
from service.jobs.plan import (
    MAX_COUNT,
    MAX_SHARD_SIZE,
    MAX_SHARDS,
    Plan,
    Sampling,
    default_shard_size,
    request_digest,
)
from service.jobs.shards.formats.choice import encoder_of
from service.models.directions.store import SavedDirections
from service.models.records import ModelRecord
from service.validation import Violations

# Images per second: at the lower bound one image takes 17 minutes; no server comes near the upper one.
MIN_RATE, MAX_RATE = 0.001, 1_000_000
MAX_INDEX_STEP = 2**32
MAX_FORMULAS = 2**18  # characters of a job's formulas together: a plan is kept in memory and in Redis


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
    _check_drawn(request, violations)
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
        **_drawn_parameters(request),
        **job_options(request),
    }


def sample_plan(
    request: jobs_pb2.CreateSampleJobRequest,
    identity: Mapping[str, Any],
    record: ModelRecord,
    saved: SavedDirections,
) -> Plan:
    """Cut a sample job whose request was checked; `identity` is what every plan says about its job and model.

    Raises:
        InvalidArgument: naming every part of a formula that is wrong for the model.
    """
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
            classes=record.classes,
            max_images_per_second=request.max_images_per_second,
            **_drawn(request, record, saved),
        ),
    )


def _check_drawn(request: jobs_pb2.CreateSampleJobRequest, violations: Violations) -> None:
    """Note what is wrong about drawing latents, whatever the model."""
    violations.in_range("index_step", request.index_step, 0, MAX_INDEX_STEP)
    if request.latents:
        return
    for field, given in (("index_step", request.index_step), ("class_index", request.HasField("class_index"))):
        if given:
            violations.add(field, "must not be given without `latents`")


def _drawn_parameters(request: jobs_pb2.CreateSampleJobRequest) -> dict[str, Any]:
    if not request.latents:
        return {}
    texts = [latent.SerializeToString(deterministic=True).hex() for latent in request.latents]
    class_index = {"class_index": request.class_index} if request.HasField("class_index") else {}
    return {"latents": request_digest(texts), "index_step": request.index_step, **class_index}


def _drawn(request: jobs_pb2.CreateSampleJobRequest, record: ModelRecord, saved: SavedDirections) -> dict[str, Any]:
    """Return what a plan says about drawn latents; nothing if it makes samples of a seed."""
    if not request.latents:
        return {}
    violations = Violations()
    class_index = request.class_index if request.HasField("class_index") else None
    formulas.check_class(class_index, record, violations)
    directions = formulas.check_latents("latents", request.latents, record, saved, violations)
    violations.check()
    if last_index(request.latents, request.count, request.index_step) > MAX_INDEX:
        violations.add("index_step", f"makes an index of a sample larger than {MAX_INDEX:,}")
    texts = tuple(map(text_of, request.latents))
    if (characters := sum(map(len, texts))) > MAX_FORMULAS:
        violations.add("latents", f"must be at most {MAX_FORMULAS:,} characters as text, not {characters:,}")
    violations.check()
    return {
        "latents": texts,
        "directions": dict(directions),
        "index_step": request.index_step,
        "class_index": class_index,
    }
