"""How a running job looks: a live bar on a terminal, plain lines elsewhere, one JSON object per line for machines."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from service.cli.console import errors_console, fail, if_interrupted
from service.cli.errors import did_you_mean
from service.cli.json_lines import print_json, word_of

if TYPE_CHECKING:
    from mintage.client import Client
    from mintage.v1.jobs_pb2 import Job

LINE_S = 5.0  # between two lines of progress in a log


def follow(states: Iterable[Job], *, as_json: bool) -> Job | None:
    """Show a job until its states end; returns the last one."""
    if as_json:
        return _json_lines(states)
    if errors_console().is_terminal:
        return _bar(states)
    return _plain_lines(states)


def follow_to_end(client: Client, name: str, *, as_json: bool) -> Job:
    """Show a job to its end and return it; if this is interrupted, say that the job continues."""
    short = name.removeprefix("jobs/")
    with if_interrupted(
        f"the job continues; watch it: mintage jobs watch {short}; stop it: mintage jobs cancel {short}"
    ):
        return follow(client.watch(name), as_json=as_json) or client.job(name)


def state_name(job: Job) -> str:
    """`running`, `partially_succeeded`, ..."""
    from mintage.v1 import jobs_pb2

    return word_of(jobs_pb2.Job.State.DESCRIPTOR, jobs_pb2.Job.State.Name(job.state))


def state_of(name: str) -> Job.State.ValueType:
    """The state of this name; exits with 2 if there is none."""
    from mintage.v1 import jobs_pb2

    states = {word_of(jobs_pb2.Job.State.DESCRIPTOR, known): value for known, value in jobs_pb2.Job.State.items()}
    del states["unspecified"]
    state = states.get(name.lower().replace("-", "_").replace(" ", "_").removeprefix("state_"))
    if state is None:
        fail(f"no job is ever {name}{did_you_mean(name, states)}; the states are {', '.join(states)}")
    return state


def speed(job: Job) -> str:
    """Images per second, or nothing while that is unknown."""
    rate = job.progress.images_per_second
    return f"{rate:,.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s" if rate else ""


def eta(job: Job) -> str:
    """The time left and its range, or nothing while that is unknown."""
    if not job.progress.HasField("eta"):
        return ""
    left = job.progress.eta
    median, p10, p90 = (_clock(each.ToTimedelta().total_seconds()) for each in (left.median, left.p10, left.p90))
    return f"{median} left ({p10} to {p90})" if p10 != p90 else f"{median} left"


def finishing(job: Job) -> str:
    """What is being done to end the job, or nothing."""
    now = job.progress.finishing
    return f"{now.step} {now.done / now.total:.0%}" if now.total else now.step


def shard_counts(job: Job) -> str:
    """Numbers of shards by state."""
    progress = job.progress
    parts = [f"{progress.shards_done}/{progress.shards_total} shards"]
    parts += [f"{progress.shards_running} running"] if progress.shards_running else []
    parts += [f"{progress.shards_failed} failed"] if progress.shards_failed else []
    retried = progress.attempts - progress.shards_done - progress.shards_running - progress.shards_failed
    parts += [f"{retried} retried"] if retried > 0 else []
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    """`3:05`, `2:46:40`, `11 days`."""
    whole = round(seconds)
    if whole >= 360_000:
        return f"{whole // 86_400:,} days"
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _line(job: Job) -> str:
    progress = job.progress
    facts = [
        f"{progress.images_done:,}/{progress.images_total:,} images",
        shard_counts(job),
        speed(job),
        eta(job),
        finishing(job),
        f"waits: {job.wait_reason}" if job.wait_reason else "",
    ]
    return f"{job.name} {state_name(job)}: " + ", ".join(fact for fact in facts if fact)


def _json_lines(states: Iterable[Job]) -> Job | None:
    last = None
    for last in states:
        print_json(last)
    return last


def _plain_lines(states: Iterable[Job]) -> Job | None:
    """Print a line for each new state, and one every few seconds in between."""
    last, printed_at = None, 0.0
    for job in states:
        if last is None or job.state != last.state or time.monotonic() >= printed_at + LINE_S:
            typer.echo(_line(job), err=True)
            printed_at = time.monotonic()
        last = job
    return last


def _bar(states: Iterable[Job]) -> Job | None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    columns: list[Any] = [
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.fields[state]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
    ]
    last = None
    with Progress(*columns, console=errors_console()) as progress:
        task = progress.add_task("", total=None, state="connecting", facts="")
        for last in states:
            told = speed(last), eta(last), shard_counts(last), finishing(last), last.wait_reason
            facts = " · ".join(fact for fact in told if fact)
            done, total = last.progress.images_done, last.progress.images_total
            progress.update(task, completed=done, total=total, state=f"{last.name} {state_name(last)}", facts=facts)
    return last
