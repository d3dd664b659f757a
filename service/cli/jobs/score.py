"""`mintage jobs score`: score many images with a model, and compare them with others.

mintage jobs score judge 01kat7x2m9q3zc5d                                   # the images of a sample job
mintage jobs score judge --folder photos                                    # a folder below the server's input folder
mintage jobs score judge 01kat7x2m9q3zc5d --reference-folder photos         # compared with that folder
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import DEFAULT_API, FAILED, ApiOption, JsonLinesOption, connect, fail, friendly_errors
from service.cli.jobs import progress
from service.cli.jobs.control import WaitOption
from service.cli.jobs.options import (
    DryRunOption,
    LabelOption,
    MaxFailedOption,
    PrefixOption,
    PriorityOption,
    RequestIdOption,
    TtlOption,
    labels_of,
    seconds_of,
)

if TYPE_CHECKING:
    from mintage.client import Client

FOLDER_HELP = "of images (or tars; or Parquet) below the server's input folder, MINTAGE_INPUT_DIR"


def score(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A loaded classifier, or an autoencoder with concepts.")
    ],
    source: Annotated[str, typer.Argument(metavar="[JOB]", help="A sample job that has succeeded.")] = "",
    *,
    folder: Annotated[str, typer.Option("--folder", metavar="PATH", help=f"Score a folder {FOLDER_HELP}.")] = "",
    reference: Annotated[
        str,
        typer.Option("--reference", metavar="JOB", help="Compare with a score job of the same model."),
    ] = "",
    reference_folder: Annotated[
        str,
        typer.Option(
            "--reference-folder",
            metavar="PATH",
            help="Compare with a folder, which is scored first. The job is reused while the folder and the model stay "
            "the same.",
        ),
    ] = "",
    shard_size: Annotated[
        int,
        typer.Option(min=0, max=100_000, help="Images of a folder per shard; 0 chooses 1024 to 8192 by their number."),
    ] = 0,
    resize: Annotated[
        bool,
        typer.Option("--resize", help="Bring the images of a JOB to the model's size, as those of a folder."),
    ] = False,
    splits: Annotated[
        int, typer.Option(min=0, max=1000, help="Splits for mean and standard deviation; 0 chooses 10.")
    ] = 0,
    output: PrefixOption = "",
    request_id: RequestIdOption = None,
    priority: PriorityOption = 0,
    label: LabelOption = None,
    ttl: TtlOption = "",
    max_failed_shards: MaxFailedOption = None,
    dry_run: DryRunOption = False,
    wait: WaitOption = True,
    api: ApiOption = DEFAULT_API,
    as_json: JsonLinesOption = False,
) -> None:
    """Score the images of a sample job, or of a folder, with a classifier or with concept neurons, in bulk.

    Beside the shards lie score.json, images.parquet with a row for each image, and report.html: `mintage jobs read JOB
    report.html --to report.html` fetches it.

    Example: mintage jobs score digits-classifier 01kat7x2m9q3zc5d
    """
    from service.cli.jobs.show import created

    if bool(source) == bool(folder):
        fail("give either a JOB or --folder")
    if reference and reference_folder:
        fail("give either --reference or --reference-folder")
    if shard_size and not (folder or reference_folder):
        fail("--shard-size goes with a folder; the images of a JOB keep its shards")
    with friendly_errors(), connect(api) as client:
        if reference_folder:
            reference = _reference_of(client, model, reference_folder, shard_size, dry_run=dry_run)
        job = client.create_score_job(
            model,
            source,
            source_folder=folder,
            reference_job=reference,
            shard_size=shard_size if folder else 0,
            resize=resize and not folder,
            splits=splits,
            output_prefix=output,
            request_id=request_id,
            priority=priority,
            labels=labels_of(label),
            ttl_s=seconds_of(ttl),
            max_failed_shards=max_failed_shards,
            validate_only=dry_run,
        )
        created(client, job, wait=wait and not dry_run, as_json=as_json)


def register(jobs: typer.Typer) -> None:
    """Add the verb."""
    jobs.command()(score)


def _reference_of(client: Client, model: str, folder: str, shard_size: int, *, dry_run: bool) -> str:
    """Return the score job of a folder: the existing one for these files and this model, or a new one, finished."""
    planned = client.create_score_job(model, source_folder=folder, shard_size=shard_size, validate_only=True)
    if dry_run:
        return ""  # what is not scored yet cannot be named; folder and model have been checked
    what = f"{planned.score.model_digest} {planned.score.source_listing} {shard_size}"
    request_id = f"reference-{hashlib.sha256(what.encode()).hexdigest()[:40]}"
    job = client.create_score_job(model, source_folder=folder, shard_size=shard_size, request_id=request_id)
    if progress.state_name(job) != "succeeded":
        typer.echo(f"{job.name} scores {folder}, the reference", err=True)
        job = progress.follow_to_end(client, job.name, as_json=False)
    if progress.state_name(job) != "succeeded":
        short = job.name.removeprefix("jobs/")
        state = progress.state_name(job)
        fail(f"the reference {job.name} is {state}: {job.error}; `mintage jobs rm {short}` and try again", FAILED)
    return job.name
