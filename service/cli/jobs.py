"""`mintage jobs ...`: bulk work that goes on when this command does not.

mintage jobs sample digits -n 1000000 --seed 7      # waits; Ctrl-C leaves the job running
mintage jobs score judge 01kat7x2m9q3zc5d
mintage jobs watch 01kat7x2m9q3zc5d
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import job_control, job_files, job_progress, job_score, job_verify
from service.cli.console import (
    DEFAULT_API,
    FAILED,
    ApiOption,
    JsonOption,
    connect,
    console,
    friendly_errors,
    print_json,
    table,
    to_dict,
)
from service.cli.job_control import JobArgument, WaitOption
from service.cli.job_options import (
    DryRunOption,
    Format,
    FormatOption,
    Kind,
    LabelOption,
    MaxFailedOption,
    PrefixOption,
    PriorityOption,
    RequestIdOption,
    ShardState,
    TtlOption,
    kind_of,
    labels_of,
    seconds_of,
)
from service.cli.job_scores_shown import score_facts

if TYPE_CHECKING:
    from mintage.client import Client
    from mintage.v1.jobs_pb2 import Job, Shard

jobs = typer.Typer(name="jobs", help="Make and score images in bulk, durably.", no_args_is_help=True)


@jobs.command()
def sample(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A loaded generator.")],
    *,
    count: Annotated[int, typer.Option("--count", "-n", help="Number of images, from 1 to 100,000,000.")],
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the latents.")] = 0,
    shard_size: Annotated[int, typer.Option(min=0, max=100_000, help="Images in a file; 0 chooses 1024 to 8192.")] = 0,
    max_rate: Annotated[float, typer.Option(min=0, help="Most images a second, all workers together; 0: any.")] = 0.0,
    output: PrefixOption = "",
    request_id: RequestIdOption = None,
    priority: PriorityOption = 0,
    label: LabelOption = None,
    ttl: TtlOption = "",
    max_failed_shards: MaxFailedOption = None,
    format_: FormatOption = Format.WEBDATASET,
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Make images in bulk: WebDataset tars, PNG folders, Parquet or npz, each with its checksum, and a manifest."""
    with friendly_errors(), connect(api) as client:
        job = client.create_sample_job(
            model,
            count,
            seed=seed,
            shard_size=shard_size,
            output_prefix=output,
            request_id=request_id,
            max_images_per_second=max_rate,
            priority=priority,
            labels=labels_of(label),
            ttl_s=seconds_of(ttl),
            max_failed_shards=max_failed_shards,
            format=format_.value,
            validate_only=dry_run,
        )
        created(client, job, wait=wait and not dry_run, as_json=as_json)


@jobs.command("ls")
def list_(
    *,
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="Show at most this many, the newest first.")] = 20,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only jobs in this state, such as running; may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=VALUE", help="Only jobs with this label; repeated: with all of them."),
    ] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only jobs of this kind.")] = None,
    of_client: Annotated[str, typer.Option("--client", metavar="NAME", help="Only jobs of this client.")] = "",
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """List jobs, the newest first."""
    states = [job_progress.state_of(name) for name in state or ()]
    with friendly_errors(), connect(api) as client:
        listed = client.jobs(states, labels=labels_of(label), kind=kind_of(kind), client=of_client)
        found = [job for job, _ in zip(listed, range(most), strict=False)]
    if as_json:
        print_json([to_dict(job) for job in found])
    elif found:
        _print_list(found)
    else:
        chosen = " like that" if states or label or kind or of_client else ""
        typer.echo(f"there are no jobs{chosen}; `mintage jobs sample MODEL -n COUNT` creates one")


