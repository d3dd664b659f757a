"""The ledger's views as messages of the contract."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from mintage.v1 import jobs_pb2

from service.api.servicers.jobs.requests import FORMAT_NUMBERS
from service.api.servicers.jobs.score_messages import score_spec, show_result
from service.jobs.formulas import parsed
from service.jobs.ledger.eta import Eta
from service.jobs.ledger.views import JobView, ShardView, UnreadableJob
from service.jobs.plan import Plan
from service.jobs.storage.store import Store

SHOWN_LATENTS = 8  # of a job, where it is one of many or shown again and again


def job_message(view: JobView | UnreadableJob, store: Store) -> jobs_pb2.Job:
    """Show a job."""
    if isinstance(view, UnreadableJob):
        return _unreadable_message(view, store)
    plan = view.plan
    message = jobs_pb2.Job(
        name=f"jobs/{plan.job}",
        state=jobs_pb2.Job.State.Value(f"STATE_{view.state}"),
        progress=_progress(view),
        error=view.error,
        wait_reason=view.wait_reason,
        create_time=_timestamp(plan.create_time_ms),
        start_time=_timestamp(view.start_time_ms),
        end_time=_timestamp(view.end_time_ms),
        output_uri=store.uri(plan.prefix),
        root_digest=view.root_digest,
        priority=plan.priority,
        client=plan.client,
        labels=plan.labels,
        max_failed_shards=plan.max_failed_shards,
        arithmetic=jobs_pb2.Arithmetic(
            device_class=plan.device_class,
            torch_version=plan.torch_version,
            numerics=plan.numerics,
            precision=plan.precision,
        ),
    )
    if plan.ttl_ms:
        message.ttl.FromMilliseconds(plan.ttl_ms)
        if view.terminal:
            message.expire_time.FromMilliseconds(view.end_time_ms + plan.ttl_ms)
    if plan.scoring:
        message.score.CopyFrom(score_spec(plan))
        show_result(message, view.result or {})
    else:
        message.sample.CopyFrom(_sample_spec(plan))
    return message


def _unreadable_message(job: UnreadableJob, store: Store) -> jobs_pb2.Job:
    return jobs_pb2.Job(
        name=f"jobs/{job.job}",
        state=jobs_pb2.Job.STATE_UNREADABLE,
        error=job.error,
        create_time=_timestamp(job.create_time_ms),
        output_uri=store.uri(job.prefix) if job.prefix else "",
        client=job.client,
        labels=job.labels,
    )


def whole_job_message(view: JobView | UnreadableJob, store: Store) -> jobs_pb2.Job:
    """Show a job with all its latents, and the directions that they name."""
    message = job_message(view, store)
    if isinstance(view, UnreadableJob):
        return message
    sampling = view.plan.sampling
    if sampling is not None and sampling.latents:
        del message.sample.latents[:]
        message.sample.latents.extend(parsed(sampling))
        for name, values in sorted(sampling.directions.items()):
            message.sample.directions.add(name=name, values=values, model_digest=view.plan.model_digest)
    return message


def unmade_job_message(view: JobView, store: Store) -> jobs_pb2.Job:
    """Show a job that was not created: without what only a created one has."""
    message = job_message(view, store)
    if view.plan.job in view.plan.prefix:
        message.ClearField("output_uri")
    message.ClearField("name")
    message.ClearField("create_time")
    return message


def shard_message(plan: Plan, shard: ShardView) -> jobs_pb2.Shard:
    """Show a shard."""
    span = plan.span(shard.index)
    return jobs_pb2.Shard(
        index=shard.index,
        state=jobs_pb2.Shard.State.Value(f"STATE_{shard.state}"),
        first_index=span.start,
        count=len(span),
        attempt=shard.attempt,
        worker=shard.worker,
        digest=shard.digest,
        error=shard.error,
    )


def _progress(view: JobView) -> jobs_pb2.JobProgress:
    return jobs_pb2.JobProgress(
        images_total=view.plan.count,
        images_done=view.images_done,
        images_committed=view.images_committed,
        bytes_committed=view.bytes_committed,
        shards_total=view.plan.shards,
        shards_running=view.shards_running,
        shards_done=view.shards_done,
        shards_failed=view.shards_failed,
        attempts=view.attempts,
        images_per_second=view.images_per_second,
        eta=_eta(view.eta) if view.eta else None,
        finishing=jobs_pb2.Finishing(step=view.step.name, done=view.step.done, total=view.step.total)
        if view.step
        else None,
    )


def _eta(expected: Eta) -> jobs_pb2.Eta:
    return jobs_pb2.Eta(
        median=_duration(expected.median_s), p10=_duration(expected.p10_s), p90=_duration(expected.p90_s)
    )


def _sample_spec(plan: Plan) -> jobs_pb2.SampleSpec:
    sampling = plan.sampling
    assert sampling is not None  # noqa: S101 - only of sample jobs
    return jobs_pb2.SampleSpec(
        model=f"models/{plan.model}",
        model_digest=plan.model_digest,
        seed=sampling.seed,
        count=plan.count,
        shard_size=plan.shard_size,
        max_images_per_second=sampling.max_images_per_second,
        format=FORMAT_NUMBERS[plan.format],
        latents=parsed(sampling)[:SHOWN_LATENTS],
        index_step=sampling.index_step,
        class_index=sampling.class_index,
        latent_count=len(sampling.latents),
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(1000 * seconds))
    return duration


def _timestamp(milliseconds: int) -> Timestamp | None:
    """Show a time; none for 0."""
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000) if milliseconds else None
