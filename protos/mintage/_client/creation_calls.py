"""Creating bulk jobs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration

from mintage._client.calls import Call, made, model_name
from mintage._client.job_calls import job_name, read_job
from mintage._client.latent_calls import Formulas, read
from mintage.errors import InputError
from mintage.v1 import jobs_pb2

_JOBS = "/mintage.v1.JobService/"
_FORMAT = "OUTPUT_FORMAT_"


def create_sample_job(
    model: str,
    count: int,
    *,
    seed: int = 0,
    shard_size: int = 0,
    output_prefix: str = "",
    request_id: str | None = None,
    max_images_per_second: float = 0.0,
    priority: int = 0,
    labels: Mapping[str, str] | None = None,
    ttl_s: float = 0.0,
    max_failed_shards: int | None = None,
    format: str = "webdataset",  # noqa: A002 - as the field is called
    latents: Formulas = (),
    index_step: int = 0,
    class_index: int | None = None,
    validate_only: bool = False,
) -> Call[jobs_pb2.Job]:
    """Create a durable job that generates images in bulk.

    Args:
        model: A loaded generator.
        count: Number of images, from 1 to 100,000,000.
        seed: Of the latents, from 0 to 2^64 - 1.
        shard_size: Images per shard, from 1 to 100,000; 0 chooses.
        output_prefix: Folder below the server's output folder; '' chooses `jobs/{job}`.
        request_id: 1 to 128 printable ASCII characters; the same id gives the same job. None chooses a new one.
        max_images_per_second: Upper bound for all workers together, from 0.001 to 1,000,000; 0 is none.
        priority: Among your own jobs, from -10 to 10; one step is worth 1.25 times the share of the workers.
        labels: To find the job by: at most 32.
        ttl_s: Seconds from the job's end until it is deleted with its files, from 1 s to ten years; 0 is the server's
            default.
        max_failed_shards: One more failed shard ends the job; None allows any number.
        format: `webdataset`, `png`, `parquet` or `npz`.
        latents: Formulas as for `draw`, at most 4096, to draw instead of samples: image i is formula i mod n.
        index_step: What is added to the index of every sample in them after each n images, from 0 to 2^32.
        class_index: Class of what is drawn from latents; None is the class of the first sample in each.
        validate_only: Create nothing; returns the job as it would be, without a name.

    Raises:
        InputError: if a number does not fit its field, a text is no formula, or there is no such format.
        InvalidRequest: naming every wrong field, and every wrong part of a formula.
        NotFound: if the model is not loaded.
        NotPossible: if it is not a generator, or the output folder cannot be used.
        AlreadyExists: if the request id has other parameters, or the output folder belongs to another job.
        Overloaded: if a quota is used up or the disk is full.
    """
    request = made(
        jobs_pb2.CreateSampleJobRequest,
        model=model_name(model),
        count=count,
        seed=seed,
        shard_size=shard_size,
        output_prefix=output_prefix,
        request_id=request_id or str(uuid.uuid4()),
        max_images_per_second=max_images_per_second,
        priority=priority,
        labels=labels,
        ttl=duration_of(ttl_s),
        max_failed_shards=max_failed_shards,
        format=_format(format),
        latents=read(latents, seed=seed),
        index_step=index_step,
        class_index=class_index,
        validate_only=validate_only,
    )
    return Call(_JOBS + "CreateSampleJob", request, jobs_pb2.CreateSampleJobResponse, read_job)


def create_score_job(
    model: str,
    source_job: str = "",
    *,
    source_folder: str = "",
    reference_job: str = "",
    shard_size: int = 0,
    resize: bool = False,
    splits: int = 0,
    output_prefix: str = "",
    request_id: str | None = None,
    priority: int = 0,
    labels: Mapping[str, str] | None = None,
    ttl_s: float = 0.0,
    max_failed_shards: int | None = None,
    validate_only: bool = False,
) -> Call[jobs_pb2.Job]:
    """Create a job that scores images with a classifier, or with the concept neurons of an autoencoder.

    Args:
        model: A loaded classifier or autoencoder.
        source_job: A sample job that has succeeded, whose images are scored.
        source_folder: Instead of it, a folder below the server's input folder.
        reference_job: A score job by the same model that has succeeded, to compare the images with.
        shard_size: Images per shard of a folder, from 1 to 100,000; 0 chooses. A job keeps its own shards.
        resize: Bring the images of a job to the model's size, as those of a folder always are.
        splits: Over which the score's mean and standard deviation are taken, from 1 to 1000; 0 chooses 10.
        output_prefix: As for `create_sample_job`, as are those below.
        request_id: As there.
        priority: As there.
        labels: As there.
        ttl_s: As there.
        max_failed_shards: As there; but a score job with a failed shard never succeeds in part.
        validate_only: As there.

    Raises:
        InputError: if a number does not fit its field.
        InvalidRequest: naming every wrong field.
        NotFound: if the model is not loaded, or a job or the folder does not exist.
        NotPossible: if the model scores no images, a job has not succeeded, or model and images do not fit.
        AlreadyExists, Overloaded: as `create_sample_job`.
        TimedOut: also if listing the folder takes too long.
    """
    request = made(
        jobs_pb2.CreateScoreJobRequest,
        model=model_name(model),
        source_job=job_name(source_job) if source_job else "",
        source_folder=source_folder,
        reference_job=job_name(reference_job) if reference_job else "",
        shard_size=shard_size,
        resize=resize,
        splits=splits,
        output_prefix=output_prefix,
        request_id=request_id or str(uuid.uuid4()),
        priority=priority,
        labels=labels,
        ttl=duration_of(ttl_s),
        max_failed_shards=max_failed_shards,
        validate_only=validate_only,
    )
    return Call(_JOBS + "CreateScoreJob", request, jobs_pb2.CreateScoreJobResponse, read_job)


def format_name(format: jobs_pb2.OutputFormat.ValueType) -> str:  # noqa: A002 - as the field is called
    """Name of a format: `webdataset`, `png`, `parquet` or `npz`."""
    return jobs_pb2.OutputFormat.Name(format).removeprefix(_FORMAT).lower()


def _format(name: str) -> jobs_pb2.OutputFormat.ValueType:
    known = [format_name(number) for number in jobs_pb2.OutputFormat.values() if number]
    if name not in known:
        raise InputError(f"the format must be one of {', '.join(known)}, not {name}")
    return jobs_pb2.OutputFormat.Value(_FORMAT + name.upper())


def duration_of(seconds: float) -> Duration | None:
    """A duration; none for 0."""
    if not seconds:
        return None
    if not abs(seconds) < 1e11:
        raise InputError(f"a job cannot be kept for {seconds:,} s")
    nanos = round(seconds * 1e9)
    return Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)
