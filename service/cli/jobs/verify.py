"""`mintage jobs verify JOB`: hash every shard of a finished job, and recompute some of its images.

mintage jobs verify 01kat7x2m9q3zc5d
mintage jobs verify 01kat7x2m9q3zc5d --repair                    # makes what is damaged or missing again
mintage jobs verify 01kat7x2m9q3zc5d --recompute 20 --seed 1      # needs the model; exit status 1 if anything is wrong
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import (
    DEFAULT_API,
    FAILED,
    ApiOption,
    JsonLinesOption,
    connect,
    fail,
    friendly_errors,
)
from service.cli.jobs.checking_bar import checking_bar
from service.cli.jobs.control import JobArgument
from service.cli.jobs.repair import repair_job
from service.cli.jobs.texts import finding_text, progress_text
from service.cli.json_lines import printed

if TYPE_CHECKING:
    from mintage.v1.verification_pb2 import Verdict, VerifyJobResponse


def verify(
    job: JobArgument,
    *,
    recompute: Annotated[
        int,
        typer.Option(
            "--recompute", min=0, max=10_000, help="Samples to recompute and compare byte by byte; needs the model."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed that draws these samples.")] = 0,
    repair: Annotated[bool, typer.Option("--repair", help="Make what is damaged or missing again.")] = False,
    api: ApiOption = DEFAULT_API,
    as_json: JsonLinesOption = False,
) -> None:
    """Check every file of a finished job against its digests; exit status 0 if all are sound, 1 if not.

    --json prints one object per line, the last one with the verdict.

    Example: mintage jobs verify 01kat7x2m9q3zc5d --recompute 20
    mintage jobs verify 01kat7x2m9q3zc5d --repair
    """
    with friendly_errors(), connect(api) as client:
        parts = client.verify(job, recompute=recompute, seed=seed)
        verdict = last_of(printed(parts) if as_json else _with_bar(parts))
        if not as_json:
            typer.echo(f"jobs/{job.removeprefix('jobs/')} {verdict_text(verdict)}")
        if not verdict.sound and repair:
            repair_job(client, job, as_json=as_json)
        elif not verdict.sound:
            raise typer.Exit(FAILED)


def register(jobs: typer.Typer) -> None:
    """Add the verb."""
    jobs.command()(verify)


def last_of(parts: Iterable[VerifyJobResponse]) -> Verdict:
    """Read every part and return the verdict; exits with 1 if there is none."""
    for part in parts:
        if part.WhichOneof("part") == "verdict":
            return part.verdict
    fail("the server ended without a verdict", FAILED)


def verdict_text(verdict: Verdict) -> str:
    """The verdict in words."""
    said = [progress_text(verdict.progress)]
    if verdict.sound:
        said += [f"root digest {verdict.root_digest}"] if verdict.root_digest else []
        return f"is sound: {', '.join(said)}"
    return f"is not sound: {verdict.findings:,} finding{'s' if verdict.findings > 1 else ''}, {said[0]}"


def _with_bar(parts: Iterable[VerifyJobResponse]) -> Iterator[VerifyJobResponse]:
    """Print findings as they come, above a bar where there is a terminal."""
    with checking_bar() as update:
        for part in parts:
            if part.WhichOneof("part") == "finding":
                sys.stdout.write(finding_text(part.finding) + "\n")
            else:
                progress = part.verdict.progress if part.WhichOneof("part") == "verdict" else part.progress
                total = progress.shards_total + progress.samples_total
                done = progress.shards_checked + progress.samples_recomputed
                update(total=total, completed=done, facts=progress_text(progress))
            yield part
