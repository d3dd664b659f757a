"""The calls of JobService: requests, and how their answers are read. Both clients use it; see `calls`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from mintage._client.calls import Call, Page, made, model_name, nothing
from mintage.errors import InputError
from mintage.v1 import jobs_pb2, verification_pb2


def create_sample_job(
    model: str,
    count: int,
    *,
    seed: int,
    shard_size: int,
    output_prefix: str,
    request_id: str | None,
    max_images_per_second: float,
    priority: int,
    labels: Mapping[str, str] | None,
    ttl_s: float,
    max_failed_shards: int | None,
    format: str,  # noqa: A002 - as the field is called
    validate_only: bool,
) -> Call[jobs_pb2.Job]:
    """Create a sample job; it may be repeated because it carries a request id."""
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
        validate_only=validate_only,
    )
    return Call(_JOBS + "CreateSampleJob", request, jobs_pb2.CreateSampleJobResponse, _job)


def create_score_job(
    model: str,
    source_job: str,
    *,
    source_folder: str,
    reference_job: str,
    shard_size: int,
    splits: int,
    output_prefix: str,
    request_id: str | None,
    priority: int,
    labels: Mapping[str, str] | None,
    ttl_s: float,
    max_failed_shards: int | None,
    validate_only: bool,
) -> Call[jobs_pb2.Job]:
    """Create a score job; it may be repeated because it carries a request id."""
    request = made(
        jobs_pb2.CreateScoreJobRequest,
        model=model_name(model),
        source_job=job_name(source_job) if source_job else "",
        source_folder=source_folder,
        reference_job=job_name(reference_job) if reference_job else "",
        shard_size=shard_size,
        splits=splits,
        output_prefix=output_prefix,
        request_id=request_id or str(uuid.uuid4()),
        priority=priority,
        labels=labels,
        ttl=duration_of(ttl_s),
        max_failed_shards=max_failed_shards,
        validate_only=validate_only,
    )
    return Call(_JOBS + "CreateScoreJob", request, jobs_pb2.CreateScoreJobResponse, _job)


def get_job(job: str) -> Call[jobs_pb2.Job]:
    """One job."""
    request = jobs_pb2.GetJobRequest(name=job_name(job))
    return Call(_JOBS + "GetJob", request, jobs_pb2.GetJobResponse, _job)


def list_jobs(
    token: str,
    states: Sequence[jobs_pb2.Job.State.ValueType] = (),
    *,
    labels: Mapping[str, str] | None,
    kind: jobs_pb2.Job.Kind.ValueType,
    client: str,
) -> Call[Page[jobs_pb2.Job]]:
    """A page of the jobs that are as asked for, the newest first."""
    request = made(jobs_pb2.ListJobsRequest, page_token=token, states=states, labels=labels, kind=kind, client=client)
    return Call(_JOBS + "ListJobs", request, jobs_pb2.ListJobsResponse, lambda a: Page(a.jobs, a.next_page_token))


def watch_job(job: str, resume_token: str) -> Call[jobs_pb2.WatchJobResponse]:
    """A stream of a job's states, from the present one on, or from what is new since an earlier answer."""
    request = jobs_pb2.WatchJobRequest(name=job_name(job), resume_token=resume_token)
    return Call(_JOBS + "WatchJob", request, jobs_pb2.WatchJobResponse, lambda answer: answer)


def cancel_job(job: str) -> Call[jobs_pb2.CancelJobResponse]:
    """Ask a job to stop."""
    request = jobs_pb2.CancelJobRequest(name=job_name(job))
    return Call(_JOBS + "CancelJob", request, jobs_pb2.CancelJobResponse, lambda answer: answer)


def pause_job(job: str) -> Call[jobs_pb2.PauseJobResponse]:
    """Pause a job."""
    request = jobs_pb2.PauseJobRequest(name=job_name(job))
    return Call(_JOBS + "PauseJob", request, jobs_pb2.PauseJobResponse, lambda answer: answer)


