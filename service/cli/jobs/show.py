"""Printing jobs for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import typer
from mintage.client import Client
from mintage.v1.jobs_pb2 import Job, Shard

from service.cli.console import FAILED, console, table
from service.cli.jobs import progress
from service.cli.jobs.scores import passed_over, score_facts
from service.cli.json_lines import print_json, word_of

MAX_FORMULA = 60  # characters of a formula in a table


def watch_with_bar(client: Client, name: str, *, on_change: Callable[[Job], None] = lambda _: None) -> Job:
    """Show a job to its end and return it; `on_change` is called for every change."""

    def states() -> Iterator[Job]:
        for job in client.watch(name):
            on_change(job)
            yield job

    return progress.follow(states(), as_json=False) or client.job(name)


def created(client: Client, job: Job, *, wait: bool, as_json: bool) -> None:
    """Show a job that was created: to its end, or at once."""
    if wait:
        follow(client, job.name, as_json=as_json)
    elif as_json:
        print_json(job)
    elif job.name:
        if passed_over(job):
            typer.echo(
                f"{job.score.source_folder}: {job.progress.images_total:,} images; passed over {passed_over(job)}",
                err=True,
            )
        typer.echo(job.name)
    else:
        typer.echo("the job would be accepted; nothing was created")
        print_job(job)


def follow(client: Client, name: str, *, as_json: bool) -> None:
    """Show a job to its end; exit with 1 if it did not succeed."""
    job = progress.follow_to_end(client, name, as_json=as_json)
    if not as_json:
        print_job(job)
    if progress.state_name(job) != "succeeded":
        raise typer.Exit(FAILED)


def print_list(found: list[Job]) -> None:
    """Print a table of jobs."""
    rows = [
        (
            job.name.removeprefix("jobs/"),
            progress.state_name(job),
            _what(job),
            f"{job.progress.images_done:,}/{job.progress.images_total:,}",
            _time(job.create_time) if job.HasField("create_time") else "-",
        )
        for job in found
    ]
    columns = ("job", "state", "work", "images", "created")
    console().print(table(columns, rows, right=("images",)))


def print_job(job: Job) -> None:
    """Print everything about one job."""
    facts: list[tuple[str, Any]] = [
        ("job", job.name),
        ("state", progress.state_name(job) if job.name else ""),
        ("work", _what(job)),
        ("images", f"{job.progress.images_done:,} of {job.progress.images_total:,}"),
        ("format", _format(job)),
        ("shards", progress.shard_counts(job)),
        ("speed", progress.speed(job)),
        ("now", progress.finishing(job)),
        ("priority", job.priority),
        ("labels", ", ".join(f"{name}={value}" for name, value in sorted(job.labels.items()))),
        ("client", job.client),
        ("failed shards", f"at most {job.max_failed_shards:,}" if job.HasField("max_failed_shards") else ""),
        ("computed on", _arithmetic(job)),
        ("output", job.output_uri),
        ("root digest", job.root_digest),
        ("error", job.error),
        ("waits", job.wait_reason),
        ("created", _time(job.create_time) if job.HasField("create_time") else ""),
        ("started", _time(job.start_time) if job.HasField("start_time") else ""),
        ("ended", _time(job.end_time) if job.HasField("end_time") else ""),
        ("kept", _kept(job)),
        *score_facts(job),
    ]
    console().print(table(("", ""), [fact for fact in facts if fact[1]]))


def _arithmetic(job: Job) -> str:
    """What decides the bits of a job's files; empty from a server that does not say."""
    found = job.arithmetic
    return f"{found.device_class}, torch {found.torch_version}, numerics {found.numerics}" if found.numerics else ""


def _kept(job: Job) -> str:
    """How long a job is kept, or until when."""
    if job.HasField("expire_time"):
        return f"until {_time(job.expire_time)}, then it is deleted with its files"
    return f"{job.ttl.ToTimedelta()} after its end, then it is deleted" if job.HasField("ttl") else ""


def _what(job: Job) -> str:
    from mintage.formulas import text_of

    if job.WhichOneof("spec") == "sample":
        model = job.sample.model.removeprefix("models/")
        if not job.sample.latent_count:
            return f"sample {model}, seed {job.sample.seed}"
        others = f" and {job.sample.latent_count - 1:,} more" if job.sample.latent_count > 1 else ""
        return f"draw {model}, {_short(text_of(job.sample.latents[0]))}{others}"
    if job.WhichOneof("spec") is None:
        return ""
    scored = job.score.source_job.removeprefix("jobs/") or f"folder {job.score.source_folder}"
    return f"score {scored} by {job.score.model.removeprefix('models/')}"


def _short(formula: str) -> str:
    return formula if len(formula) <= MAX_FORMULA else f"{formula[: MAX_FORMULA - 3]}..."


def _format(job: Job) -> str:
    from mintage._client.creation_calls import format_name

    return format_name(job.sample.format) if job.WhichOneof("spec") == "sample" else ""


def shard_row(shard: Shard) -> tuple[Any, ...]:
    """Return a shard as a row of the table."""
    from mintage.v1 import jobs_pb2

    state = word_of(jobs_pb2.Shard.State.DESCRIPTOR, jobs_pb2.Shard.State.Name(shard.state))
    last = shard.digest[:12] or shard.error
    return (shard.index, state, shard.first_index, shard.count, shard.attempt, shard.worker, last)


def _time(timestamp: Any) -> str:
    """Show a time in the local zone."""
    from datetime import UTC

    return f"{timestamp.ToDatetime(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S}"
