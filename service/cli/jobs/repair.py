"""`mintage jobs repair JOB`: make exactly what is damaged or missing of a finished job again.

mintage jobs repair 01kat7x2m9q3zc5d              # exit status 0 if the job is whole afterwards, 1 if not
mintage jobs verify 01kat7x2m9q3zc5d --repair     # the same, if anything is wrong
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import typer

from service.cli.console import (
    DEFAULT_API,
    FAILED,
    ApiOption,
    JsonLinesOption,
    connect,
    fail,
    friendly_errors,
    if_interrupted,
)
from service.cli.jobs.checking_bar import checking_bar
from service.cli.jobs.control import JobArgument
from service.cli.jobs.texts import finding_text, progress_text
from service.cli.json_lines import printed

if TYPE_CHECKING:
    from mintage.client import Client
    from mintage.v1.repair_pb2 import RepairJobResponse, RepairOutcome


def repair(job: JobArgument, api: ApiOption = DEFAULT_API, as_json: JsonLinesOption = False) -> None:
    """Make what is damaged or missing of a finished job again; exit status 0 if it is whole then, 1 if not.

    Shards, markers, the manifest and the files beside it are compared with what was recorded when they were made. A
    shard that must be computed needs the model that made the job. --json prints one object per line, the last one with
    the outcome.

    Example: mintage jobs repair 01kat7x2m9q3zc5d
    """
    with friendly_errors(), connect(api) as client:
        repair_job(client, job, as_json=as_json)


def repair_job(client: Client, job: str, *, as_json: bool) -> None:
    """Repair a job and show how; exits with 1 if it is not whole then."""
    short = job.removeprefix("jobs/")
    with if_interrupted(f"a repair that has begun goes on; follow it: mintage jobs repair {short}"):
        parts = client.repair(job)
        outcome = _last_of(printed(parts) if as_json else _with_bar(parts))
    if not as_json:
        typer.echo(f"jobs/{short} {outcome_text(outcome)}")
    if not outcome.sound:
        raise typer.Exit(FAILED)


def register(jobs: typer.Typer) -> None:
    """Add the verb."""
    jobs.command()(repair)


def outcome_text(outcome: RepairOutcome) -> str:
    """The outcome in words."""
    counted = ((outcome.shards_made, "shard", "made again"), (outcome.markers_written, "marker", "written again"))
    did = [f"{count:,} {what}{'s' if count > 1 else ''} {done}" for count, what, done in counted if count]
    did += [f"{', '.join(outcome.files_written)} written again"] if outcome.files_written else []
    said = "; ".join(did) or "nothing was made again"
    if not outcome.sound:
        return f"is not whole: {said}" + (f"; {outcome.error}" if outcome.error else "")
    root = f", root digest {outcome.root_digest}" if outcome.root_digest else ""
    return f"is whole: {said if did or outcome.findings else 'nothing was wrong'}{root}"


def _last_of(parts: Iterable[RepairJobResponse]) -> RepairOutcome:
    for part in parts:
        if part.WhichOneof("part") == "outcome":
            return part.outcome
    fail("the server ended without an outcome; the repair goes on: ask again to follow it", FAILED)


def _with_bar(parts: Iterable[RepairJobResponse]) -> Iterator[RepairJobResponse]:
    """Print findings as they come, above a bar where there is a terminal."""
    with checking_bar() as update:
        for part in parts:
            kind = part.WhichOneof("part")
            if kind == "finding":
                sys.stdout.write(finding_text(part.finding) + "\n")
            elif kind == "remaining":
                sys.stdout.write(f"still {finding_text(part.remaining)}\n")
            elif kind == "checked":
                checked = part.checked
                update(total=checked.shards_total, completed=checked.shards_checked, facts=progress_text(checked))
            elif kind == "progress":
                done, total = part.progress.shards_done, part.progress.shards_total
                update(total=total, completed=done, facts=f"{done:,}/{total:,} shards are there")
            yield part