def resume_job(job: str) -> Call[jobs_pb2.Job]:
    """Let a paused job go on."""
    request = jobs_pb2.ResumeJobRequest(name=job_name(job))
    return Call(_JOBS + "ResumeJob", request, jobs_pb2.ResumeJobResponse, _job)


def retry_failed_shards(job: str) -> Call[jobs_pb2.Job]:
    """Give the failed shards of a job fresh attempts."""
    request = jobs_pb2.RetryFailedShardsRequest(name=job_name(job))
    return Call(_JOBS + "RetryFailedShards", request, jobs_pb2.RetryFailedShardsResponse, _job)


def delete_job(job: str, *, force: bool) -> Call[None]:
    """Delete a job; the second time says NOT_FOUND, so it is not repeated."""
    request = jobs_pb2.DeleteJobRequest(name=job_name(job), force=force)
    return Call(_JOBS + "DeleteJob", request, jobs_pb2.DeleteJobResponse, nothing, repeatable=False)


def read_shard(job: str, index: int) -> Call[jobs_pb2.ReadShardResponse]:
    """A stream of the parts of a shard's file."""
    request = made(jobs_pb2.ReadShardRequest, name=job_name(job), index=index)
    return Call(_JOBS + "ReadShard", request, jobs_pb2.ReadShardResponse, lambda part: part)


def list_files(job: str) -> Call[Iterable[jobs_pb2.JobFile]]:
    """The files beside a job's shards."""
    request = jobs_pb2.ListJobFilesRequest(name=job_name(job))
    return Call(_JOBS + "ListJobFiles", request, jobs_pb2.ListJobFilesResponse, lambda a: a.files)


def read_file(job: str, file_name: str) -> Call[jobs_pb2.ReadJobFileResponse]:
    """A stream of the parts of a file beside a job's shards."""
    request = made(jobs_pb2.ReadJobFileRequest, name=job_name(job), file_name=file_name)
    return Call(_JOBS + "ReadJobFile", request, jobs_pb2.ReadJobFileResponse, lambda part: part)


def list_shards(
    job: str, token: str, states: Sequence[jobs_pb2.Shard.State.ValueType] = ()
) -> Call[Page[jobs_pb2.Shard]]:
    """A page of a job's shards in order; only those in certain states, if any are named."""
    request = jobs_pb2.ListShardsRequest(name=job_name(job), page_token=token, states=states)
    return Call(_JOBS + "ListShards", request, jobs_pb2.ListShardsResponse, lambda a: Page(a.shards, a.next_page_token))


def verify_job(job: str, *, recompute: int, seed: int) -> Call[verification_pb2.VerifyJobResponse]:
    """A stream of what the verification of a job finds."""
    request = made(
        verification_pb2.VerifyJobRequest, name=job_name(job), recompute_count=recompute, recompute_seed=seed
    )
    return Call(_JOBS + "VerifyJob", request, verification_pb2.VerifyJobResponse, lambda part: part)


def job_name(name: str) -> str:
    """Resource name of a job given with or without `jobs/`."""
    return name if name.startswith("jobs/") else f"jobs/{name}"


def format_name(format: jobs_pb2.OutputFormat.ValueType) -> str:  # noqa: A002 - as the field is called
    """What people call a format: `webdataset`, `png`, `parquet` or `npz`."""
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
        raise InputError(f"{seconds:,} s is no time that anything is kept")
    nanos = round(seconds * 1e9)
    return Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)


def has_ended(job: jobs_pb2.Job) -> bool:
    """Whether a job is in a terminal state."""
    return job.state in _TERMINAL


_FORMAT = "OUTPUT_FORMAT_"
_JOBS = "/mintage.v1.JobService/"
_TERMINAL = frozenset(
    (
        jobs_pb2.Job.STATE_SUCCEEDED,
        jobs_pb2.Job.STATE_PARTIALLY_SUCCEEDED,
        jobs_pb2.Job.STATE_FAILED,
        jobs_pb2.Job.STATE_CANCELLED,
    )
)


def _job(answer: Any) -> jobs_pb2.Job:
    job: jobs_pb2.Job = answer.job
    return job
