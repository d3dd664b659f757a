"""`mintage jobs ...`: bulk work that continues when this command stops.

mintage jobs sample digits -n 1000000 --seed 7      # waits; Ctrl-C leaves the job running
mintage jobs sample digits -n 6400 --latent 'slerp(#0, #1, 0:1:64)' --index-step 2     # a hundred walks
mintage jobs score judge 01kat7x2m9q3zc5d
mintage jobs watch 01kat7x2m9q3zc5d
"""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.commands import Verbs
from service.cli.console import (
    DEFAULT_API,
    ApiOption,
    JsonLinesOption,
    JsonOption,
    connect,
    console,
    friendly_errors,
    table,
)
from service.cli.formula_options import ClassOption, LatentOption
from service.cli.jobs import control, download, files, progress, repair, score, verify
from service.cli.jobs.control import JobArgument, WaitOption
from service.cli.jobs.options import (
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
from service.cli.jobs.show import created, follow, print_job, print_list, shard_row
from service.cli.json_lines import print_json, print_json_lines

jobs = Verbs("jobs", "Make and score images in bulk, durably.")


@jobs.command()
def sample(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A loaded generator.")],
    *,
    count: Annotated[int, typer.Option("--count", "-n", help="Number of images, from 1 to 100,000,000.")],
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the latents.")] = 0,
    latent: LatentOption = None,
    index_step: Annotated[
        int,
        typer.Option(
            min=0, max=2**32, help="What is added to the index of every sample in the formulas each time all are drawn."
        ),
    ] = 0,
    class_index: ClassOption = None,
    shard_size: Annotated[
        int, typer.Option(min=0, max=100_000, help="Images per shard; 0 chooses 1024 to 8192 by the number of images.")
    ] = 0,
    max_rate: Annotated[
        float, typer.Option(min=0, help="Upper bound in images/s, all workers together; 0: none.")
    ] = 0.0,
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
    as_json: JsonLinesOption = False,
) -> None:
    """Make images in bulk: WebDataset tars, PNG folders, Parquet or npz, each with its checksum, and a manifest.

    Example: mintage jobs sample digits-generator -n 1000000 --seed 7
    mintage jobs sample digits-generator -n 6400 --latent 'slerp(#0, #1, 0:1:64)' --index-step 2
    """
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
            latents=latent or (),
            index_step=index_step,
            class_index=class_index,
            validate_only=dry_run,
        )
        created(client, job, wait=wait and not dry_run, as_json=as_json)


@jobs.command("ls")
def list_(
    *,
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="Show at most this many.")] = 20,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only jobs in this state, such as running; may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="NAME=VALUE", help="Only jobs with this label; may be repeated: with all of them."
        ),
    ] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only jobs of this kind.")] = None,
    of_client: Annotated[str, typer.Option("--client", metavar="NAME", help="Only jobs of this client.")] = "",
    api: ApiOption = DEFAULT_API,
    as_json: JsonLinesOption = False,
) -> None:
    """List jobs, newest first.

    Example: mintage jobs ls --state running --state queued
    """
    states = [progress.state_of(name) for name in state or ()]
    with friendly_errors(), connect(api) as client:
        listed = client.jobs(states, labels=labels_of(label), kind=kind_of(kind), client=of_client)
        found = [job for job, _ in zip(listed, range(most), strict=False)]
    if as_json:
        print_json_lines(found)
    elif found:
        print_list(found)
    else:
        chosen = " like that" if states or label or kind or of_client else ""
        typer.echo(f"there are no jobs{chosen}; `mintage jobs sample MODEL -n COUNT` creates one")


@jobs.command()
def show(job: JobArgument, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Show everything about one job.

    Example: mintage jobs show 01kat7x2m9q3zc5d
    """
    with friendly_errors(), connect(api) as client:
        found = client.job(job)
    if as_json:
        print_json(found)
    else:
        print_job(found)


@jobs.command()
def watch(job: JobArgument, api: ApiOption = DEFAULT_API, as_json: JsonLinesOption = False) -> None:
    """Watch a job to its end. Exit status 1 if it failed.

    Example: mintage jobs watch 01kat7x2m9q3zc5d
    """
    with friendly_errors(), connect(api) as client:
        follow(client, job, as_json=as_json)


@jobs.command()
def shards(
    job: JobArgument,
    state: Annotated[
        list[ShardState] | None, typer.Option("--state", help="Only shards in this state; may be repeated.")
    ] = None,
    api: ApiOption = DEFAULT_API,
    as_json: JsonLinesOption = False,
) -> None:
    """List the shards of a job in order.

    Example: mintage jobs shards 01kat7x2m9q3zc5d --state failed
    """
    from mintage.v1 import jobs_pb2

    states = [jobs_pb2.Shard.State.Value(f"STATE_{each.name}") for each in state or ()]
    with friendly_errors(), connect(api) as client:
        found = list(client.shards(job, states))
    if as_json:
        print_json_lines(found)
    else:
        rows = [shard_row(shard) for shard in found]
        columns = ("shard", "state", "first", "images", "attempt", "worker", "digest or error")
        console().print(table(columns, rows, right=("shard", "first", "images", "attempt")))


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    control.register(jobs)
    files.register(jobs)
    download.register(jobs)
    score.register(jobs)
    verify.register(jobs)
    repair.register(jobs)
    app.add_typer(jobs)
