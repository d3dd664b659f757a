"""Looking up, steering, watching, reading, verifying and repairing bulk jobs, named with or without `jobs/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mintage._client.calls import Call, Page, Pages, Stream, made, nothing
from mintage._client.downloads import FileReader, ShardReader
from mintage.v1 import jobs_pb2, repair_pb2, verification_pb2


def job(name: str) -> Call[jobs_pb2.Job]:
    """Get one job.

    Raises:
        InvalidRequest: if this cannot be a job's name.
        NotFound: if there is no such job.
    """
    request = jobs_pb2.GetJobRequest(name=job_name(name))
    return Call(_JOBS + "GetJob", request, jobs_pb2.GetJobResponse, read_job)


def jobs(
    states: Sequence[jobs_pb2.Job.State.ValueType] = (),
    *,
    labels: Mapping[str, str] | None = None,
    kind: jobs_pb2.Job.Kind.ValueType = jobs_pb2.Job.KIND_UNSPECIFIED,
    client: str = "",
) -> Pages[jobs_pb2.Job]:
    """List the jobs that match every filter, newest first, fetched page by page; an empty filter matches all.

    Raises:
        InputError: if a filter does not fit its field.
        InvalidRequest: if there is no such state, kind or label.
    """

    def page(token: str) -> Call[Page[jobs_pb2.Job]]:
        request = made(
            jobs_pb2.ListJobsRequest, page_token=token, states=states, labels=labels, kind=kind, client=client
        )
        return Call(_JOBS + "ListJobs", request, jobs_pb2.ListJobsResponse, lambda a: Page(a.jobs, a.next_page_token))

    return Pages(page)


class Watch:
    """A watch of one job, which can be resumed after any answer.

    Attributes:
        ended: Whether the job was seen to end.
    """

    def __init__(self, name: str) -> None:
        self.ended = False
        self._request = jobs_pb2.WatchJobRequest(name=job_name(name))

    def call(self) -> Call[jobs_pb2.Job]:
        """The stream of what is new since the last answer that was read."""
        return Call(_JOBS + "WatchJob", self._request, jobs_pb2.WatchJobResponse, self._read)

    def _read(self, answer: jobs_pb2.WatchJobResponse) -> jobs_pb2.Job:
        self._request = jobs_pb2.WatchJobRequest(name=self._request.name, resume_token=answer.resume_token)
        self.ended = has_ended(answer.job)
        return answer.job


def watch(name: str) -> Watch:
    """Yield a job now and after every change, until it ends; survives restarts of the server and has no time limit.

    Nothing is shown twice, and no number of the progress falls unless failed shards are retried.

    Raises:
        InvalidRequest: if this cannot be a job's name.
        NotFound: if there is no such job, or it was deleted meanwhile.
        Unavailable: if the server stays away longer than the retries last.
    """
    return Watch(name)


def cancel(name: str) -> Call[jobs_pb2.CancelJobResponse]:
    """Cancel a job; it stops within one micro-batch. A job that has ended stays as it is.

    Returns: the job, and `durable`: false while the request could not be written beside the job's files, for example
    because the disk is full.

    Raises:
        InvalidRequest: if this cannot be a job's name.
        NotFound: if there is no such job.
    """
    request = jobs_pb2.CancelJobRequest(name=job_name(name))
    return Call(_JOBS + "CancelJob", request, jobs_pb2.CancelJobResponse, lambda answer: answer)


def pause(name: str) -> Call[jobs_pb2.PauseJobResponse]:
    """Pause a job; workers stop within one micro-batch, and nothing finished is lost.

    Returns: the job, and `durable` as for `cancel`.

    Raises:
        InvalidRequest: if this cannot be a job's name.
        NotFound: if there is no such job.
        NotPossible: if it is finalizing, being cancelled, or has ended.
    """
    request = jobs_pb2.PauseJobRequest(name=job_name(name))
    return Call(_JOBS + "PauseJob", request, jobs_pb2.PauseJobResponse, lambda answer: answer)


def resume(name: str) -> Call[jobs_pb2.Job]:
    """Resume a paused job.

    Raises:
        InvalidRequest: if this cannot be a job's name.
        NotFound: if there is no such job.
        NotPossible: if it is finalizing, being cancelled, or has ended, or another encoder makes its images.
        Overloaded: if the disk is full; then nothing has changed.
    """
    request = jobs_pb2.ResumeJobRequest(name=job_name(name))
    return Call(_JOBS + "ResumeJob", request, jobs_pb2.ResumeJobResponse, read_job)


def retry(name: str) -> Call[jobs_pb2.Job]:
    """Give the failed shards of a finished job fresh attempts; the others stay as they are.

    Raises:
        InvalidRequest: if this cannot be a job's name.
        NotFound: if there is no such job.
        NotPossible: if it is unfinished, no shard has failed, or another encoder makes its images.
        Overloaded: if the disk is full; then nothing has changed.
    """
    request = jobs_pb2.RetryFailedShardsRequest(name=job_name(name))
    return Call(_JOBS + "RetryFailedShards", request, jobs_pb2.RetryFailedShardsResponse, read_job)


def delete(name: str, *, force: bool = False) -> Call[None]:
    """Delete a finished job and its files; `force` cancels an unfinished one and waits for its end.

    Not repeated by the client, since the second time says NOT_FOUND.

    Raises:
        InvalidRequest: if this cannot be a job's name.
        NotFound: if there is no such job.
        NotPossible: if it is unfinished and `force` is not set.
        Unavailable, TimedOut: the job may be deleted all the same; calling again continues.
    """
    request = jobs_pb2.DeleteJobRequest(name=job_name(name), force=force)
    return Call(_JOBS + "DeleteJob", request, jobs_pb2.DeleteJobResponse, nothing, repeatable=False)


def read_shard(name: str, index: int) -> Stream[bytes]:
    """Yield the bytes of a finished shard's file, piece by piece; `index` is from 0.

    Raises:
        InputError: if the index does not fit its field.
        InvalidRequest: if this cannot be a job's name.
        NotFound: if there is no such job or shard, or the shard is unfinished.
        NotPossible: if the file is missing or was changed.
        Damaged: at the end, if the bytes are not those that the digest says.
        Unavailable: if the server goes away meanwhile.
    """
    request = made(jobs_pb2.ReadShardRequest, name=job_name(name), index=index)
    reader = ShardReader()
    return Stream(Call(_JOBS + "ReadShard", request, jobs_pb2.ReadShardResponse, reader.take), reader.check)


def files(name: str) -> Call[list[jobs_pb2.JobFile]]:
    """List the files of a job beside its shards: plan, manifest, contact sheet, scores, report.

    Raises:
        InvalidRequest: if this cannot be a job's name.
        NotFound: if there is no such job.
        NotPossible: if its folder cannot be read.
    """
    request = jobs_pb2.ListJobFilesRequest(name=job_name(name))
    return Call(_JOBS + "ListJobFiles", request, jobs_pb2.ListJobFilesResponse, lambda a: list(a.files))


def read_file(name: str, file_name: str) -> Stream[bytes]:
    """Yield the bytes of one of these files, piece by piece.

    Raises:
        InvalidRequest: if this cannot be the name of a job, or of a file.
        NotFound: if there is no such job or file.
        NotPossible: if the file cannot be read.
        Damaged: at the end, if the bytes are not those that the server read.
        Unavailable: if the server goes away meanwhile.
    """
    request = made(jobs_pb2.ReadJobFileRequest, name=job_name(name), file_name=file_name)
    reader = FileReader()
    return Stream(Call(_JOBS + "ReadJobFile", request, jobs_pb2.ReadJobFileResponse, reader.take), reader.check)


def shards(name: str, states: Sequence[jobs_pb2.Shard.State.ValueType] = ()) -> Pages[jobs_pb2.Shard]:
    """List the shards of a job in order, or those in these states, fetched page by page.

    Raises:
        InvalidRequest: if this cannot be a job's name, or there is no such state.
        NotFound: if there is no such job.
    """

    def page(token: str) -> Call[Page[jobs_pb2.Shard]]:
        request = jobs_pb2.ListShardsRequest(name=job_name(name), page_token=token, states=states)
        answer = jobs_pb2.ListShardsResponse
        return Call(_JOBS + "ListShards", request, answer, lambda a: Page(a.shards, a.next_page_token))

    return Pages(page)


def verify(name: str, *, recompute: int = 0, seed: int = 0) -> Stream[verification_pb2.VerifyJobResponse]:
    """Hash every shard of a finished job; yields progress and findings, and last the verdict.

    Args:
        name: The job.
        recompute: Samples of a sample job to recompute and compare byte for byte, from 0 to 10,000.
        seed: Of the draw of these samples, from 0 to 2^64 - 1.

    Raises:
        InputError: if a number does not fit its field.
        InvalidRequest: if this cannot be a job's name, or a number is out of its range.
        NotFound: if there is no such job.
        NotPossible: if it is unfinished or retried meanwhile, or its samples cannot be recomputed bit for bit here.
        Unavailable: if the server goes away, or the model does not answer.
    """
    request = made(
        verification_pb2.VerifyJobRequest, name=job_name(name), recompute_count=recompute, recompute_seed=seed
    )
    return Stream(Call(_JOBS + "VerifyJob", request, verification_pb2.VerifyJobResponse, lambda part: part))


def repair(name: str) -> Stream[repair_pb2.RepairJobResponse]:
    """Make exactly what is damaged or missing of a finished job again; yields findings, progress, last the outcome.

    The job goes on if the call ends early; calling again follows it. A job that is whole is not changed.

    Raises:
        InvalidRequest: if this cannot be a job's name.
        NotFound: if there is no such job.
        NotPossible: if it is unfinished or was cancelled, or its shards cannot be made bit for bit here.
        AlreadyExists: if its folder belongs to another job by now.
        Overloaded: if the disk is full.
        Unavailable: if the server goes away.
    """
    request = repair_pb2.RepairJobRequest(name=job_name(name))
    return Stream(Call(_JOBS + "RepairJob", request, repair_pb2.RepairJobResponse, lambda part: part))


def job_name(name: str) -> str:
    """Resource name of a job given with or without `jobs/`."""
    return name if name.startswith("jobs/") else f"jobs/{name}"


def has_ended(job: jobs_pb2.Job) -> bool:
    """Whether a job is in a terminal state."""
    return job.state in _TERMINAL


def read_job(answer: Any) -> jobs_pb2.Job:
    """The job in an answer that is one."""
    job: jobs_pb2.Job = answer.job
    return job


_JOBS = "/mintage.v1.JobService/"
_TERMINAL = frozenset(
    (
        jobs_pb2.Job.STATE_SUCCEEDED,
        jobs_pb2.Job.STATE_PARTIALLY_SUCCEEDED,
        jobs_pb2.Job.STATE_FAILED,
        jobs_pb2.Job.STATE_CANCELLED,
    )
)
