"""The verbs that steer a job: `mintage jobs pause|resume|cancel|retry|rm JOB`.

mintage jobs pause 01kat7x2m9q3zc5d
mintage jobs retry 01kat7x2m9q3zc5d            # waits; exit status 1 if shards failed again
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import (
    DEFAULT_API,
    FAILED,
    ApiOption,
    JsonLinesOption,
    JsonOption,
    connect,
    friendly_errors,
)
from service.cli.jobs import progress
from service.cli.json_lines import print_json, to_dict

if TYPE_CHECKING:
    from mintage.v1.jobs_pb2 import CancelJobResponse, Job, PauseJobResponse

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Name of the job, with or without jobs/.")]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for the end and show progress, or return at once.")
]


def cancel(job: JobArgument, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Cancel a job; its finished files stay.

    Example: mintage jobs cancel 01kat7x2m9q3zc5d
    """
    with friendly_errors(), connect(api) as client:
        _print_stopped(client.cancel(job), as_json=as_json)


def pause(job: JobArgument, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Pause a job: workers stop within one micro-batch, nothing is lost.

    Example: mintage jobs pause 01kat7x2m9q3zc5d
    """
    with friendly_errors(), connect(api) as client:
        _print_stopped(client.pause(job), as_json=as_json)


def resume(job: JobArgument, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Resume a paused job.

    Example: mintage jobs resume 01kat7x2m9q3zc5d
    """
    with friendly_errors(), connect(api) as client:
        _print_state(client.resume(job), as_json=as_json)


def retry(
    job: JobArgument, wait: WaitOption = True, api: ApiOption = DEFAULT_API, as_json: JsonLinesOption = False
) -> None:
    """Try the failed shards of a job again; exit status 1 if some fail again.

    Example: mintage jobs retry 01kat7x2m9q3zc5d
    """
    with friendly_errors(), connect(api) as client:
        found = client.retry(job)
        if wait:
            found = progress.follow_to_end(client, job, as_json=as_json)
            if progress.state_name(found) != "succeeded":
                typer.echo(f"mintage: {found.name} is {progress.state_name(found)}: {found.error}", err=True)
                raise typer.Exit(FAILED)
    if not (wait and as_json):
        _print_state(found, as_json=as_json)


def remove(
    job: JobArgument,
    force: Annotated[bool, typer.Option("--force", help="Cancel it first if it is unfinished.")] = False,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Delete a finished job and all its files.

    Example: mintage jobs rm 01kat7x2m9q3zc5d
    """
    name = f"jobs/{job.removeprefix('jobs/')}"
    with friendly_errors(), connect(api) as client:
        client.delete(name, force=force)
    if as_json:
        print_json({"name": name, "deleted": True})
    else:
        typer.echo(f"{name} is deleted")


def register(jobs: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (cancel, pause, resume, retry):
        jobs.command()(verb)
    jobs.command("rm")(remove)


def _print_stopped(answer: CancelJobResponse | PauseJobResponse, *, as_json: bool) -> None:
    if as_json:
        print_json({**to_dict(answer.job), "durable": answer.durable})
        return
    _print_state(answer.job, as_json=False)
    if not answer.durable:
        typer.echo(
            "mintage: this could not be written beside the job's files yet (is the disk full, or does the bucket "
            "refuse?); it will be as soon as it can. Until then, if Redis lost its data, the job would run again",
            err=True,
        )


def _print_state(job: Job, *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        typer.echo(f"{job.name} is {progress.state_name(job)}")