@jobs.command()
def show(job: JobArgument, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Show everything about one job."""
    with friendly_errors(), connect(api) as client:
        found = client.job(job)
    if as_json:
        print_json(to_dict(found))
    else:
        _print_job(found)


@jobs.command()
def watch(job: JobArgument, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Watch a job until it has ended; --json prints one object a line. Exit status 1 if it failed."""
    with friendly_errors(), connect(api) as client:
        _follow(client, job, as_json=as_json)


@jobs.command()
def shards(
    job: JobArgument,
    state: Annotated[
        list[ShardState] | None, typer.Option("--state", help="Only shards in this state; may be repeated.")
    ] = None,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """List the shards of a job in order."""
    from mintage.v1 import jobs_pb2

    states = [jobs_pb2.Shard.State.Value(f"STATE_{each.name}") for each in state or ()]
    with friendly_errors(), connect(api) as client:
        found = list(client.shards(job, states))
    if as_json:
        print_json([to_dict(shard) for shard in found])
    else:
        rows = [_shard_row(shard) for shard in found]
        columns = ("shard", "state", "first", "images", "attempt", "worker", "digest or error")
        console().print(table(columns, rows, right=("shard", "first", "images", "attempt")))


def watch_with_bar(client: Client, name: str, *, on_change: Callable[[Job], None] = lambda _: None) -> Job:
    """Show a job to its end and return it; `on_change` hears of every change."""

    def states() -> Iterator[Job]:
        for job in client.watch(name):
            on_change(job)
            yield job

    return job_progress.follow(states(), as_json=False) or client.job(name)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    job_control.register(jobs)
    job_files.register(jobs)
    job_score.register(jobs)
    job_verify.register(jobs)
    app.add_typer(jobs)


def created(client: Client, job: Job, *, wait: bool, as_json: bool) -> None:
    """Show a job that was created: to its end, or at once."""
    if wait:
        _follow(client, job.name, as_json=as_json)
    elif as_json:
        print_json(to_dict(job))
    elif job.name:
        typer.echo(job.name)
    else:
        typer.echo("the job would be accepted; nothing was created")
        _print_job(job)


def _follow(client: Client, name: str, *, as_json: bool) -> None:
    """Show a job to its end; leave with 1 if it did not succeed, with 130 after Ctrl-C."""
    job = job_progress.follow_to_end(client, name, as_json=as_json)
    if not as_json:
        _print_job(job)
    if job_progress.state_name(job) != "succeeded":
        raise typer.Exit(FAILED)


def _print_list(found: list[Job]) -> None:
    rows = [
        (
            job.name.removeprefix("jobs/"),
            job_progress.state_name(job),
            _what(job),
            f"{job.progress.images_done:,}/{job.progress.images_total:,}",
            _time(job.create_time),
        )
        for job in found
    ]
    columns = ("job", "state", "work", "images", "created")
    console().print(table(columns, rows, right=("images",)))


def _print_job(job: Job) -> None:
    facts: list[tuple[str, Any]] = [
        ("job", job.name),
        ("state", job_progress.state_name(job) if job.name else ""),
        ("work", _what(job)),
        ("images", f"{job.progress.images_done:,} of {job.progress.images_total:,}"),
        ("format", _format(job)),
        ("shards", job_progress.shard_counts(job)),
        ("speed", job_progress.speed(job)),
        ("priority", job.priority),
        ("labels", ", ".join(f"{name}={value}" for name, value in sorted(job.labels.items()))),
        ("client", job.client),
        ("failed shards", f"at most {job.max_failed_shards:,}" if job.HasField("max_failed_shards") else ""),
        ("output", job.output_uri),
        ("root digest", job.root_digest),
        ("error", job.error),
        ("created", _time(job.create_time) if job.HasField("create_time") else ""),
        ("started", _time(job.start_time) if job.HasField("start_time") else ""),
        ("ended", _time(job.end_time) if job.HasField("end_time") else ""),
        ("kept", _kept(job)),
        *score_facts(job),
    ]
    console().print(table(("", ""), [fact for fact in facts if fact[1]]))


def _kept(job: Job) -> str:
    """How long a job is kept, or until when."""
    if job.HasField("expire_time"):
        return f"until {_time(job.expire_time)}, then it is deleted with its files"
    return f"{job.ttl.ToTimedelta()} after its end, then it is deleted" if job.HasField("ttl") else ""


def _what(job: Job) -> str:
    if job.WhichOneof("spec") == "sample":
        return f"sample {job.sample.model.removeprefix('models/')}, seed {job.sample.seed}"
    scored = job.score.source_job.removeprefix("jobs/") or f"folder {job.score.source_folder}"
    return f"score {scored} by {job.score.model.removeprefix('models/')}"


def _format(job: Job) -> str:
    from mintage.job_calls import format_name

    return format_name(job.sample.format) if job.WhichOneof("spec") == "sample" else ""


def _shard_row(shard: Shard) -> tuple[Any, ...]:
    from mintage.v1 import jobs_pb2

    state = jobs_pb2.Shard.State.Name(shard.state).removeprefix("STATE_").lower()
    last = shard.digest[:12] or shard.error
    return (shard.index, state, shard.first_index, shard.count, shard.attempt, shard.worker, last)


def _time(timestamp: Any) -> str:
    """Show a time in the local zone."""
    from datetime import UTC

    return f"{timestamp.ToDatetime(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S}"
